#pragma once
// (x + tanh(steepness x)) times the logistic function of x: what FKAN's hidden layers go through
// (Mehrabian et al., arXiv:2409.09323).

#include "kanbench/math/dual.h"
#include "kanbench/math/platform.h"

namespace kanbench::basis {

struct Fkan {
  static constexpr const char* name = "fkan";
  float steepness = 30;

  template <class Self, class Field>
  static void fields(Self& s, Field field) {
    field("steepness", s.steepness);
  }
  KB_HD int size() const { return 1; }
  template <class T, class Emit>
  KB_HD void eval(T x, Emit&& emit) const {
    emit(0, (x + tanh(T(steepness) * x)) * sigmoid(x));
  }
};

}  // namespace kanbench::basis
