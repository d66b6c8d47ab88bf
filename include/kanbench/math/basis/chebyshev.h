#pragma once
// Chebyshev's polynomials T_0 ... T_degree of the squashed input (ChebyKAN, Sidharth 2024,
// arXiv:2405.07200), by T_{n+1} = 2 u T_n - T_{n-1}: no arc cosine, whose slope is infinite at +-1.

#include "kanbench/math/basis/squash.h"

namespace kanbench::basis {

struct Chebyshev {
  static constexpr const char* name = "chebyshev";
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
    T before = u, p = T(1);
    emit(0, p);
    for (int n = 1; n <= degree; ++n) {
      const T next = T(2) * u * p - before;
      before = p;
      p = next;
      emit(n, p);
    }
  }
};

}  // namespace kanbench::basis
