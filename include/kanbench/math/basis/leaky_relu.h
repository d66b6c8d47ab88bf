#pragma once
// The rectifier that lets a share of negative numbers pass.

#include "kanbench/math/dual.h"
#include "kanbench/math/platform.h"

namespace kanbench::basis {

struct LeakyRelu {
  static constexpr const char* name = "leaky_relu";
  float slope = 0.01f;

  template <class Self, class Field>
  static void fields(Self& s, Field field) {
    field("slope", s.slope);
  }
  KB_HD int size() const { return 1; }
  template <class T, class Emit>
  KB_HD void eval(T x, Emit&& emit) const {
    emit(0, choose(x, x, T(slope) * x));
  }
};

}  // namespace kanbench::basis
