#pragma once
// Jacobi's polynomials P_n^(alpha, beta) of the squashed input, alpha and beta above -1, by their
// three-term recurrence (Abramowitz and Stegun, 22.7.1).

#include "kanbench/math/basis/squash.h"

namespace kanbench::basis {

struct Jacobi {
  static constexpr const char* name = "jacobi";
  int degree = 3;
  float alpha = 1, beta = 1;
  Squash squash = Squash::tanh;

  template <class Self, class Field>
  static void fields(Self& s, Field field) {
    field("degree", s.degree);
    field("alpha", s.alpha);
    field("beta", s.beta);
    field("squash", s.squash);
  }
  KB_HD int size() const { return degree + 1; }
  template <class T, class Emit>
  KB_HD void eval(T x, Emit&& emit) const {
    const T u = basis::squash(squash, x);
    T before = T(1), p = T(0.5f * (alpha - beta)) + T(0.5f * (alpha + beta + 2)) * u;
    emit(0, before);
    if (degree > 0) emit(1, p);
    const float sum = alpha + beta;
    for (int i = 2; i <= degree; ++i) {
      const float n = static_cast<float>(i), m = 2 * n + sum;
      const float inverse = 1 / (2 * n * (n + sum));
      const float slope = m * (m - 1) * inverse;
      const float shift = (m - 1) * (alpha * alpha - beta * beta) * inverse / (m - 2);
      const float back = 2 * (n + alpha - 1) * (n + beta - 1) * m * inverse / (m - 2);
      const T next = (T(slope) * u + T(shift)) * p - T(back) * before;
      before = p;
      p = next;
      emit(i, p);
    }
  }
};

}  // namespace kanbench::basis
