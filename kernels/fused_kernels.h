#pragma once
// The fused kernels themselves, and what launch_fused() needs to find one.

#include "kanbench/math/loss.h"
#include "kernels/activation.h"
#include "kernels/fused_backward.h"
#include "kernels/fused_points.h"

namespace kanbench::cuda {

/// Most threads of a block.
inline constexpr int kFusedThreads = 256;

/// The point of row `lane % rows` of a warp, and where its value goes.
struct PredictRow {
  float point[3] = {0, 0, 0};
  std::int64_t at = -1;
};

KB_DEVICE PredictRow find_row(const FusedArguments& a, const BrickGrid& bricks, std::int64_t tile,
                              int rows, int row) {
  PredictRow found;
  if (a.output.lattice_size.x == 0) {
    const std::int64_t i = tile * rows + row;
    if (i >= a.rows) return found;
    found.at = i;
    for (int d = 0; d < 3; ++d)
      if (!a.features) found.point[d] = a.output.points.data[d * a.output.points.stride + i];
    return found;
  }
  std::int64_t voxel[3];
  bricks.locate(tile, row, voxel);
  const Box& box = a.output.box;
  const std::int64_t size[3] = {a.output.lattice_size.x, a.output.lattice_size.y,
                                a.output.lattice_size.z};
  bool inside = true;
  for (int d = 0; d < 3; ++d) {
    inside &= voxel[d] < box.high[d] - box.low[d];
    found.point[d] = static_cast<float>((static_cast<double>(box.low[d] + voxel[d]) + 0.5) *
                                        (1.0 / static_cast<double>(size[d])));
  }
  if (inside)
    found.at =
        (voxel[2] * (box.high[1] - box.low[1]) + voxel[1]) * (box.high[0] - box.low[0]) + voxel[0];
  else
    for (int d = 0; d < 3; ++d) found.point[d] = 0;
  return found;
}

KB_DEVICE void store_prediction(const FusedOutput& output, std::int64_t at, float value) {
  if (at < 0) return;
  if (output.lattice_size.x == 0) {
    output.values[at] = value;
    return;
  }
  const Decoded& to = output.decoded;
  if (to.values) to.values[at] = value;
  if (to.voxels) store_voxel(to.voxels, to.dtype, to.low, to.high, at, value);
}

/// The widest layers of which a multiprocessor is to have room for two blocks, which hide each
/// other's waiting.
template <class F, class X>
inline constexpr int kWidestTwice = X::kSize == 1                      ? 64
                                    : sizeof(typename F::Element) == 2 ? 16
                                                                       : 0;
template <class F, class X, int W>
inline constexpr int kFusedBlocks = W <= kWidestTwice<F, X> ? 2 : 1;

template <class F, class X, int W, int kTiles>
KB_KERNEL2(kFusedThreads, (kFusedBlocks<F, X, W>))
fused_predict_kernel(FusedPlan plan, FusedShape shape, FusedArguments a) {
  using Element = typename F::Element;
  constexpr int kRows = 16 * kTiles, kLanes = 32 / kRows;
  KB_SHARED(unsigned char, shared);
  fetch_parameters(plan, shape, a.weights, a.vectors, shared);
  const int warp = static_cast<int>(threadIdx.x) >> 5, lane = lane_id();
  const bool lattice = a.output.lattice_size.x != 0;
  const BrickGrid bricks(a.output.box, shape.rows());
  const std::int64_t tiles = lattice ? bricks.bricks() : (a.rows + shape.rows() - 1) / shape.rows();
  Element* tile_features = reinterpret_cast<Element*>(shared + shape.features) +
                           warp * plan.layers[0].chunks * 16 * kRows;
  for (std::int64_t tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
    const PredictRow mine = find_row(a, bricks, tile, shape.rows(), warp * kRows + lane % kRows);
    WarpRows<F> rows{warp, tile_features, kRows, 0, kRows};
    if (a.features) {
      rows.features = const_cast<Element*>(static_cast<const Element*>(a.features));
      rows.stride = a.stride;
      rows.row0 = tile * shape.rows() + warp * kRows;
      rows.valid = a.rows;
    } else {
      __syncwarp();
      encode_row<F>(a.grid, a.table, lane / kRows, kLanes, mine.point, tile_features, kRows,
                    lane % kRows);
      __syncwarp();
    }
    float out[kTiles][1][4];
    Passes<F, X, W, kTiles>::template forward<false>(plan, shape, a.weights, rows, shared, out);
#pragma unroll
    for (int m = 0; m < kTiles; ++m)
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const int row = m * 16 + h * 8 + (lane >> 2);
        const std::int64_t at = shuffle(mine.at, row);
        if ((lane & 3) == 0)
          store_prediction(a.output, at, activated(plan.output, out[m][0][2 * h]));
      }
  }
}

