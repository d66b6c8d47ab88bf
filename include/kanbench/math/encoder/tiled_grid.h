#pragma once
// The hash grid with a table that repeats instead of a hash: a level too fine for its table takes a
// corner's place in the dense order modulo the entries (tiny-cuda-nn's tiled grid).

#include "kanbench/math/encoder/hash_grid.h"

namespace kanbench::encoder {

/// As GridLevel, but for the rows of a level that is not dense.
struct TiledLevel {
  static constexpr int kCorners = 8;
  static constexpr double kFlops = 16;
  float scale = 0;
  std::uint32_t resolution = 0;
  std::uint32_t entries = 0;
  bool dense = false;

  KB_HD std::uint64_t rows() const { return entries; }

  /// Where a level is not dense its entries are a power of two, so that 32 bits may overflow.
  KB_HD std::uint32_t index(std::uint32_t x, std::uint32_t y, std::uint32_t z) const {
    const std::uint32_t i = x + resolution * (y + resolution * z);
    if (!dense) return i & (entries - 1);
    return i < entries ? i : i - entries;
  }

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

struct TiledGrid {
  static constexpr const char* name = "tiled_grid";
  int n_levels = 8;
  int n_features_per_level = 2;
  int log2_hashmap_size = 12;
  int base_resolution = 16;
  double per_level_scale = 2;

  template <class Self, class Field>
  static void fields(Self& s, Field field) {
    HashGrid::fields(s, field);
  }
  KB_HD int width() const { return n_levels * n_features_per_level; }

  TiledLevel level(int l) const {
    const GridLevel g = HashGrid{n_levels, n_features_per_level, log2_hashmap_size, base_resolution,
                                 per_level_scale}
                            .level(l);
    return {g.scale, g.resolution, g.entries, g.dense};
  }

  template <class Add>
  void lower(Add&& add) const {
    for (int l = 0; l < n_levels; ++l) add(level(l), n_features_per_level);
  }
};

}  // namespace kanbench::encoder
