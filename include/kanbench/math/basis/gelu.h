#pragma once
// x times the normal distribution function of x, exact (Hendrycks and Gimpel, arXiv:1606.08415).

#include "kanbench/math/dual.h"
#include "kanbench/math/platform.h"

namespace kanbench::basis {

struct Gelu {
  static constexpr const char* name = "gelu";
  template <class Self, class Field>
  static void fields(Self&, Field) {}
  KB_HD int size() const { return 1; }
  template <class T, class Emit>
  KB_HD void eval(T x, Emit&& emit) const {
    emit(0, x * normal_cdf(x));
  }
};

}  // namespace kanbench::basis
