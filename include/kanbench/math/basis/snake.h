#pragma once
// x + sin(a x)^2 / a (Ziyin et al., NeurIPS 2020). Its inner parameter is the frequency a.

#include "kanbench/math/dual.h"
#include "kanbench/math/platform.h"

namespace kanbench::basis {

struct Snake {
  static constexpr const char* name = "snake";
  float frequency = 1;

  template <class Self, class Field>
  static void fields(Self& s, Field field) {
    field("frequency", s.frequency);
  }
  KB_HD int size() const { return 1; }
  KB_HD int inner() const { return 1; }
  KB_HD float start(int) const { return frequency; }
  KB_HD int passes() const { return 1; }
  KB_HD int pass(int) const { return 0; }
  KB_HD int target(int, int) const { return 0; }

  template <class T, class Inner, class Emit>
  KB_HD void eval(T x, const Inner& inner, Emit&& emit) const {
    const T a = inner(0);
    T sine, cosine;
    sin_cos(a * x, sine, cosine);
    emit(0, x + sine * sine / a);
  }
  template <class T, class Emit>
  KB_HD void eval(T x, Emit&& emit) const {
    eval(
        x, [this](int p) KB_INLINE { return T(start(p)); }, emit);
  }
};

}  // namespace kanbench::basis
