#pragma once
// sin(omega x): a chain of such layers is a SIREN (Sitzmann et al., NeurIPS 2020).

#include "kanbench/math/dual.h"
#include "kanbench/math/platform.h"

namespace kanbench::basis {

struct Sine {
  static constexpr const char* name = "sine";
  float omega = 30;

  template <class Self, class Field>
  static void fields(Self& s, Field field) {
    field("omega", s.omega);
  }
  KB_HD int size() const { return 1; }
  template <class T, class Emit>
  KB_HD void eval(T x, Emit&& emit) const {
    T sine, cosine;
    sin_cos(T(omega) * x, sine, cosine);
    emit(0, sine);
  }
};

}  // namespace kanbench::basis
