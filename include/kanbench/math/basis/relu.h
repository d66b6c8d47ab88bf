#pragma once
// The rectifier, phi(x) = max(x, 0): a chain of such layers is an MLP.

#include "kanbench/math/dual.h"
#include "kanbench/math/platform.h"

namespace kanbench::basis {

struct Relu {
  static constexpr const char* name = "relu";
  template <class Self, class Field>
  static void fields(Self&, Field) {}
  KB_HD int size() const { return 1; }
  template <class T, class Emit>
  KB_HD void eval(T x, Emit&& emit) const {
    emit(0, max0(x));
  }
};

}  // namespace kanbench::basis
