#pragma once
// Multi-resolution hash grid (Mueller et al., "Instant neural graphics primitives", SIGGRAPH 2022),
// with tiny-cuda-nn's half-cell stagger: position u * scale + 0.5, scale = base * growth^l - 1.

#include <cmath>
#include <cstdint>

#include "kanbench/math/encoder/corners.h"
#include "kanbench/math/platform.h"

namespace kanbench::encoder {

/// Beyond so many cells an axis, float32 cannot place a point within a cell.
inline constexpr int kMaxResolution = 1 << 20;

/// The cell around the point x[0..2] in [0, 1] and how far into it the point lies, half a cell from
/// where the nodes of an unstaggered grid would be.
template <class T>
KB_HD void find_staggered_cell(const T* x, float scale, std::uint32_t* cell, T* f) {
  for (int d = 0; d < 3; ++d) {
    const T p = x[d] * T(scale) + T(0.5f);
    cell[d] = static_cast<std::uint32_t>(static_cast<int>(p));
    f[d] = p - T(static_cast<int>(cell[d]));
  }
}

/// One level of the grid: `entries` rows of features.
struct GridLevel {
  static constexpr int kCorners = 8;
  static constexpr double kFlops = 16;
  float scale = 0;
  std::uint32_t resolution = 0;
  std::uint32_t entries = 0;
  bool dense = false;

  KB_HD std::uint64_t rows() const { return entries; }

  /// Row of corner (x, y, z) within the level. A dense level wraps at its border.
  KB_HD std::uint32_t index(std::uint32_t x, std::uint32_t y, std::uint32_t z) const {
    if (!dense) return (x ^ y * 2654435761u ^ z * 805459861u) & (entries - 1);
    const std::uint64_t i = x + std::uint64_t{resolution} * (y + std::uint64_t{resolution} * z);
    return static_cast<std::uint32_t>(i < entries ? i : i - entries);
  }

  /// Calls emit(row, weight) for the eight corners around the point x[0..2] in [0, 1].
  template <class T, class Emit>
  KB_HD void gather(const T* x, Emit&& emit) const {
    std::uint32_t cell[3];
    T f[3];
    find_staggered_cell(x, scale, cell, f);
    each_corner(cell, f, [&](std::uint32_t i, std::uint32_t j, std::uint32_t k, T w) KB_INLINE {
      emit(index(i, j, k), w);
    });
  }
};

struct HashGrid {
  static constexpr const char* name = "hash_grid";
  static constexpr int kMaxLevels = 32;
  int n_levels = 8;
  int n_features_per_level = 2;
  int log2_hashmap_size = 12;
  int base_resolution = 16;
  double per_level_scale = 2;

  template <class Self, class Field>
  static void fields(Self& s, Field field) {
    field("n_levels", s.n_levels);
    field("n_features_per_level", s.n_features_per_level);
    field("log2_hashmap_size", s.log2_hashmap_size);
    field("base_resolution", s.base_resolution);
    field("per_level_scale", s.per_level_scale);
  }
  KB_HD int features() const { return n_features_per_level; }
  KB_HD int width() const { return n_levels * n_features_per_level; }

  /// Cells along an axis of level l, before rounding; no more than kMaxResolution.
  KB_HD double scale(int l) const {
    double s = base_resolution;
    for (int i = 0; i < l; ++i) s *= per_level_scale;
    return s - 1 < kMaxResolution ? s - 1 : kMaxResolution;
  }

  /// Level l. One too fine has a resolution above kMaxResolution.
  KB_HD GridLevel level(int l) const {
    const double s = scale(l);
    GridLevel g;
    g.scale = static_cast<float>(s);
    g.resolution = static_cast<std::uint32_t>(::ceil(s)) + 1;
    const std::uint64_t cube = std::uint64_t{g.resolution} * g.resolution * g.resolution;
    const std::uint64_t limit = std::uint64_t{1} << log2_hashmap_size;
    g.dense = cube <= limit;
    const std::uint64_t padded = (cube + 7) / 8 * 8;
    g.entries = static_cast<std::uint32_t>(padded < limit ? padded : limit);
    return g;
  }

  template <class Add>
  void lower(Add&& add) const {
    for (int l = 0; l < n_levels; ++l) add(level(l), n_features_per_level);
  }
};

}  // namespace kanbench::encoder
