#pragma once
// B-splines on `grid` equal cells of [-radius, radius], by Cox and de Boor. Beyond the range the
// knots go on at the same spacing and the splines fall to zero; clamped, the range's ends are
// repeated, the input is held to it, and all splines sum to one everywhere.

#include "kanbench/math/dual.h"
#include "kanbench/math/platform.h"

namespace kanbench::basis {

struct BSpline {
  static constexpr const char* name = "bspline";
  static constexpr int kMostOrder = 5;
  int grid = 5, order = 3;
  float grid_radius = 1;
  bool clamped = false;

  template <class Self, class Field>
  static void fields(Self& s, Field field) {
    field("grid", s.grid);
    field("order", s.order);
    field("grid_radius", s.grid_radius);
    field("clamped", s.clamped);
  }
  KB_HD int size() const { return grid + order; }
  KB_HD float cells_per_unit() const { return static_cast<float>(grid) / (2 * grid_radius); }

  /// The order + 1 splines that are not zero at x: `weights`, numbered from `cell` on, a whole
  /// number that may reach from -order - 1 (where all weights are zero) to size().
  template <class T>
  KB_HD void local(T x, T& cell, T (&weights)[kMostOrder + 1]) const {
    const T last(static_cast<float>(grid)), k(static_cast<float>(order));
    // In cells from the range's lower end, held to the range or to where any spline is.
    T t = (x + T(grid_radius)) * T(cells_per_unit());
    t = clamped ? hold(t, T(0), last) : hold(t, -k - T(1), last + k + T(0.5f));
    cell = floor(t);
    if (clamped) cell = hold(cell, T(0), last - T(1));
    const auto knot = [&](T i) KB_INLINE { return clamped ? hold(i, T(0), last) : i; };
    weights[0] = T(1);
    for (int j = 1; j <= order; ++j) {
      T saved = T(0);
      for (int r = 0; r < j; ++r) {
        const T right = knot(cell + T(r + 1)), left = knot(cell + T(r + 1 - j));
        const T part = weights[r] / (right - left);
        weights[r] = saved + (right - t) * part;
        saved = (t - left) * part;
      }
      weights[j] = saved;
    }
  }

  template <class T, class Emit>
  KB_HD void eval(T x, Emit&& emit) const {
    T cell, weights[kMostOrder + 1];
    local(x, cell, weights);
    for (int i = 0; i < size(); ++i) {
      T phi = T(0);
      for (int m = 0; m <= order; ++m) {
        const T off = cell + T(m - i);
        phi = phi + choose(T(0.25f) - off * off, weights[m], T(0));
      }
      emit(i, phi);
    }
  }
};

}  // namespace kanbench::basis
