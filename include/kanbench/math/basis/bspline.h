#pragma once
// B-splines on `grid` equal cells of [-radius, radius]. Beyond the range the
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
    if (!clamped && order > 1) {
      const T t = (x + T(grid_radius)) * T(cells_per_unit());
      for (int i = 0; i < size(); ++i) emit(i, cardinal(magnitude(t - T(i + 0.5f * (1 - order)))));
      return;
    }
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

 private:
  /// A spline of order 2 or more at the distance s from its middle, in cells: the truncated powers
  /// of one half.
  template <class T>
  KB_HD T cardinal(T s) const {
    if (order == 3) return cubic(s);
    const T middle(0.5f * static_cast<float>(order + 1));
    const T a = max0(middle - s), b = max0(middle - T(1) - s), c = max0(middle - T(2) - s);
    switch (order) {
      case 2:
        return T(0.5f) * (a * a - T(3) * (b * b));
      case 4:
        return T(1.0f / 24) * (fourth(a) - T(5) * fourth(b) + T(10) * fourth(c));
      default:
        return T(1.0f / 120) * (fourth(a) * a - T(6) * (fourth(b) * b) + T(15) * (fourth(c) * c));
    }
  }
  /// (max(2 - s, 0)^3 - 4 max(1 - s, 0)^3) / 6, and its slope by hand.
  template <class T>
  KB_HD static T cubic(T s) {
    const T a = max0(T(2) - s), b = max0(T(1) - s);
    return T(1.0f / 6) * (a * a * a - T(4) * (b * b * b));
  }
  template <class T>
  KB_HD static Dual<T> cubic(Dual<T> s) {
    const T a = max0(T(2) - s.v), b = max0(T(1) - s.v);
    const T a2 = a * a, b2 = T(4) * (b * b);
    return {T(1.0f / 6) * (a2 * a - b2 * b), T(0.5f) * (b2 - a2) * s.d};
  }
  template <class T>
  KB_HD static T fourth(T x) {
    const T square = x * x;
    return square * square;
  }
};

}  // namespace kanbench::basis
