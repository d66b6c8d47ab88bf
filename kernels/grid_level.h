#pragma once
// One point and one level of the hash grid: the weighted sum of eight rows of the table, and its
// reverse. F features a row, a power of two, so that a row is read in vectors.

#include <cstdint>
#include <type_traits>

#include "kanbench/math/encoder/hash_grid.h"
#include "kernels/device.h"

namespace kanbench::cuda {

/// A level and where its rows begin in the table, in numbers.
struct LevelAt {
  encoder::GridLevel level;
  std::int64_t offset = 0;
};

/// A grid as kernels take it; count is 0 for the identity encoder.
struct GridInfo {
  LevelAt levels[encoder::HashGrid::kMaxLevels];
  int count = 0, features = 0;
  /// Numbers a point becomes.
  KB_HD int width() const { return count ? count * features : 3; }
};

/// Rows and weights of the corners around a point: GridLevel::gather(), with what the corners have
/// in common computed once.
struct Corners {
  std::uint32_t row[8];
  float weight[8];
};

KB_DEVICE Corners find_corners(const encoder::GridLevel& level, float x, float y, float z) {
  const float point[3] = {x, y, z};
  std::uint32_t cell[3];
  float weight[3][2];
  for (int d = 0; d < 3; ++d) {
    const float p = point[d] * level.scale + 0.5f;
    const int whole = static_cast<int>(p);
    cell[d] = static_cast<std::uint32_t>(whole);
    weight[d][1] = p - static_cast<float>(whole);
    weight[d][0] = 1.0f - weight[d][1];
  }
  Corners corners;
  const std::uint32_t stride_y = level.dense ? level.resolution : 2654435761u;
  const std::uint32_t stride_z = level.dense ? level.resolution * level.resolution : 805459861u;
  const std::uint32_t at_y[2] = {cell[1] * stride_y, cell[1] * stride_y + stride_y};
  const std::uint32_t at_z[2] = {cell[2] * stride_z, cell[2] * stride_z + stride_z};
#pragma unroll
  for (int c = 0; c < 8; ++c) {
    const int i = c & 1, j = c >> 1 & 1, k = c >> 2;
    corners.weight[c] = weight[0][i] * weight[1][j] * weight[2][k];
    // Tables have fewer than 2^31 rows, so that 32 bits hold a dense level's row before it wraps.
    const std::uint32_t row = cell[0] + static_cast<std::uint32_t>(i) + at_y[j] + at_z[k];
    const std::uint32_t hash = (cell[0] + static_cast<std::uint32_t>(i)) ^ at_y[j] ^ at_z[k];
    if (level.dense)
      corners.row[c] = row < level.entries ? row : row - level.entries;
    else
      corners.row[c] = hash & (level.entries - 1);
  }
  return corners;
}

/// Two numbers in one 32-bit word, the first in its low half.
template <class T>
KB_DEVICE std::uint32_t pack_two(float first, float second) {
  if constexpr (std::is_same_v<T, Half>)
    return pack_half(first, second);
  else
    return pack_bfloat(first, second);
}
template <class T>
KB_DEVICE float2 unpack_two(std::uint32_t word) {
  if constexpr (std::is_same_v<T, Half>)
    return unpack_half(word);
  else
    return unpack_bfloat(word);
}

/// Reads F numbers of float, Half or Bfloat, aligned to all of them or to 16 bytes.
template <int F, class T>
KB_DEVICE void load_row(const T* from, float (&row)[F]) {
  constexpr int kBytes = F * static_cast<int>(sizeof(T));
  if constexpr (kBytes == 2) {
    row[0] = unpack_two<T>(load_cached(reinterpret_cast<const std::uint16_t*>(from))).x;
  } else if constexpr (std::is_same_v<T, float>) {
    if constexpr (F == 1) row[0] = load_cached(from);
    if constexpr (F == 2) {
      const float2 v = load_cached(reinterpret_cast<const float2*>(from));
      row[0] = v.x, row[1] = v.y;
    }
    if constexpr (F >= 4)
#pragma unroll
      for (int f = 0; f < F; f += 4) {
        const float4 v = load_cached(reinterpret_cast<const float4*>(from + f));
        row[f] = v.x, row[f + 1] = v.y, row[f + 2] = v.z, row[f + 3] = v.w;
      }
  } else {
    std::uint32_t words[F / 2];
    if constexpr (F == 2) words[0] = load_cached(reinterpret_cast<const std::uint32_t*>(from));
    if constexpr (F == 4) {
      const uint2 v = load_cached(reinterpret_cast<const uint2*>(from));
      words[0] = v.x, words[1] = v.y;
    }
    if constexpr (F >= 8)
#pragma unroll
      for (int f = 0; f < F / 2; f += 4) {
        const uint4 v = load_cached(reinterpret_cast<const uint4*>(from + 2 * f));
        words[f] = v.x, words[f + 1] = v.y, words[f + 2] = v.z, words[f + 3] = v.w;
      }
#pragma unroll
    for (int f = 0; f < F / 2; ++f) {
      const float2 v = unpack_two<T>(words[f]);
      row[2 * f] = v.x, row[2 * f + 1] = v.y;
    }
  }
}

/// The level's features at a point in [0, 1]^3; `table` is the level's first row.
template <int F, class T>
KB_DEVICE void encode_level(const encoder::GridLevel& level, const T* table, float x, float y,
                            float z, float (&out)[F]) {
  const Corners corners = find_corners(level, x, y, z);
#pragma unroll
  for (int f = 0; f < F; ++f) out[f] = 0;
#pragma unroll
  for (int c = 0; c < 8; ++c) {
    float row[F];
    load_row(table + std::int64_t{corners.row[c]} * F, row);
#pragma unroll
    for (int f = 0; f < F; ++f) out[f] += corners.weight[c] * row[f];
  }
}

/// Adds weight * d to a row of the gradient, in vectors where the device has them.
template <int F>
KB_DEVICE void add_row(float* row, float weight, const float (&d)[F]) {
  if constexpr (F == 1) add1(row, weight * d[0]);
  if constexpr (F == 2) add2(row, float2{weight * d[0], weight * d[1]});
  if constexpr (F >= 4)
#pragma unroll
    for (int f = 0; f < F; f += 4)
      add4(row + f, float4{weight * d[f], weight * d[f + 1], weight * d[f + 2], weight * d[f + 3]});
}

/// Adds a point's gradient `d` of the level's features to the table's; `gradient` is the level's
/// first row.
template <int F>
KB_DEVICE void scatter_level(const encoder::GridLevel& level, float* gradient, float x, float y,
                             float z, const float (&d)[F]) {
  const Corners corners = find_corners(level, x, y, z);
#pragma unroll
  for (int c = 0; c < 8; ++c)
    add_row(gradient + std::int64_t{corners.row[c]} * F, corners.weight[c], d);
}

}  // namespace kanbench::cuda
