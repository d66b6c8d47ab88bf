// The table's gradient of a batch, level after level.

#include <algorithm>
#include <bit>

#include "kernels/fixed_point.h"
#include "kernels/grid.h"
#include "kernels/grid_rows.h"

namespace kanbench::cuda {

constexpr int kSharedThreads = 1024;

/// A row's gradient of F features from number `first` on, times `factor`.
template <int F, class In>
KB_DEVICE void load_gradient(const In& dfeatures, int first, std::int64_t row, float factor,
                             float (&d)[F]) {
  if constexpr (In::chunked) {
    constexpr int kPart = F < 8 ? F : 8;
#pragma unroll
    for (int f = 0; f < F; f += kPart) {
      float part[kPart];
      load_row(dfeatures.at(first + f, row), part);
#pragma unroll
      for (int i = 0; i < kPart; ++i) d[f + i] = part[i];
    }
  } else {
#pragma unroll
    for (int f = 0; f < F; ++f) d[f] = dfeatures.get(first + f, row);
  }
#pragma unroll
  for (int f = 0; f < F; ++f) d[f] *= factor;
}

/// A thread a row and level, in vectors.
template <int F, bool kPairs, class In>
KB_KERNEL(kGridThreads)
scatter_kernel(GridInfo grid, int first_level, float* gradient, Factor factor, ConstRows points,
               In dfeatures) {
  const std::int64_t row = batch_row();
  if (row >= points.rows) return;
  const int l = first_level + static_cast<int>(blockIdx.y);
  const LevelAt& at = grid.levels[l];
  const Point p = load_point(points, row);
  float d[F];
  load_gradient(dfeatures, l * F, row, factor.get(), d);
  if constexpr (kPairs)
    scatter_level_pairs(at.level, gradient + at.offset, p.x, p.y, p.z, d);
  else
    scatter_level(at.level, gradient + at.offset, p.x, p.y, p.z, d);
}

/// As many lanes side by side as a row has numbers, at most eight, a row and level.
template <int F, class In>
KB_KERNEL(kGridThreads)
scatter_lanes_kernel(GridInfo grid, int first_level, float* gradient, Factor factor,
                     ConstRows points, In dfeatures) {
  constexpr int kLanes = F < 8 ? F : 8;
  const std::int64_t row = batch_row() / kLanes;
  const int lane = static_cast<int>(threadIdx.x) % kLanes;
  if (row >= points.rows) return;
  const int l = first_level + static_cast<int>(blockIdx.y);
  const LevelAt& at = grid.levels[l];
  const Point p = load_point(points, row);
  const Corners corners = find_corners(at.level, p.x, p.y, p.z);
  const float scale = factor.get();
  float* const base = gradient + at.offset + lane;
#pragma unroll
  for (int f = 0; f < F; f += kLanes) {
    const float d = dfeatures.get(l * F + f + lane, row) * scale;
#pragma unroll
    for (int c = 0; c < 8; ++c) add1(row_at<F>(base + f, corners.row[c]), corners.weight[c] * d);
  }
}

/// One level, summed in shared memory by each block over its share of the rows.
template <class In>
KB_KERNEL(kSharedThreads)
scatter_shared_kernel(LevelAt at, int level, int features, float* gradient, Factor factor,
                      ConstRows points, In dfeatures) {
  KB_SHARED(float, sums);
  const int thread = static_cast<int>(threadIdx.x), threads = static_cast<int>(blockDim.x);
  const int size = static_cast<int>(at.level.entries) * features;
  for (int i = thread; i < size; i += threads) sums[i] = 0;
  __syncthreads();
  const float scale = factor.get();
  const std::int64_t step = std::int64_t{gridDim.x} * threads;
  for (std::int64_t row = std::int64_t{blockIdx.x} * threads + thread; row < points.rows;
       row += step) {
    const Point p = load_point(points, row);
    const Corners corners = find_corners(at.level, p.x, p.y, p.z);
    for (int f = 0; f < features; ++f) {
      const float d = dfeatures.get(level * features + f, row) * scale;
#pragma unroll
      for (int c = 0; c < 8; ++c)
        atomicAdd(sums + static_cast<int>(corners.row[c]) * features + f, corners.weight[c] * d);
    }
  }
  __syncthreads();
  // Levels have a multiple of eight entries.
  for (int i = 4 * thread; i < size; i += 4 * threads)
    add4(gradient + at.offset + i, *reinterpret_cast<const float4*>(sums + i));
}

/// Any number of features; in fixed point where there are such sums.
template <class In>
KB_KERNEL(kGridThreads)
scatter_any_kernel(GridInfo grid, int first_level, float* gradient, FixedPoint fixed, int rows_bits,
                   Factor factor, ConstRows points, In dfeatures) {
  const std::int64_t row = batch_row();
  if (row >= points.rows) return;
  const int l = first_level + static_cast<int>(blockIdx.y);
  const LevelAt& at = grid.levels[l];
  const Point p = load_point(points, row);
  float scale;
  if (fixed.sums) {
    if (*fixed.largest >= kInfinity) return;
    scale = ldexpf(1.0f, fixed_exponent(*fixed.largest, rows_bits));
  } else {
    scale = factor.get();
  }
  const Corners corners = find_corners(at.level, p.x, p.y, p.z);
  for (int f = 0; f < grid.features; ++f) {
    const float d = dfeatures.get(l * grid.features + f, row) * scale;
#pragma unroll
    for (int c = 0; c < 8; ++c) {
      const std::int64_t i = at.offset + std::int64_t{corners.row[c]} * grid.features + f;
      const float part = corners.weight[c] * d;
      if (fixed.sums)
        add_fixed(fixed, i, part);
      else
        add1(gradient + i, part);
    }
  }
}

namespace {

std::size_t level_bytes(const GridInfo& grid, int l) {
  return std::size_t{grid.levels[l].level.entries} * static_cast<unsigned>(grid.features) *
         sizeof(float);
}

/// One call of scatter().
struct Scatter {
  const GridInfo& grid;
  const ScatterTarget& target;
  const ScatterPlan& plan;
  ConstRows points;
  Levels levels;
  cudaStream_t stream;

