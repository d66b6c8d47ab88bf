#pragma once
// The hyperbolic tangent.

#include "kanbench/math/dual.h"
#include "kanbench/math/platform.h"

namespace kanbench::basis {

struct Tanh {
  static constexpr const char* name = "tanh";
  template <class Self, class Field>
  static void fields(Self&, Field) {}
  KB_HD int size() const { return 1; }
  template <class T, class Emit>
  KB_HD void eval(T x, Emit&& emit) const {
    emit(0, tanh(x));
  }
};

}  // namespace kanbench::basis