/// Sums over a lane's rows.
struct LaneSums {
  double loss = 0, squared_error = 0;
};

/// Loss and slope of the rows whose prediction this lane holds; `target(row)` is asked by all.
template <int kTiles, class Target>
KB_DEVICE void measure(const FusedPlan& plan, const FusedArguments& a, std::int64_t row0,
                       const float (&out)[kTiles][1][4], Target&& target, float (&dy)[kTiles][1][4],
                       LaneSums& sums) {
  const int lane = lane_id();
  const float scale = a.scale * a.state->loss_scale;
#pragma unroll
  for (int m = 0; m < kTiles; ++m)
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int row = m * 16 + h * 8 + (lane >> 2);
      const float wanted = target(row);
      dy[m][0][2 * h] = dy[m][0][2 * h + 1] = 0;
      if ((lane & 3) != 0 || row0 + row >= a.rows) continue;
      const float value = activated(plan.output, out[m][0][2 * h]);
      const float error = value - wanted;
      const float slope = visit(a.loss, [&](const auto& loss) {
        sums.loss += loss.value(value, wanted);
        return loss.slope(value, wanted);
      });
      sums.squared_error += static_cast<double>(error) * error;
      dy[m][0][2 * h] = scale * slope * activation_slope(plan.output, value);
    }
}

/// The block's sums to its place; `room` is shared memory that nothing needs any more.
KB_DEVICE void store_sums(const LaneSums& sums, const FusedArguments& a, double* room) {
  __syncthreads();
  const double loss = block_sum(sums.loss, room);
  __syncthreads();
  const double squared_error = block_sum(sums.squared_error, room);
  if (threadIdx.x != 0) return;
  a.sums[2 * blockIdx.x] = loss;
  a.sums[2 * blockIdx.x + 1] = squared_error;
}

/// From the last layer's slopes to the features'.
template <class F, class X, int W, int kTiles>
KB_DEVICE bool backward(const FusedPlan& plan, const FusedShape& shape, const FusedArguments& a,
                        const WarpRows<F>& rows, bool fresh, const float (&dy)[kTiles][1][4],
                        typename F::Element* dfeatures, unsigned char* shared) {
  float* block = a.partials + std::int64_t{blockIdx.x} * plan.partials(shape.warps);
  float* vectors = block + plan.weights + rows.warp * plan.vectors;
  const auto layer = [&](int l) {
    return BackwardLayer{plan,
                         shape,
                         l,
                         rows.warp,
                         a.weights,
                         shared,
                         {block + plan.layers[l].weights, vectors, fresh}};
  };
  return Passes<F, X, W, kTiles>::backward(layer, rows, plan.count, dy, dfeatures);
}

