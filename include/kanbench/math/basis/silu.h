#pragma once
// x times its logistic function.

#include "kanbench/math/dual.h"
#include "kanbench/math/platform.h"

namespace kanbench::basis {

struct Silu {
  static constexpr const char* name = "silu";
  template <class Self, class Field>
  static void fields(Self&, Field) {}
  KB_HD int size() const { return 1; }
  template <class T, class Emit>
  KB_HD void eval(T x, Emit&& emit) const {
    emit(0, kanbench::silu(x));
  }
};

}  // namespace kanbench::basis
