#pragma once
// Grids that move: each has its own map from the volume, [-1, 1]^3, to its box, [-1, 1]^3, and is
// zero outside of it (Wurster et al., "Adaptively placed multi-grid scene representation networks",
// TVCG 2024, and its successor AMGSRN++). Maps are trained by the density loss of math/density.h.

#include <cstdint>
#include <span>

#include "kanbench/math/dual.h"
#include "kanbench/math/platform.h"
#include "kanbench/math/transform.h"
#include "kanbench/math/words.h"

namespace kanbench::encoder {

/// One grid of resolution^3 nodes, x fastest, the outermost on the faces of its box. From the box'
/// face a feature falls to zero within one cell.
struct AdaptiveLevel {
  static constexpr int kCorners = 8;
  static constexpr double kFlops = 16;
  std::uint32_t resolution = 0;
  /// Its row among the encoder's transforms.
  int grid = 0;
  Transform transform = Transform::similarity;
  /// Node coordinates of a point u in [0, 1]^3: node[d][0..2] . u + node[d][3].
  float node[3][4] = {};

  KB_HD std::uint64_t rows() const { return std::uint64_t{resolution} * resolution * resolution; }

  /// Takes the place of the map that `numbers`, size(transform) of them, are.
  KB_HD void place(const float* numbers) {
    const AffineMap<double> map = map_of<double>(transform, numbers);
    const double cells = static_cast<double>(resolution) - 1;
    for (int d = 0; d < 3; ++d) {
      double sum = 0;
      for (int j = 0; j < 3; ++j) {
        node[d][j] = static_cast<float>(cells * map.m[d][j]);
        sum += map.m[d][j];
      }
      node[d][3] = static_cast<float>(cells * 0.5 * (map.t[d] + 1 - sum));
    }
  }

  /// Calls emit(row, weight) for those of the eight corners around x[0..2] in [0, 1] that there
  /// are.
  template <class T, class Emit>
  KB_HD void gather(const T* x, Emit&& emit) const {
    const int count = static_cast<int>(resolution);
    int cell[3];
    T f[3];
    for (int d = 0; d < 3; ++d) {
      // One more than the node before the point, so that what is cut off is not below zero.
      const T p =
          T(node[d][0]) * x[0] + T(node[d][1]) * x[1] + T(node[d][2]) * x[2] + T(node[d][3]) + T(1);
      if (!(plain(p) > 0 && plain(p) < count + 1)) return;
      cell[d] = static_cast<int>(p);
      f[d] = p - T(cell[d]);
    }
    for (int c = 0; c < 8; ++c) {
      const int at[3] = {cell[0] - 1 + (c & 1), cell[1] - 1 + (c >> 1 & 1), cell[2] - 1 + (c >> 2)};
      if (!inside(at[0], count) || !inside(at[1], count) || !inside(at[2], count)) continue;
      const T w = (c & 1 ? f[0] : T(1) - f[0]) * (c >> 1 & 1 ? f[1] : T(1) - f[1]) *
                  (c >> 2 ? f[2] : T(1) - f[2]);
      emit(static_cast<std::uint32_t>(at[0] + count * (at[1] + count * at[2])), w);
    }
  }

 private:
  static KB_HD float plain(float x) { return x; }
  static KB_HD double plain(double x) { return x; }
  template <class T>
  static KB_HD T plain(Dual<T> x) {
    return x.v;
  }
  static KB_HD bool inside(int at, int count) { return at >= 0 && at < count; }
};

/// Twice the difference quotients' part in the slope of a sum of squared differences along an axis:
/// `at` is number i of n, `stride` apart.
template <class T>
KB_HD T variation_slope(const T* at, std::int64_t stride, int i, int n) {
  const T before = i > 0 ? at[0] - at[-stride] : T(0);
  const T after = i + 1 < n ? at[stride] - at[0] : T(0);
  return T(2) * (before - after);
}

/// Weights of the slopes that TV and L1 add to each number of the grids: those along x, y and z
/// have one factor, that across neighbouring grids another.
struct GridPenalty {
  float axes = 0, across = 0, magnitude = 0;

  KB_HD bool any() const { return axes != 0 || across != 0 || magnitude != 0; }
};

/// The slope at `at`, the number of node (x, y, z) of grid g; grids lie `grid_stride` apart.
template <class T>
KB_HD T penalty_slope(const GridPenalty& penalty, const T* at, int x, int y, int z, int resolution,
                      int features, int g, int grids, std::int64_t grid_stride) {
  const std::int64_t row = features, line = row * resolution, slice = line * resolution;
  T slope = T(penalty.axes) *
            (variation_slope(at, row, x, resolution) + variation_slope(at, line, y, resolution) +
             variation_slope(at, slice, z, resolution));
  slope = slope + T(penalty.across) * variation_slope(at, grid_stride, g, grids);
  const T sign = *at > T(0) ? T(1) : *at < T(0) ? T(-1) : T(0);
  return slope + T(penalty.magnitude) * sign;
}

/// How the grids lie at first: over the whole volume and somewhat beyond, wider still, or as small
/// boxes all over it.
enum class GridPlacement : std::int32_t { standard, large, small };
inline Words words_of(GridPlacement) {
  static constexpr const char* kAll[] = {"default", "large", "small"};
  return kAll;
}

struct AdaptiveMultiGrid {
  static constexpr const char* name = "adaptive_multi_grid";
  static constexpr int kMaxGrids = 1024;
  int n_grids = 64;
  int resolution = 8;
  int features = 2;
  Transform transform = Transform::similarity;
  GridPlacement initialisation = GridPlacement::standard;
  /// Weights of the grids' total variation and of their mean absolute value.
  double tv_weight = 1e-4, l1_weight = 2.5e-5;
  /// Adam's rate for the transforms, falling as a cosine over `transform_share` of all steps, from
  /// step `transform_start` on, or after a twentieth of all steps where that comes first. 0: by the
  /// number of steps.
  double transform_lrate = 0, transform_share = 0.2;
  int transform_start = 500;

  template <class Self, class Field>
  static void fields(Self& s, Field field) {
    field("n_grids", s.n_grids);
    field("resolution", s.resolution);
    field("features", s.features);
    field("transform", s.transform);
    field("initialisation", s.initialisation);
    field("tv_weight", s.tv_weight);
    field("l1_weight", s.l1_weight);
    field("transform_lrate", s.transform_lrate);
    field("transform_share", s.transform_share);
    field("transform_start", s.transform_start);
  }
  KB_HD int width() const { return n_grids * features; }

  /// tv (mean (dx F)^2 + mean (dy F)^2 + mean (dz F)^2 + mean (dg F)^2) + l1 mean |F| by a number
  /// F, times `factor`; every mean is over all differences, or numbers, of all grids.
  GridPenalty penalty(double factor) const {
    const double r = resolution, all = static_cast<double>(n_grids) * features;
    const double tv = factor * tv_weight;
    GridPenalty penalty;
    penalty.axes = static_cast<float>(tv / (all * r * r * (r - 1)));
    if (n_grids > 1) penalty.across = static_cast<float>(tv / ((all - features) * r * r * r));
    penalty.magnitude = static_cast<float>(factor * l1_weight / (all * r * r * r));
    return penalty;
  }

  template <class Add>
  void lower(Add&& add) const {
    for (int g = 0; g < n_grids; ++g) {
      AdaptiveLevel level;
      level.resolution = static_cast<std::uint32_t>(resolution);
      level.grid = g;
      level.transform = transform;
      add(level, features);
    }
  }
};

}  // namespace kanbench::encoder
