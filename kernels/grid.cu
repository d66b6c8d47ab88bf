// Features of a batch: level after level, so that one level's table is in the caches at a time.

#include "kernels/grid.h"
#include "kernels/grid_rows.h"

namespace kanbench::cuda {

GridInfo make_grid(const Layout& layout, int features) {
  GridInfo grid;
  grid.count = static_cast<int>(layout.tables.size());
  grid.features = features;
  check(grid.count <= encoder::HashGrid::kMaxLevels, "more levels than the kernels hold");
  for (int l = 0; l < grid.count; ++l) {
    const auto i = static_cast<std::size_t>(l);
    grid.levels[l] = {std::get<encoder::GridLevel>(table_level(layout, i).geometry),
                      layout.slices[i].offset};
  }
  return grid;
}

/// One level of features, feature-major.
template <int F, class T>
KB_KERNEL(kGridThreads)
encode_kernel(GridInfo grid, const T* table, ConstRows points, float* out, std::int64_t stride) {
  const std::int64_t row = batch_row();
  if (row >= points.rows) return;
  const int l = static_cast<int>(blockIdx.y);
  const LevelAt& at = grid.levels[l];
  const Point p = load_point(points, row);
  float features[F];
  encode_level(at.level, table + at.offset, p.x, p.y, p.z, features);
#pragma unroll
  for (int f = 0; f < F; ++f) out[(std::int64_t{l} * F + f) * stride + row] = features[f];
}

/// One group of levels that fill whole chunks; a group beyond the last level is zeros.
template <int F, class T>
KB_KERNEL(kGridThreads)
encode_chunks_kernel(GridInfo grid, const T* table, ConstRows points, T* out, std::int64_t stride) {
  const std::int64_t row = batch_row();
  if (row >= points.rows) return;
  constexpr int kLevels = F < 8 ? 8 / F : 1, kWidth = F < 8 ? 8 : F;
  const int first = static_cast<int>(blockIdx.y) * kLevels;
  const Point p = load_point(points, row);
  float chunk[kWidth];
#pragma unroll
  for (int i = 0; i < kLevels; ++i) {
    float features[F] = {};
    if (first + i < grid.count) {
      const LevelAt& at = grid.levels[first + i];
      encode_level(at.level, table + at.offset, p.x, p.y, p.z, features);
    }
#pragma unroll
    for (int f = 0; f < F; ++f) chunk[i * F + f] = features[f];
  }
#pragma unroll
  for (int i = 0; i < kWidth / 8; ++i)
    store_chunk(out + ((std::int64_t{blockIdx.y} * (kWidth / 8) + i) * stride + row) * 8,
                chunk + 8 * i);
}

/// Any number of features, one level at a time; what is beyond the last level is the coordinates
/// (of the identity encoder) and zeros up to `padded`.
template <class T, class Out>
KB_KERNEL(kGridThreads)
encode_any_kernel(GridInfo grid, const T* table, ConstRows points, Out out, int padded) {
  const std::int64_t row = batch_row();
  if (row >= points.rows) return;
  const int l = static_cast<int>(blockIdx.y);
  const Point p = load_point(points, row);
  if (l == grid.count) {
    if (l == 0)
      for (int j = 0; j < 3; ++j) out.set(j, row, j == 0 ? p.x : j == 1 ? p.y : p.z);
    for (int j = grid.width(); j < padded; ++j) out.set(j, row, 0.0f);
    return;
  }
  const LevelAt& at = grid.levels[l];
  const Corners corners = find_corners(at.level, p.x, p.y, p.z);
  for (int f = 0; f < grid.features; ++f) {
    float sum = 0;
#pragma unroll
    for (int c = 0; c < 8; ++c) {
      float number[1];
      load_row(table + at.offset + std::int64_t{corners.row[c]} * grid.features + f, number);
      sum += corners.weight[c] * number[0];
    }
    out.set(l * grid.features + f, row, sum);
  }
}

namespace {

template <class T, class Out>
void encode_any(const GridInfo& grid, const T* table, ConstRows points, Out out,
                cudaStream_t stream) {
  const int padded = Out::chunked ? static_cast<int>(round_up(grid.width(), 16)) : grid.width();
  const int ends = grid.count == 0 || padded > grid.width() ? 1 : 0;
  launch(encode_any_kernel<T, Out>, shape_grid(points.rows, grid.count + ends, stream), grid, table,
         points, out, padded);
}

template <int F, class T>
void encode_features(const GridInfo& grid, const T* table, ConstRows points, const FeatureRows& out,
                     cudaStream_t stream) {
  if (!out.chunked) {
    launch(encode_kernel<F, T>, shape_grid(points.rows, grid.count, stream), grid, table, points,
           static_cast<float*>(out.data), out.stride);
    return;
  }
  const std::int64_t padded = round_up(grid.width(), 16);
  launch(encode_chunks_kernel<F, T>, shape_grid(points.rows, padded / (F < 8 ? 8 : F), stream),
         grid, table, points, static_cast<T*>(out.data), out.stride);
}

template <class T>
void encode_table(const GridInfo& grid, const T* table, ConstRows points, const FeatureRows& out,
                  cudaStream_t stream) {
  switch (grid.features) {
    case 1:
      return encode_features<1>(grid, table, points, out, stream);
    case 2:
      return encode_features<2>(grid, table, points, out, stream);
    case 4:
      return encode_features<4>(grid, table, points, out, stream);
    case 8:
      return encode_features<8>(grid, table, points, out, stream);
    case 16:
      return encode_features<16>(grid, table, points, out, stream);
    default:
      break;
  }
  if (out.chunked)
    encode_any(grid, table, points, RowsAt<T, true>{static_cast<T*>(out.data), out.stride}, stream);
  else
    encode_any(grid, table, points, RowsAt<float, false>{static_cast<float*>(out.data), out.stride},
               stream);
}

}  // namespace

void encode(const GridInfo& grid, Precision table_type, const void* table, ConstRows points,
            const FeatureRows& out, cudaStream_t stream) {
  if (points.rows == 0) return;
  visit_element(table_type, [&]<class T>(T) {
    check(!out.chunked || same_element(out.element, table_type),
          "chunks of features in another type than the table's");
    encode_table(grid, static_cast<const T*>(table), points, out, stream);
  });
}

}  // namespace kanbench::cuda
