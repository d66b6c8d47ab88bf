#pragma once
// Features made where they are used: a warp encodes its own rows into shared memory, chunk by chunk
// of eight, and scatters their gradient from there. Where a warp has 16 rows, two lanes share one.

#include "kernels/fragment.h"
#include "kernels/fused.h"
#include "kernels/grid_rows.h"

namespace kanbench::cuda {

/// Whether a kernel can encode such features itself.
inline bool encodes_itself(int features) {
  return features == 0 || features == 1 || features == 2 || features == 4 || features == 8;
}

/// Writes the chunks of a point's features numbered part, part + parts, ...
template <int N, class F>
KB_DEVICE void encode_chunks(const GridInfo& grid, const void* table, int part, int parts,
                             const float (&p)[3], typename F::Element* features, int stride,
                             int row) {
  constexpr int kLevels = 8 / N;
  const auto* rows = static_cast<const typename F::Element*>(table);
  const int chunks = (grid.count + kLevels - 1) / kLevels;
  for (int chunk = part; chunk < chunks; chunk += parts) {
    float values[8];
#pragma unroll
    for (int i = 0; i < kLevels; ++i) {
      const int l = chunk * kLevels + i;
      float level[N];
#pragma unroll
      for (int f = 0; f < N; ++f) level[f] = 0;
      if (l < grid.count)
        encode_level(grid.levels[l].level, rows + grid.levels[l].offset, p[0], p[1], p[2], level);
#pragma unroll
      for (int f = 0; f < N; ++f) values[i * N + f] = level[f];
    }
    store_chunk(features + (chunk * stride + row) * 8, values);
  }
}

/// Writes the features of the lane's point to rows of `stride` in shared memory; features past the
/// encoder's, up to whole chunks of 16, become zero.
template <class F>
KB_DEVICE void encode_row(const GridInfo& grid, const void* table, int part, int parts,
                          const float (&p)[3], typename F::Element* features, int stride, int row) {
  switch (grid.features) {
    case 0:
      if (part == 0) {
        const float values[8] = {p[0], p[1], p[2], 0, 0, 0, 0, 0};
        store_chunk(features + row * 8, values);
      }
      break;
    case 1:
      encode_chunks<1, F>(grid, table, part, parts, p, features, stride, row);
      break;
    case 2:
      encode_chunks<2, F>(grid, table, part, parts, p, features, stride, row);
      break;
    case 4:
      encode_chunks<4, F>(grid, table, part, parts, p, features, stride, row);
      break;
    default:
      encode_chunks<8, F>(grid, table, part, parts, p, features, stride, row);
  }
  const int made = (grid.width() + 7) / 8;
  const float zero[8] = {};
  if (made % 2 && part == 0) store_chunk(features + (made * stride + row) * 8, zero);
}

template <int N, class F>
KB_DEVICE void scatter_levels(const GridInfo& grid, float* gradient, int part, int parts,
                              const float (&p)[3], const typename F::Element* features, int stride,
                              int row, float factor) {
  for (int l = part; l < grid.count; l += parts) {
    float d[N];
#pragma unroll
    for (int f = 0; f<N; f += N> 1 ? 2 : 1) {
      const int place = l * N + f;
      const auto* at = features + (place / 8 * stride + row) * 8 + (place & 7);
      if constexpr (N > 1) {
        const float2 pair = F::load_pair(at);
        d[f] = pair.x * factor;
        d[f + 1] = pair.y * factor;
      } else {
        const float2 pair = F::load_pair(at - (place & 1));
        d[f] = (place & 1 ? pair.y : pair.x) * factor;
      }
    }
    scatter_level(grid.levels[l].level, gradient + grid.levels[l].offset, p[0], p[1], p[2], d);
  }
}

/// Adds the gradient of the lane's row, in shared memory as encode_row() left its features, times
/// `factor` to the table's.
template <class F>
KB_DEVICE void scatter_row(const GridInfo& grid, float* gradient, int part, int parts,
                           const float (&p)[3], const typename F::Element* features, int stride,
                           int row, float factor) {
  switch (grid.features) {
    case 0:
      return;
    case 1:
      return scatter_levels<1, F>(grid, gradient, part, parts, p, features, stride, row, factor);
    case 2:
      return scatter_levels<2, F>(grid, gradient, part, parts, p, features, stride, row, factor);
    case 4:
      return scatter_levels<4, F>(grid, gradient, part, parts, p, features, stride, row, factor);
    default:
      return scatter_levels<8, F>(grid, gradient, part, parts, p, features, stride, row, factor);
  }
}

/// A lattice cut into bricks of as many voxels as a block has rows, edges doubling in turn.
struct BrickGrid {
  /// A block has at most 2^8 rows.
  static constexpr int kMostBits = 8;
  int edge[3];
  std::int64_t count[3];

  KB_HD BrickGrid(const Box& box, int rows) {
    for (int d = 0; d < 3; ++d) edge[d] = 1;
#pragma unroll
    for (int i = 0; i < kMostBits; ++i)
      if (1 << i < rows) edge[i % 3] *= 2;
    for (int d = 0; d < 3; ++d) count[d] = (box.high[d] - box.low[d] + edge[d] - 1) / edge[d];
  }
  KB_HD std::int64_t bricks() const { return count[0] * count[1] * count[2]; }

  /// Voxel `row` of brick `brick`, from the box's corner; neighbours in the row order are near.
  KB_HD void locate(std::int64_t brick, int row, std::int64_t (&voxel)[3]) const {
    if (bricks() <= 0x7fffffff) {
      // Divisions of 64 bits would cost as much as a level of the grid.
      const auto b = static_cast<std::uint32_t>(brick);
      const auto x = static_cast<std::uint32_t>(count[0]), y = static_cast<std::uint32_t>(count[1]);
      voxel[0] = std::int64_t{b % x} * edge[0];
      voxel[1] = std::int64_t{b / x % y} * edge[1];
      voxel[2] = std::int64_t{b / x / y} * edge[2];
    } else {
      voxel[0] = brick % count[0] * edge[0];
      voxel[1] = brick / count[0] % count[1] * edge[1];
      voxel[2] = brick / (count[0] * count[1]) * edge[2];
    }
#pragma unroll
    for (int i = 0; i < kMostBits; ++i) voxel[i % 3] += (row >> i & 1) << i / 3;
  }
};

}  // namespace kanbench::cuda
