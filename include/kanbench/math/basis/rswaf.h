#pragma once
// Switches on a uniform grid, phi_k(x) = 1 - tanh((x - c_k) s)^2 (FasterKAN, Delis 2024). Its inner
// parameters are the centres, then the sharpness s.

#include "kanbench/math/dual.h"
#include "kanbench/math/platform.h"

namespace kanbench::basis {

struct Rswaf {
  static constexpr const char* name = "rswaf";
  int num_grids = 8;
  float grid_low = -1.2f, grid_high = 1.2f, sharpness = 0.5f;

  template <class Self, class Field>
  static void fields(Self& s, Field field) {
    field("num_grids", s.num_grids);
    field("grid_low", s.grid_low);
    field("grid_high", s.grid_high);
    field("sharpness", s.sharpness);
  }
  KB_HD int size() const { return num_grids; }
  KB_HD float centre(int k) const {
    return grid_low + (grid_high - grid_low) * static_cast<float>(k) / (num_grids - 1);
  }

  KB_HD int inner() const { return num_grids + 1; }
  KB_HD float start(int p) const { return p < num_grids ? centre(p) : sharpness; }
  KB_HD int passes() const { return 2; }
  KB_HD int pass(int p) const { return p < num_grids ? 0 : 1; }
  KB_HD int target(int pass, int k) const { return pass == 0 ? k : num_grids; }

  template <class T, class Inner, class Emit>
  KB_HD void eval(T x, const Inner& inner, Emit&& emit) const {
    for (int k = 0; k < num_grids; ++k) {
      // 1 - tanh^2 without its cancellation far out: 4 e / (1 + e)^2 with e = exp(-2 |u|).
      const T e = exp(T(-2) * magnitude((x - inner(k)) * inner(num_grids)));
      const T half = T(1) + e;
      emit(k, T(4) * e / (half * half));
    }
  }
  template <class T, class Emit>
  KB_HD void eval(T x, Emit&& emit) const {
    eval(
        x, [this](int p) KB_INLINE { return T(start(p)); }, emit);
  }
};

}  // namespace kanbench::basis
