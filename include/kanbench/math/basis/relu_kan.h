#pragma once
// Squared products of two rectifiers, phi_j(x) = (r relu(x - lo_j) relu(hi_j - x))^2: bumps of
// height one on [lo_j, hi_j] = [(j - k) / g, (j + 1) / g] (ReLU-KAN, Qiu et al. 2024,
// arXiv:2406.02075) for g grid cells and a span of k. Inner parameters: all lo_j, then all hi_j.

#include "kanbench/math/dual.h"
#include "kanbench/math/platform.h"

namespace kanbench::basis {

struct ReluKan {
  static constexpr const char* name = "relu_kan";
  int grid = 5, span = 3;

  template <class Self, class Field>
  static void fields(Self& s, Field field) {
    field("grid", s.grid);
    field("span", s.span);
  }
  KB_HD int size() const { return grid + span; }

  KB_HD int inner() const { return 2 * size(); }
  KB_HD float start(int p) const {
    const int j = p < size() ? p - span : p - size() + 1;
    return static_cast<float>(j) / static_cast<float>(grid);
  }
  KB_HD int passes() const { return 2; }
  KB_HD int pass(int p) const { return p < size() ? 0 : 1; }
  KB_HD int target(int pass, int k) const { return pass * size() + k; }

  template <class T, class Inner, class Emit>
  KB_HD void eval(T x, const Inner& inner, Emit&& emit) const {
    const float width = static_cast<float>(span + 1) / static_cast<float>(grid);
    const T r(4 / (width * width));
    for (int j = 0; j < size(); ++j) {
      const T root = r * max0(x - inner(j)) * max0(inner(size() + j) - x);
      emit(j, root * root);
    }
  }
  template <class T, class Emit>
  KB_HD void eval(T x, Emit&& emit) const {
    eval(
        x, [this](int p) KB_INLINE { return T(start(p)); }, emit);
  }
};

}  // namespace kanbench::basis
