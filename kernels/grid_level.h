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

/// The cell around a point, and how far into it the point lies on each axis.
struct Cell {
  std::uint32_t at[3];
  float weight[3];
};

KB_DEVICE Cell find_cell(const encoder::GridLevel& level, float x, float y, float z) {
  const float point[3] = {x, y, z};
  Cell cell;
  for (int d = 0; d < 3; ++d) {
    const float p = point[d] * level.scale + 0.5f;
    const int whole = static_cast<int>(p);
    cell.at[d] = static_cast<std::uint32_t>(whole);
    cell.weight[d] = p - static_cast<float>(whole);
  }
  return cell;
}

/// Rows and weights of the corners around a point: GridLevel::gather(), with what the corners have
/// in common computed once.
struct Corners {
  std::uint32_t row[8];
  float weight[8];
};

KB_DEVICE Corners find_corners(const encoder::GridLevel& level, float x, float y, float z) {
  const Cell cell = find_cell(level, x, y, z);
  const float weight[3][2] = {{1.0f - cell.weight[0], cell.weight[0]},
                              {1.0f - cell.weight[1], cell.weight[1]},
                              {1.0f - cell.weight[2], cell.weight[2]}};
  Corners corners;
#pragma unroll
  for (int c = 0; c < 8; ++c)
    corners.weight[c] = weight[0][c & 1] * weight[1][c >> 1 & 1] * weight[2][c >> 2];
  const std::uint32_t stride_y = level.dense ? level.resolution : 2654435761u;
  const std::uint32_t stride_z = level.dense ? level.resolution * level.resolution : 805459861u;
  const std::uint32_t at_x[2] = {cell.at[0], cell.at[0] + 1};
  const std::uint32_t at_y[2] = {cell.at[1] * stride_y, cell.at[1] * stride_y + stride_y};
  const std::uint32_t at_z[2] = {cell.at[2] * stride_z, cell.at[2] * stride_z + stride_z};
  if (level.dense) {
#pragma unroll
    for (int c = 0; c < 8; ++c) {
      // Tables have at most 2^26 rows, so that 32 bits hold a row before it wraps.
      const std::uint32_t row = at_x[c & 1] + (at_y[c >> 1 & 1] + at_z[c >> 2]);
      const std::uint32_t wrapped = row - level.entries;
      corners.row[c] = row < wrapped ? row : wrapped;
    }
  } else {
#pragma unroll
    for (int c = 0; c < 8; ++c)
      corners.row[c] = (at_x[c & 1] ^ (at_y[c >> 1 & 1] ^ at_z[c >> 2])) & (level.entries - 1);
  }
  return corners;
}

/// Row `row` of F numbers of T.
template <int F, class T>
KB_DEVICE T* row_at(T* table, std::uint32_t row) {
  // As an integer, lest the compiler add the level's offset to every row anew.
  return reinterpret_cast<T*>(reinterpret_cast<std::uintptr_t>(table) +
                              std::uint64_t{row} * (F * sizeof(T)));
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

/// Reads N words, aligned to all of them or to 16 bytes.
template <int N>
KB_DEVICE void load_words(const void* from, std::uint32_t (&words)[N]) {
  if constexpr (N == 1) {
    words[0] = load_cached(static_cast<const std::uint32_t*>(from));
  } else if constexpr (N == 2) {
    const uint2 v = load_cached(static_cast<const uint2*>(from));
    words[0] = v.x, words[1] = v.y;
  } else {
#pragma unroll
    for (int i = 0; i < N; i += 4) {
      const uint4 v = load_cached(static_cast<const uint4*>(from) + i / 4);
      words[i] = v.x, words[i + 1] = v.y, words[i + 2] = v.z, words[i + 3] = v.w;
    }
  }
}

/// Reads F numbers of float, Half or Bfloat, aligned to all of them or to 16 bytes.
template <int F, class T>
KB_DEVICE void load_row(const T* from, float (&row)[F]) {
  if constexpr (F == 1 && sizeof(T) == 2) {
    row[0] = unpack_two<T>(load_cached(reinterpret_cast<const std::uint16_t*>(from))).x;
  } else {
    std::uint32_t words[F * sizeof(T) / 4];
    load_words(from, words);
#pragma unroll
    for (int f = 0; f < F; ++f) {
      if constexpr (std::is_same_v<T, float>)
        row[f] = same_bits<float>(words[f]);
      else
        row[f] = f % 2 ? unpack_two<T>(words[f / 2]).y : unpack_two<T>(words[f / 2]).x;
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
    load_row(row_at<F>(table, corners.row[c]), row);
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
  for (int c = 0; c < 8; ++c) add_row(row_at<F>(gradient, corners.row[c]), corners.weight[c], d);
}

/// As scatter_level(), but where the rows of two corners side by side are an aligned pair, as half
/// of all are, they are added at once.
template <int F>
KB_DEVICE void scatter_level_pairs(const encoder::GridLevel& level, float* gradient, float x,
                                   float y, float z, const float (&d)[F]) {
  const Corners corners = find_corners(level, x, y, z);
#pragma unroll
  for (int c = 0; c < 8; c += 2) {
    const std::uint32_t first = corners.row[c], second = corners.row[c + 1];
    if ((first ^ second) == 1) {
      const bool swapped = first & 1;
      const float here = corners.weight[c], beside = corners.weight[c + 1];
      const float low = swapped ? beside : here, high = swapped ? here : beside;
      float both[2 * F];
#pragma unroll
      for (int f = 0; f < F; ++f) both[f] = low * d[f], both[F + f] = high * d[f];
      add_row(row_at<F>(gradient, swapped ? second : first), 1.0f, both);
    } else {
      add_row(row_at<F>(gradient, first), corners.weight[c], d);
      add_row(row_at<F>(gradient, second), corners.weight[c + 1], d);
    }
  }
}

}  // namespace kanbench::cuda
