#pragma once
// Levels over packs of samples. Of a table: the corners' rows and weights, then a gather by feature
// (any count), by pairs, or whole rows at a time where they are 4 or a multiple of 8 floats.

#include <type_traits>

#include "cpu/isa/corners.h"
#include "cpu/isa/transpose.h"
#include "cpu/kernels.h"

namespace kanbench::cpu::KB_ISA {
namespace {

/// Rows and weights of N corners of kWidth samples as arrays.
template <int N>
struct CornerArrays {
  alignas(64) std::uint32_t row[N][kWidth];
  alignas(64) float weight[N][kWidth];
  bool idle = false;

  KB_HD void set(const Corners<N>& corners) {
    idle = corners.idle;
    for (int c = 0; c < N; ++c) {
      store_words(row[c], corners.row[c]);
      store(weight[c], corners.weight[c]);
    }
  }
};

/// Whether a level is zero in places, so that whole packs can be left out.
template <class G>
inline constexpr bool kFades = std::is_same_v<G, encoder::AdaptiveLevel>;

// Tables beyond the second cache are asked for some packs ahead.
inline constexpr std::int64_t kFarFloats = 1 << 17;
inline constexpr int kAhead = 3, kRing = 4;

/// Asks for the rows of one pack.
template <int N>
KB_HD void prefetch(const LevelArguments& a, const CornerArrays<N>& corners) {
  for (int c = 0; c < N; ++c)
    for (int j = 0; j < kWidth; ++j)
      __builtin_prefetch(a.table + std::int64_t{corners.row[c][j]} * a.features);
}

/// Calls work(tile, s, corners) for every pack of samples, in order.
template <class G, class Work>
KB_HD void walk(const LevelArguments& a, Work work) {
  const G geometry = *static_cast<const G*>(a.geometry);
  CornerArrays<G::kCorners> ring[kRing];
  const bool far = a.rows_there * a.features > kFarFloats;
  const int ahead = far ? kAhead : 0;
  const std::int64_t per_tile = a.rows / kWidth, packs = a.tiles * per_tile;
  const auto find = [&](std::int64_t i) KB_INLINE {
    const float* points = a.points + i / per_tile * a.point_tile + i % per_tile * kWidth;
    auto& corners = ring[i % kRing];
    corners.set(
        find_corners(geometry, load(points), load(points + a.rows), load(points + 2 * a.rows)));
    if (far) prefetch(a, corners);
  };
  for (std::int64_t i = 0; i < ahead && i < packs; ++i) find(i);
  for (std::int64_t i = 0; i < packs; ++i) {
    if (i + ahead < packs) find(i + ahead);
    work(i / per_tile, static_cast<int>(i % per_tile) * kWidth, ring[i % kRing]);
  }
}

template <class G>
void encode_by_feature(const LevelArguments& a) {
  const auto width = static_cast<std::uint32_t>(a.features);
  walk<G>(a, [&](std::int64_t tile, int s, const auto& corners) KB_INLINE {
    float* out = a.values + tile * a.feature_tile + s;
    for (int f = 0; f < a.features; ++f) {
      Pack sum(0.0f);
      for (int c = 0; c < G::kCorners; ++c)
        sum =
            sum + load(corners.weight[c]) * gather(a.table + f, load_words(corners.row[c]) * width);
      store(out + f * a.rows, sum);
    }
  });
}

template <class G>
void encode_pairs(const LevelArguments& a) {
  walk<G>(a, [&](std::int64_t tile, int s, const auto& corners) KB_INLINE {
    float* out = a.values + tile * a.feature_tile + s;
    Pack first(0.0f), second(0.0f);
    if constexpr (kFades<G>)
      if (corners.idle) {
        store(out, first);
        return store(out + a.rows, second);
      }
#pragma GCC unroll 8
    for (int c = 0; c < G::kCorners; ++c) {
      Pack x, y;
      gather_pair(a.table, load_words(corners.row[c]), x, y);
      const Pack weight = load(corners.weight[c]);
      first = first + weight * x;
      second = second + weight * y;
    }
    store(out, first);
    store(out + a.rows, second);
  });
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

/// out[N][rows] of kWidth samples from values[kWidth][8].
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

template <class G, int N>
void encode_rows(const LevelArguments& a) {
  float values[kWidth][8] = {};
  walk<G>(a, [&](std::int64_t tile, int s, const auto& corners) KB_INLINE {
    float* out = a.values + tile * a.feature_tile + s;
    for (int f = 0; f < a.features; f += N) {
      for (int j = 0; j < kWidth; ++j) {
        typename Row<N>::Type sum{};
        for (int c = 0; c < G::kCorners; ++c)
          sum += corners.weight[c][j] *
                 Row<N>::load(a.table + std::int64_t{corners.row[c][j]} * a.features + f);
        Row<N>::store(values[j], sum);
      }
      store_transposed<N>(values, a.rows, out + f * a.rows);
    }
  });
}

/// A level without a table.
template <class G>
void evaluate(const LevelArguments& a) {
  const G geometry = *static_cast<const G*>(a.geometry);
  for (std::int64_t tile = 0; tile < a.tiles; ++tile)
    for (int s = 0; s < a.rows; s += kWidth) {
      const float* points = a.points + tile * a.point_tile + s;
      float* out = a.values + tile * a.feature_tile + s;
      const Pack x[3] = {load(points), load(points + a.rows), load(points + 2 * a.rows)};
      geometry.evaluate(
          x, [&](int f, Pack value) KB_INLINE { store(out + std::int64_t{f} * a.rows, value); });
    }
}

template <class G>
void encode_as(const LevelArguments& a) {
  if constexpr (G::kCorners == 0)
    evaluate<G>(a);
  else if (a.features % 8 == 0)
    encode_rows<G, 8>(a);
  else if (a.features == 4)
    encode_rows<G, 4>(a);
  else if (a.features == 2)
    encode_pairs<G>(a);
  else
    encode_by_feature<G>(a);
}

KB_HD void touch(TouchedLines* touched, std::int64_t at, int features) {
  for (std::int64_t line = at / 16; line <= (at + features - 1) / 16; ++line) {
    if (touched->flags[line]) continue;
    touched->flags[line] = 1;
    touched->lines[touched->count++] = static_cast<std::uint32_t>(line);
  }
}

/// Adds to the table's gradient, N features at a time (1: one by one). Arguments are by value, lest
/// the compiler read them again after every store.
template <int N, bool kTouch, bool kSlice, int kCorners>
KB_HD void scatter_samples(const LevelArguments a, const CornerArrays<kCorners>& corners,
                           const float* dvalues, TouchedLines* touched) {
  const std::int64_t width = N == 2 ? 2 : a.features;
  float* const table = a.table;
  for (int j = 0; j < kWidth; ++j) {
    const float* d = dvalues + j * width;
#pragma GCC unroll 8
    for (int c = 0; c < kCorners; ++c) {
      if (kSlice && corners.row[c][j] - a.first_row >= a.row_count) continue;
      const std::int64_t at = corners.row[c][j] * width;
      float* g = table + at;
      const float w = corners.weight[c][j];
      if constexpr (N == 1) {
        for (int f = 0; f < width; ++f) g[f] += w * d[f];
      } else {
        for (int f = 0; f < width; f += N)
          Row<N>::store(g + f, Row<N>::load(g + f) + w * Row<N>::load(d + f));
      }
      if constexpr (kTouch) touch(touched, at, static_cast<int>(width));
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

template <class G, int N, bool kTouch, bool kSlice>
void scatter_level(const LevelArguments& a, TouchedLines* touched) {
  float dvalues[kWidth * kMostFeatures];
  walk<G>(a, [&](std::int64_t tile, int s, const auto& corners) KB_INLINE {
    if constexpr (kFades<G>)
      if (corners.idle) return;
    gather_gradients(a, a.values + tile * a.feature_tile, s, dvalues);
    scatter_samples<N, kTouch, kSlice>(a, corners, dvalues, touched);
  });
}

template <class G, bool kTouch, bool kSlice>
void scatter_by_width(const LevelArguments& a, TouchedLines* touched) {
  if (a.features % 8 == 0)
    scatter_level<G, 8, kTouch, kSlice>(a, touched);
  else if (a.features % 4 == 0)
    scatter_level<G, 4, kTouch, kSlice>(a, touched);
  else if (a.features == 2)
    scatter_level<G, 2, kTouch, kSlice>(a, touched);
  else
    scatter_level<G, 1, kTouch, kSlice>(a, touched);
}

template <class G>
void scatter_as(const LevelArguments& a, TouchedLines* touched) {
  if constexpr (G::kCorners > 0) {
    const bool slice = a.row_count < a.rows_there;
    if (touched)
      slice ? scatter_by_width<G, true, true>(a, touched)
            : scatter_by_width<G, true, false>(a, touched);
    else
      slice ? scatter_by_width<G, false, true>(a, touched)
            : scatter_by_width<G, false, false>(a, touched);
  }
}

/// The functions of each kind of level, by its place in the variant.
template <class Variant>
struct LevelTable;
template <class... G>
struct LevelTable<std::variant<G...>> {
  static constexpr void (*encode[])(const LevelArguments&) = {encode_as<G>...};
  static constexpr void (*scatter[])(const LevelArguments&, TouchedLines*) = {scatter_as<G>...};
};
using LevelKinds = LevelTable<Geometry>;

void encode(const LevelArguments& a) { LevelKinds::encode[a.kind](a); }
void scatter(const LevelArguments& a, TouchedLines* touched) {
  LevelKinds::scatter[a.kind](a, touched);
}

}  // namespace
}  // namespace kanbench::cpu::KB_ISA
