#pragma once
// The hash grid over packs of samples: eight corners' rows and weights, then a gather by feature
// (any count), by pairs, or whole rows at a time where they are 4 or a multiple of 8 floats.

#include <type_traits>

#include "cpu/isa/pack.h"
#include "cpu/isa/transpose.h"
#include "cpu/kernels.h"

namespace kanbench::cpu::KB_ISA {
namespace {

/// Rows of the table and weights of the eight corners of kWidth samples.
struct Corners {
  Words row[8];
  Pack weight[8];
};

KB_HD Corners find_corners(const encoder::GridLevel& level, Pack x, Pack y, Pack z) {
  const Pack scale(level.scale), half(0.5f), one(1.0f);
  const Pack p[3] = {x * scale + half, y * scale + half, z * scale + half};
  Words axis[3][2];
  Pack weight[3][2];
  const std::uint32_t res = level.resolution;
  const std::uint32_t stride[3] = {1, level.dense ? res : 2654435761u,
                                   level.dense ? res * res : 805459861u};
  for (int d = 0; d < 3; ++d) {
    const Words cell = truncate(p[d]);
    weight[d][1] = p[d] - to_pack(cell);
    weight[d][0] = one - weight[d][1];
    axis[d][0] = cell * stride[d];
    axis[d][1] = axis[d][0] + stride[d];
  }
  Corners corners;
  for (int c = 0; c < 8; ++c) {
    const Words &i = axis[0][c & 1], &j = axis[1][c >> 1 & 1], &k = axis[2][c >> 2];
    if (level.dense) {
      const Words row = i + j + k;
      corners.row[c] = row < level.entries ? row : row - level.entries;
    } else {
      corners.row[c] = (i ^ j ^ k) & (level.entries - 1);
    }
    corners.weight[c] = weight[0][c & 1] * weight[1][c >> 1 & 1] * weight[2][c >> 2];
  }
  return corners;
}

KB_HD Corners corners_at(const LevelArguments& a, const float* points, int s) {
  return find_corners(a.level, load(points + s), load(points + a.rows + s),
                      load(points + 2 * a.rows + s));
}

void encode_by_feature(const LevelArguments& a, const float* points, float* out) {
  for (int s = 0; s < a.rows; s += kWidth) {
    const Corners corners = corners_at(a, points, s);
    for (int f = 0; f < a.features; ++f) {
      Pack sum(0.0f);
      for (int c = 0; c < 8; ++c)
        sum =
            sum + corners.weight[c] *
                      gather(a.table + f, corners.row[c] * static_cast<std::uint32_t>(a.features));
      store(out + f * a.rows + s, sum);
    }
  }
}

void encode_pairs(const LevelArguments& a, const float* points, float* out) {
  for (int s = 0; s < a.rows; s += kWidth) {
    const Corners corners = corners_at(a, points, s);
    Pack first(0.0f), second(0.0f);
    for (int c = 0; c < 8; ++c) {
      Pack x, y;
      gather_pair(a.table, corners.row[c], x, y);
      first = first + corners.weight[c] * x;
      second = second + corners.weight[c] * y;
    }
    store(out + s, first);
    store(out + a.rows + s, second);
  }
}

/// Corners of kWidth samples as arrays, for loops over single samples.
struct CornerArrays {
  alignas(64) std::uint32_t row[8][kWidth];
  alignas(64) float weight[8][kWidth];
};

KB_HD void spill(const Corners& corners, CornerArrays& arrays) {
  for (int c = 0; c < 8; ++c) {
    store_words(arrays.row[c], corners.row[c]);
    store(arrays.weight[c], corners.weight[c]);
  }
}

using Two = float __attribute__((vector_size(8)));
using Four = float __attribute__((vector_size(16)));

/// N floats of a row at a time. (A vector size that depends on N is ignored by g++ 12.)
template <int N>
struct Row {
  using Type = std::conditional_t<N == 2, Two, std::conditional_t<N == 4, Four, Eight>>;
  static_assert(sizeof(Type) == N * sizeof(float));
  static KB_HD Type load(const float* from) {
    Type x;
    __builtin_memcpy(&x, from, sizeof x);
    return x;
  }
  static KB_HD void store(float* to, Type x) { __builtin_memcpy(to, &x, sizeof x); }
};

/// out[features][rows] from rows [count][features], N features from `f`, samples from s.
template <int N>
KB_HD void store_transposed(const float (&values)[kWidth][8], int rows, float* out) {
  if constexpr (kWidth % 8 == 0) {
    for (int s = 0; s < kWidth; s += 8) {
      float square[8][8];
      transpose_square(values[s], 8, 8, square[0], 8);
      for (int f = 0; f < N; ++f)
        *reinterpret_cast<LooseEight*>(out + f * rows + s) =
            *reinterpret_cast<const LooseEight*>(square[f]);
    }
  } else {
    for (int f = 0; f < N; ++f)
      for (int s = 0; s < kWidth; ++s) out[f * rows + s] = values[s][f];
  }
}

template <int N>
void encode_rows(const LevelArguments& a, const float* points, float* out) {
  CornerArrays arrays;
  float values[kWidth][8] = {};
  for (int s = 0; s < a.rows; s += kWidth) {
    spill(corners_at(a, points, s), arrays);
    for (int f = 0; f < a.features; f += N) {
      for (int j = 0; j < kWidth; ++j) {
        typename Row<N>::Type sum{};
        for (int c = 0; c < 8; ++c)
          sum += arrays.weight[c][j] *
                 Row<N>::load(a.table + std::int64_t{arrays.row[c][j]} * a.features + f);
        Row<N>::store(values[j], sum);
      }
      store_transposed<N>(values, a.rows, out + f * a.rows + s);
    }
  }
}

void encode(const LevelArguments& a) {
  for (std::int64_t t = 0; t < a.tiles; ++t) {
    const float* points = a.points + t * a.point_tile;
    float* out = a.values + t * a.feature_tile;
    if (a.features % 8 == 0)
      encode_rows<8>(a, points, out);
    else if (a.features == 4)
      encode_rows<4>(a, points, out);
    else if (a.features == 2)
      encode_pairs(a, points, out);
    else
      encode_by_feature(a, points, out);
  }
}

KB_HD void touch(TouchedLines* touched, std::int64_t at, int features) {
  for (std::int64_t line = at / 16; line <= (at + features - 1) / 16; ++line) {
    if (touched->flags[line]) continue;
    touched->flags[line] = 1;
    touched->lines[touched->count++] = static_cast<std::uint32_t>(line);
  }
}

/// Adds to the table's gradient, N features at a time (1: one by one).
template <int N, bool kTouch, bool kSlice>
KB_HD void scatter_samples(const LevelArguments& a, const CornerArrays& arrays,
                           const float* dvalues, TouchedLines* touched) {
  for (int j = 0; j < kWidth; ++j) {
    const float* d = dvalues + j * a.features;
    for (int c = 0; c < 8; ++c) {
      if (kSlice && arrays.row[c][j] - a.first_row >= a.row_count) continue;
      const std::int64_t at = std::int64_t{arrays.row[c][j]} * a.features;
      float* g = a.table + at;
      const float w = arrays.weight[c][j];
      if constexpr (N == 1) {
        for (int f = 0; f < a.features; ++f) g[f] += w * d[f];
      } else {
        for (int f = 0; f < a.features; f += N)
          Row<N>::store(g + f, Row<N>::load(g + f) + w * Row<N>::load(d + f));
      }
      if constexpr (kTouch) touch(touched, at, a.features);
    }
  }
}

/// dvalues[kWidth][features] of samples from s.
KB_HD void gather_gradients(const LevelArguments& a, const float* in, int s, float* dvalues) {
  if (kWidth % 8 == 0 && a.features % 8 == 0) {
    for (int f = 0; f < a.features; f += 8)
      for (int j = 0; j < kWidth; j += 8)
        transpose_square(in + f * a.rows + s + j, a.rows, 8, dvalues + j * a.features + f,
                         a.features);
    return;
  }
  for (int f = 0; f < a.features; ++f)
    for (int j = 0; j < kWidth; ++j) dvalues[j * a.features + f] = in[f * a.rows + s + j];
}

KB_HD void prefetch(const LevelArguments& a, const CornerArrays& arrays) {
  for (int c = 0; c < 8; ++c)
    for (int j = 0; j < kWidth; ++j)
      __builtin_prefetch(a.table + std::int64_t{arrays.row[c][j]} * a.features, 1, 2);
}

// Tables beyond the second-level cache are asked for one pack ahead.
inline constexpr std::int64_t kPrefetchFloats = 1 << 17;
inline constexpr int kMaxFeatures = 32;

template <int N, bool kTouch, bool kSlice>
void scatter_level(const LevelArguments& a, TouchedLines* touched) {
  CornerArrays arrays[2];
  float dvalues[kWidth * kMaxFeatures];
  const bool far = std::int64_t{a.level.entries} * a.features > kPrefetchFloats;
  const std::int64_t packs = a.tiles * (a.rows / kWidth);
  const auto find = [&](std::int64_t i) {
    const std::int64_t tile = i / (a.rows / kWidth);
    const int s = static_cast<int>(i % (a.rows / kWidth)) * kWidth;
    spill(corners_at(a, a.points + tile * a.point_tile, s), arrays[i % 2]);
    if (far) prefetch(a, arrays[i % 2]);
  };
  if (packs > 0) find(0);
  for (std::int64_t i = 0; i < packs; ++i) {
    if (i + 1 < packs) find(i + 1);
    const std::int64_t tile = i / (a.rows / kWidth);
    const int s = static_cast<int>(i % (a.rows / kWidth)) * kWidth;
    gather_gradients(a, a.values + tile * a.feature_tile, s, dvalues);
    scatter_samples<N, kTouch, kSlice>(a, arrays[i % 2], dvalues, touched);
  }
}

template <bool kTouch, bool kSlice>
void scatter_by_width(const LevelArguments& a, TouchedLines* touched) {
  if (a.features % 8 == 0)
    scatter_level<8, kTouch, kSlice>(a, touched);
  else if (a.features % 4 == 0)
    scatter_level<4, kTouch, kSlice>(a, touched);
  else if (a.features == 2)
    scatter_level<2, kTouch, kSlice>(a, touched);
  else
    scatter_level<1, kTouch, kSlice>(a, touched);
}

void scatter(const LevelArguments& a, TouchedLines* touched) {
  const bool slice = a.row_count < a.level.entries;
  if (touched)
    slice ? scatter_by_width<true, true>(a, touched) : scatter_by_width<true, false>(a, touched);
  else
    slice ? scatter_by_width<false, true>(a, touched) : scatter_by_width<false, false>(a, touched);
}

}  // namespace
}  // namespace kanbench::cpu::KB_ISA