  Factor factor() const { return {target.factor, target.state}; }
};

template <class In>
void scatter_any(const Scatter& s, In dfeatures) {
  const int rows_bits = std::bit_width(static_cast<std::uint64_t>(s.points.rows));
  const FixedPoint& fixed = s.target.fixed;
  const auto& [first, end] = s.levels;
  if (fixed.sums)
    find_unit(fixed, s.points.rows, first * s.grid.features, end * s.grid.features, dfeatures,
              s.stream);
  launch(scatter_any_kernel<In>, shape_grid(s.points.rows, end - first, s.stream), s.grid, first,
         s.target.gradient, fixed, rows_bits, s.factor(), s.points, dfeatures);
  if (!fixed.sums) return;
  const std::int64_t begin = s.grid.levels[first].offset;
  const std::int64_t last = end < s.grid.count ? s.grid.levels[end].offset : s.target.size;
  move_fixed(fixed, rows_bits, begin, last, s.factor(), s.target.gradient, s.stream);
}

template <class In>
void scatter_shared(const Scatter& s, In dfeatures) {
  for (int l = s.levels.first; l < std::min(s.levels.end, s.plan.shared_levels); ++l) {
    const LevelAt& at = s.grid.levels[l];
    const std::int64_t threads =
        std::min<std::int64_t>(kSharedThreads, round_up(s.points.rows, 32));
    const Grid shape{dim3(static_cast<unsigned>(s.plan.shared_blocks)),
                     dim3(static_cast<unsigned>(threads)), level_bytes(s.grid, l), s.stream};
    launch(scatter_shared_kernel<In>, shape, at, l, s.grid.features, s.target.gradient, s.factor(),
           s.points, dfeatures);
  }
}

template <int F, class In>
void scatter_features(const Scatter& s, In dfeatures) {
  scatter_shared(s, dfeatures);
  const int first = std::max(s.levels.first, s.plan.shared_levels), levels = s.levels.end - first;
  if (levels <= 0) return;
  constexpr int kLanes = F < 8 ? F : 8;
  const bool lanes = s.plan.adds == RowAdds::lanes && F > 1;
  const auto kernel = lanes                           ? scatter_lanes_kernel<F, In>
                      : s.plan.adds == RowAdds::pairs ? scatter_kernel<F, F <= 2, In>
                                                      : scatter_kernel<F, false, In>;
  launch(kernel, shape_grid(s.points.rows * (lanes ? kLanes : 1), levels, s.stream), s.grid, first,
         s.target.gradient, s.factor(), s.points, dfeatures);
}

template <class In>
void scatter_rows(const Scatter& s, In dfeatures) {
  switch (s.target.fixed.sums ? 0 : s.grid.features) {
    case 1:
      return scatter_features<1>(s, dfeatures);
    case 2:
      return scatter_features<2>(s, dfeatures);
    case 4:
      return scatter_features<4>(s, dfeatures);
    case 8:
      return scatter_features<8>(s, dfeatures);
    case 16:
      return scatter_features<16>(s, dfeatures);
    default:
      return scatter_any(s, dfeatures);
  }
}

}  // namespace

// An H200 adds 105 G times a second to tables in its cache, of whatever width, and a scatter is
// bound by that: two rows at once are a quarter fewer.
RowAdds row_adds(int major) { return major < 9 ? RowAdds::lanes : RowAdds::pairs; }

ScatterPlan plan_scatter(const GridInfo& grid, std::int64_t rows, int major,
                         std::int64_t shared_bytes, int multiprocessors) {
  ScatterPlan plan;
  plan.adds = row_adds(major);
  plan.shared_blocks = multiprocessors;
  // A block adds each entry of its own once: worth it where the rows add to them more than twice.
  while (plan.shared_levels < grid.count) {
    const int l = plan.shared_levels;
    const std::int64_t entries = grid.levels[l].level.entries;
    if (static_cast<std::int64_t>(level_bytes(grid, l)) > shared_bytes || entries % 8 != 0 ||
        8 * rows < 2 * multiprocessors * entries)
      break;
    ++plan.shared_levels;
  }
  return plan;
}

void scatter(const GridInfo& grid, const ScatterTarget& target, ConstRows points,
             const FeatureRows& dfeatures, const ScatterPlan& plan, Levels levels,
             cudaStream_t stream) {
  if (points.rows == 0 || levels.first >= levels.end) return;
  const Scatter call{grid, target, plan, points, levels, stream};
  if (!dfeatures.chunked) {
    const auto* data = static_cast<const float*>(dfeatures.data);
    scatter_rows(call, RowsAt<const float, false>{data, dfeatures.stride});
    return;
  }
  visit_element(dfeatures.element, [&]<class E>(E) {
    const auto* data = static_cast<const E*>(dfeatures.data);
    scatter_rows(call, RowsAt<const E, true>{data, dfeatures.stride});
  });
}

void scatter(const GridInfo& grid, const ScatterTarget& target, ConstRows points,
             const FeatureRows& dfeatures, const ScatterPlan& plan, cudaStream_t stream) {
  scatter(grid, target, points, dfeatures, plan, {0, grid.count}, stream);
}

}  // namespace kanbench::cuda
