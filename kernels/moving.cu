#include <algorithm>
#include <bit>

#include "kernels/fixed_point.h"
#include "kernels/moving.h"

namespace kanbench::cuda {

MovingGrids moving_grids(const ModelSpec& spec, const Layout& layout) {
  MovingGrids grids;
  if (layout.transforms < 0) return grids;
  const encoder::AdaptiveMultiGrid& all = *adaptive_grids(spec.encoder);
  const auto first = static_cast<std::size_t>(layout.first_grid);
  grids.count = all.n_grids;
  grids.resolution = all.resolution;
  grids.features = all.features;
  grids.transform = all.transform;
  grids.first = table_level(layout, first).first;
  grids.table = layout.slices[first].offset;
  grids.stride = all.n_grids > 1 ? layout.slices[first + 1].offset - grids.table : 0;
  grids.transforms = layout.slices[static_cast<std::size_t>(layout.transforms)].offset;
  return grids;
}

KB_KERNEL(kGridThreads)
place_grids_kernel(MovingGrids grids, const float* parameters, float* places) {
  const int g = static_cast<int>(blockIdx.x * kGridThreads + threadIdx.x);
  if (g >= grids.count) return;
  encoder::AdaptiveLevel level;
  level.resolution = static_cast<std::uint32_t>(grids.resolution);
  level.transform = grids.transform;
  level.place(parameters + grids.transforms + g * size(grids.transform));
  for (int i = 0; i < kPlaceFloats; ++i) places[g * kPlaceFloats + i] = level.node[i / 4][i % 4];
}

KB_DEVICE encoder::AdaptiveLevel load_level(const MovingGrids& grids, const float* places, int g) {
  encoder::AdaptiveLevel level;
  level.resolution = static_cast<std::uint32_t>(grids.resolution);
#pragma unroll
  for (int i = 0; i < kPlaceFloats; ++i) level.node[i / 4][i % 4] = places[g * kPlaceFloats + i];
  return level;
}

/// One grid's features of a row, N at a time.
template <int N, class T, class Out>
KB_KERNEL(kGridThreads)
gather_grids_kernel(MovingGrids grids, const T* table, const float* places, ConstRows points,
                    Out out, int end, int padded) {
  const std::int64_t row = batch_row();
  if (row >= points.rows) return;
  const int g = static_cast<int>(blockIdx.y);
  const Point p = load_point(points, row);
  const float x[3] = {p.x, p.y, p.z};
  const encoder::AdaptiveLevel level = load_level(grids, places, g);
  const T* const own = table + grids.table + g * grids.stride;
  for (int f = 0; f < grids.features; f += N) {
    float sums[N] = {};
    level.gather(x, [&](std::uint32_t node, float weight) {
      float numbers[N];
      load_row(own + std::int64_t{node} * grids.features + f, numbers);
#pragma unroll
      for (int i = 0; i < N; ++i) sums[i] += weight * numbers[i];
    });
#pragma unroll
    for (int i = 0; i < N; ++i) out.set(grids.first + g * grids.features + f + i, row, sums[i]);
  }
  if (g + 1 == grids.count)
    for (int j = end; j < padded; ++j) out.set(j, row, 0.0f);
}

/// One grid's gradient, summed in shared memory by each block over its share of the rows.
template <class In>
KB_KERNEL(kGridThreads)
return_grids_shared_kernel(MovingGrids grids, const float* places, float* gradient, Factor factor,
                           ConstRows points, In dfeatures) {
  KB_SHARED(float, sums);
  const int thread = static_cast<int>(threadIdx.x), g = static_cast<int>(blockIdx.y);
  const int size = grids.numbers();
  for (int i = thread; i < size; i += kGridThreads) sums[i] = 0;
  __syncthreads();
  const encoder::AdaptiveLevel level = load_level(grids, places, g);
  const float scale = factor.get();
  const std::int64_t step = std::int64_t{gridDim.x} * kGridThreads;
  for (std::int64_t row = batch_row(); row < points.rows; row += step) {
    const Point p = load_point(points, row);
    const float x[3] = {p.x, p.y, p.z};
    level.gather(x, [&](std::uint32_t node, float weight) {
      for (int f = 0; f < grids.features; ++f)
        atomicAdd(sums + static_cast<int>(node) * grids.features + f,
                  weight * scale * dfeatures.get(grids.first + g * grids.features + f, row));
    });
  }
  __syncthreads();
  float* const own = gradient + grids.table + g * grids.stride;
  for (int i = thread; i < size; i += kGridThreads)
    if (sums[i] != 0) add1(own + i, sums[i]);
}

/// The same number by number; in fixed point where there are such sums.
template <class In>
KB_KERNEL(kGridThreads)
return_grids_kernel(MovingGrids grids, const float* places, float* gradient, FixedPoint fixed,
                    int rows_bits, Factor factor, ConstRows points, In dfeatures) {
  const std::int64_t row = batch_row();
  if (row >= points.rows) return;
  if (fixed.sums && *fixed.largest >= kInfinity) return;
  const int g = static_cast<int>(blockIdx.y);
  const Point p = load_point(points, row);
  const float x[3] = {p.x, p.y, p.z};
  const encoder::AdaptiveLevel level = load_level(grids, places, g);
  const float scale =
      fixed.sums ? ldexpf(1.0f, fixed_exponent(*fixed.largest, rows_bits)) : factor.get();
  const std::int64_t own = grids.table + g * grids.stride;
  level.gather(x, [&](std::uint32_t node, float weight) {
    for (int f = 0; f < grids.features; ++f) {
      const std::int64_t at = own + std::int64_t{node} * grids.features + f;
      const float part = weight * scale * dfeatures.get(grids.first + g * grids.features + f, row);
      if (fixed.sums)
        add_fixed(fixed, at, part);
      else
        add1(gradient + at, part);
    }
  });
}

KB_KERNEL(kGridThreads)
penalise_grids_kernel(MovingGrids grids, encoder::GridPenalty penalty, const float* parameters,
                      float* gradient) {
  const int i = static_cast<int>(blockIdx.x * kGridThreads + threadIdx.x);
  if (i >= grids.numbers()) return;
  const int g = static_cast<int>(blockIdx.y), r = grids.resolution;
  const int node = i / grids.features;
  const std::int64_t at = grids.table + g * grids.stride + i;
  gradient[at] +=
      encoder::penalty_slope(penalty, parameters + at, node % r, node / r % r, node / r / r, r,
                             grids.features, g, grids.count, grids.stride);
}

namespace {

template <int N, class T, class Out>
void gather_by(const MovingGrids& grids, const T* table, const float* places, ConstRows points,
               Out out, int end, int padded, cudaStream_t stream) {
  launch(gather_grids_kernel<N, T, Out>, shape_grid(points.rows, grids.count, stream), grids, table,
         places, points, out, end, padded);
}

template <class T, class Out>
void gather_rows(const MovingGrids& grids, const T* table, const float* places, ConstRows points,
                 Out out, int end, int padded, cudaStream_t stream) {
  if (grids.features % 4 == 0)
    gather_by<4>(grids, table, places, points, out, end, padded, stream);
  else if (grids.features % 2 == 0)
    gather_by<2>(grids, table, places, points, out, end, padded, stream);
  else
    gather_by<1>(grids, table, places, points, out, end, padded, stream);
}

template <class In>
void return_rows(const MovingGrids& grids, const ScatterTarget& target, const float* places,
                 ConstRows points, In dfeatures, cudaStream_t stream) {
  const Factor factor{target.factor, target.state};
  const FixedPoint& fixed = target.fixed;
  const std::size_t bytes = static_cast<std::size_t>(grids.numbers()) * sizeof(float);
  if (!fixed.sums && bytes <= kDefaultShared) {
    // A block for so many rows, as the sums at its end cost as much as some thousands of them.
    constexpr std::int64_t kRows = 8192;
    Grid shape = shape_grid(ceil_divide(points.rows, kRows / kGridThreads), grids.count, stream);
    shape.shared = bytes;
    return launch(return_grids_shared_kernel<In>, shape, grids, places, target.gradient, factor,
                  points, dfeatures);
  }
  const int rows_bits = std::bit_width(static_cast<std::uint64_t>(points.rows));
  const int first = grids.first, end = first + grids.count * grids.features;
  if (fixed.sums) find_unit(fixed, points.rows, first, end, dfeatures, stream);
  launch(return_grids_kernel<In>, shape_grid(points.rows, grids.count, stream), grids, places,
         target.gradient, fixed, rows_bits, factor, points, dfeatures);
  if (fixed.sums)
    move_fixed(fixed, rows_bits, grids.table,
               grids.table + (grids.count - 1) * grids.stride + grids.numbers(), factor,
               target.gradient, stream);
}

}  // namespace

void place_grids(const MovingGrids& grids, const float* parameters, float* places,
                 cudaStream_t stream) {
  launch(place_grids_kernel, shape_grid(grids.count, 1, stream), grids, parameters, places);
}

void gather_grids(const MovingGrids& grids, Precision table_type, const void* table,
                  const float* places, ConstRows points, const FeatureRows& out, int end,
                  int padded, cudaStream_t stream) {
  if (points.rows == 0) return;
  if (!out.chunked)
    return gather_rows(grids, static_cast<const float*>(table), places, points,
                       RowsAt<float, false>{static_cast<float*>(out.data), out.stride}, end, padded,
                       stream);
  visit_element(table_type, [&]<class T>(T) {
    gather_rows(grids, static_cast<const T*>(table), places, points,
                RowsAt<T, true>{static_cast<T*>(out.data), out.stride}, end, padded, stream);
  });
}

void return_grids(const MovingGrids& grids, const ScatterTarget& target, const float* places,
                  ConstRows points, const FeatureRows& dfeatures, cudaStream_t stream) {
  if (points.rows == 0) return;
  if (!dfeatures.chunked) {
    const auto* data = static_cast<const float*>(dfeatures.data);
    return return_rows(grids, target, places, points,
                       RowsAt<const float, false>{data, dfeatures.stride}, stream);
  }
  visit_element(dfeatures.element, [&]<class E>(E) {
    const auto* data = static_cast<const E*>(dfeatures.data);
    return_rows(grids, target, places, points, RowsAt<const E, true>{data, dfeatures.stride},
                stream);
  });
}

void penalise_grids(const MovingGrids& grids, const encoder::GridPenalty& penalty,
                    const float* parameters, float* gradient, cudaStream_t stream) {
  if (grids.count > 0 && penalty.any())
    launch(penalise_grids_kernel, shape_grid(grids.numbers(), grids.count, stream), grids, penalty,
           parameters, gradient);
}

}  // namespace kanbench::cuda
