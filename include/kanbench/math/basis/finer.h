#pragma once
// sin(omega (|x| + 1) x), a sine whose frequency grows with its input (Liu et al., "FINER", CVPR
// 2024).

#include "kanbench/math/dual.h"
#include "kanbench/math/platform.h"

namespace kanbench::basis {

struct Finer {
  static constexpr const char* name = "finer";
  float omega = 30;

  template <class Self, class Field>
  static void fields(Self& s, Field field) {
    field("omega", s.omega);
  }
  KB_HD int size() const { return 1; }
  template <class T, class Emit>
  KB_HD void eval(T x, Emit&& emit) const {
    T sine, cosine;
    sin_cos(T(omega) * (magnitude(x) + T(1)) * x, sine, cosine);
    emit(0, sine);
  }
};

}  // namespace kanbench::basis