template <class F, class X, int W, int kTiles, bool kWhole>
KB_KERNEL2(kFusedThreads, (kFusedBlocks<F, X, W>))
fused_train_kernel(FusedPlan plan, FusedShape shape, FusedArguments a) {
  using Element = typename F::Element;
  constexpr int kRows = 16 * kTiles, kLanes = 32 / kRows;
  KB_SHARED(unsigned char, shared);
  fetch_parameters(plan, shape, a.weights, a.vectors, shared);
  const int warp = static_cast<int>(threadIdx.x) >> 5, lane = lane_id();
  const std::int64_t tiles = (a.rows + shape.rows() - 1) / shape.rows();
  Element* tile_features = reinterpret_cast<Element*>(shared + shape.features) +
                           warp * plan.layers[0].chunks * 16 * kRows;
  LaneSums sums;
  for (std::int64_t tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
    const std::int64_t row0 = tile * shape.rows() + warp * kRows;
    const std::int64_t row = row0 + lane % kRows;
    float point[3] = {0, 0, 0}, wanted = 0;
    WarpRows<F> rows{warp, tile_features, kRows, 0, kRows};
    Element* dfeatures = tile_features;
    if constexpr (kWhole) {
      if (row < a.rows) wanted = draw_row(a.draw, row, point);
      __syncwarp();
      encode_row<F>(a.grid, a.table, lane / kRows, kLanes, point, tile_features, kRows,
                    lane % kRows);
      __syncwarp();
    } else {
      if (row < a.rows) wanted = a.targets[row];
      rows.features = const_cast<Element*>(static_cast<const Element*>(a.features));
      rows.stride = a.stride;
      rows.row0 = row0;
      rows.valid = a.rows;
      dfeatures = static_cast<Element*>(a.dfeatures);
    }
    float out[kTiles][1][4], dy[kTiles][1][4];
    Passes<F, X, W, kTiles>::template forward<true>(plan, shape, a.weights, rows, shared, out);
    measure<kTiles>(
        plan, a, row0, out, [&](int i) { return shuffle(wanted, i); }, dy, sums);
    const bool overflow =
        backward<F, X, W, kTiles>(plan, shape, a, rows, tile == blockIdx.x, dy, dfeatures, shared);
    if (any(overflow) && lane == 0) or_u32(&a.state->overflow, 1);
    if constexpr (kWhole) {
      __syncwarp();
      if (row < a.rows)
        scatter_row<F>(a.grid, a.gradient, lane / kRows, kLanes, point, tile_features, kRows,
                       lane % kRows, 1.0f / a.state->loss_scale);
    }
  }
  store_sums(sums, a, reinterpret_cast<double*>(shared + shape.phi));
}

using FusedKernel = void (*)(FusedPlan, FusedShape, FusedArguments);

/// The kernels of one configuration; null where one was not built.
struct FusedKernels {
  FusedKernel predict = nullptr, train = nullptr, whole = nullptr;
};

/// Times 16 rows that a warp holds in registers, as many as leave none to spill; the host's side of
/// it is fused_rows_a_warp().
template <class X, int W>
inline constexpr int kWarpTiles = X::kSize == 1 && W < 64 ? 2 : 1;

/// Whether there are kernels: the widest FastKAN in TF32 would need more registers than there are.
template <class F, class X, int W>
inline constexpr bool kBuilt = X::kSize == 1 || W < 128 || sizeof(typename F::Element) == 2;

template <class F, class X, int W, bool kWhole>
FusedKernels fused_kernels() {
  FusedKernels found;
  if constexpr (kBuilt<F, X, W>) {
    found.predict = fused_predict_kernel<F, X, W, kWarpTiles<X, W>>;
    found.train = fused_train_kernel<F, X, W, kWarpTiles<X, W>, false>;
    if constexpr (kWhole && W < 128)
      found.whole = fused_train_kernel<F, X, W, kWarpTiles<X, W>, true>;
  }
  return found;
}

/// All widths of one precision and expansion.
template <class F, class X, bool kWhole>
FusedKernels fused_kernels(int width) {
  switch (width) {
    case 16:
      return fused_kernels<F, X, 16, kWhole>();
    case 32:
      return fused_kernels<F, X, 32, kWhole>();
    case 64:
      return fused_kernels<F, X, 64, kWhole>();
    default:
      return fused_kernels<F, X, 128, kWhole>();
  }
}

/// Each stands in a file of its own, fused_*.cu, so that they compile side by side.
FusedKernels fused_mlp_half(int width);
FusedKernels fused_mlp_bfloat(int width);
FusedKernels fused_mlp_tf32(int width);
FusedKernels fused_fastkan_half(int width);
FusedKernels fused_fastkan_bfloat(int width);
FusedKernels fused_fastkan_tf32(int width);
FusedKernels fused_basis_half(int width);

}  // namespace kanbench::cuda
