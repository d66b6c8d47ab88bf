#pragma once
// Gaussians on a uniform grid, phi_k(x) = exp(-((x - c_k) / h)^2) with c_k from -radius to radius
// and h their spacing (FastKAN, Li 2024, arXiv:2405.06721). Its inner parameters are the centres,
// then h.

#include "kanbench/math/dual.h"
#include "kanbench/math/platform.h"

namespace kanbench::basis {

struct Rbf {
  static constexpr const char* name = "rbf";
  int num_grids = 8;
  float grid_radius = 1;

  template <class Self, class Field>
  static void fields(Self& s, Field field) {
    field("num_grids", s.num_grids);
    field("grid_radius", s.grid_radius);
  }
  KB_HD int size() const { return num_grids; }
  KB_HD float spacing() const { return 2 * grid_radius / static_cast<float>(num_grids - 1); }
  /// Distance of centre k from the middle of the grid, in spacings.
  KB_HD float offset(int k) const { return static_cast<float>(k) - 0.5f * (num_grids - 1); }

  KB_HD int inner() const { return num_grids + 1; }
  KB_HD float start(int p) const { return p < num_grids ? offset(p) * spacing() : spacing(); }
  KB_HD int passes() const { return 2; }
  KB_HD int pass(int p) const { return p < num_grids ? 0 : 1; }
  KB_HD int target(int pass, int k) const { return pass == 0 ? k : num_grids; }

  template <class T, class Inner, class Emit>
  KB_HD void eval(T x, const Inner& inner, Emit&& emit) const {
    const T inverse = T(1) / inner(num_grids);
    for (int k = 0; k < num_grids; ++k) {
      const T u = (x - inner(k)) * inverse;
      emit(k, exp(-(u * u)));
    }
  }
  template <class T, class Emit>
  KB_HD void eval(T x, Emit&& emit) const {
    const T t = x / T(spacing());
    for (int k = 0; k < num_grids; ++k) {
      const T u = t - T(offset(k));
      emit(k, exp(-(u * u)));
    }
  }
};

}  // namespace kanbench::basis
