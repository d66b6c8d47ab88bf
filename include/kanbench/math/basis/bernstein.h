#pragma once
// Bernstein's polynomials, binomial(n, k) u^k (1 - u)^(n - k) with u the logistic function of the
// input: never negative, and one in sum.

#include "kanbench/math/dual.h"
#include "kanbench/math/platform.h"

namespace kanbench::basis {

struct Bernstein {
  static constexpr const char* name = "bernstein";
  static constexpr int kMostDegree = 32;
  int degree = 3;

  template <class Self, class Field>
  static void fields(Self& s, Field field) {
    field("degree", s.degree);
  }
  KB_HD int size() const { return degree + 1; }
  template <class T, class Emit>
  KB_HD void eval(T x, Emit&& emit) const {
    // 1 - u from -x, lest it cancel; de Casteljau's triangle has no large binomials.
    const T u = sigmoid(x), v = sigmoid(-x);
    T b[kMostDegree + 1];
    b[0] = T(1);
    for (int n = 1; n <= degree; ++n) {
      b[n] = u * b[n - 1];
      for (int k = n - 1; k > 0; --k) b[k] = u * b[k - 1] + v * b[k];
      b[0] = v * b[0];
    }
    for (int k = 0; k <= degree; ++k) emit(k, b[k]);
  }
};

}  // namespace kanbench::basis
