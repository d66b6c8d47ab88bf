#pragma once
// Dense grids of growing resolution side by side: the hash grid's levels without its hash. Nodes
// lie as a dense grid's, on the faces too: without a hash nothing has to share a table that is
// padded or wraps, and a level alone is the dense grid of its resolution.

#include <cmath>

#include "kanbench/math/encoder/dense_grid.h"
#include "kanbench/math/encoder/hash_grid.h"

namespace kanbench::encoder {

struct MultiDenseGrid {
  static constexpr const char* name = "multi_dense_grid";
  int n_levels = 4;
  int n_features_per_level = 4;
  int base_resolution = 8;
  double per_level_scale = 2;

  template <class Self, class Field>
  static void fields(Self& s, Field field) {
    field("n_levels", s.n_levels);
    field("n_features_per_level", s.n_features_per_level);
    field("base_resolution", s.base_resolution);
    field("per_level_scale", s.per_level_scale);
  }
  KB_HD int width() const { return n_levels * n_features_per_level; }

  /// Level l has as many nodes along an axis as the hash grid's level l.
  NodeLevel level(int l) const {
    return {HashGrid{n_levels, n_features_per_level, 1, base_resolution, per_level_scale}
                .level(l)
                .resolution};
  }

  template <class Add>
  void lower(Add&& add) const {
    for (int l = 0; l < n_levels; ++l) add(level(l), n_features_per_level);
  }
};

}  // namespace kanbench::encoder
