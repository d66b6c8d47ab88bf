#pragma once
// cos(x) ... cos(terms x), then sin(x) ... sin(terms x), each from the one before by a rotation.

#include "kanbench/math/dual.h"
#include "kanbench/math/platform.h"

namespace kanbench::basis {

struct Fourier {
  static constexpr const char* name = "fourier";
  int terms = 5;

  template <class Self, class Field>
  static void fields(Self& s, Field field) {
    field("terms", s.terms);
  }
  KB_HD int size() const { return 2 * terms; }
  template <class T, class Emit>
  KB_HD void eval(T x, Emit&& emit) const {
    T sine, cosine;
    sin_cos(x, sine, cosine);
    T s = sine, c = cosine;
    for (int m = 0; m < terms; ++m) {
      emit(m, c);
      emit(terms + m, s);
      const T next = c * cosine - s * sine;
      s = s * cosine + c * sine;
      c = next;
    }
  }
};

}  // namespace kanbench::basis
