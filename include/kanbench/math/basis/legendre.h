#pragma once
// Legendre's polynomials P_0 ... P_degree of the squashed input, by Bonnet's recurrence
// (n + 1) P_{n+1} = (2 n + 1) u P_n - n P_{n-1}.

#include "kanbench/math/basis/squash.h"

namespace kanbench::basis {

struct Legendre {
  static constexpr const char* name = "legendre";
  int degree = 3;
  Squash squash = Squash::tanh;

  template <class Self, class Field>
  static void fields(Self& s, Field field) {
    field("degree", s.degree);
    field("squash", s.squash);
  }
  KB_HD int size() const { return degree + 1; }
  template <class T, class Emit>
  KB_HD void eval(T x, Emit&& emit) const {
    const T u = basis::squash(squash, x);
    T before = T(0), p = T(1);
    emit(0, p);
    for (int n = 0; n < degree; ++n) {
      const float inverse = 1.0f / static_cast<float>(n + 1);
      const T next = T((2 * n + 1) * inverse) * u * p - T(n * inverse) * before;
      before = p;
      p = next;
      emit(n + 1, p);
    }
  }
};

}  // namespace kanbench::basis
