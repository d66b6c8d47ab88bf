#pragma once
// Monic polynomials by p_i = u p_{i-1} - beta_i p_{i-2}, whose recurrence is learned, as KAGN has
// them (Drokin 2024, arXiv:2407.01092): with q = i - 1 the inner parameter w_q makes
// beta_i = w_q (i^2 - q^2) q^2 (4 q^2 - 1) / i^2. At the start w_q = 1 / (4 q^2 - 1)^2, which gives
// Gram's own recurrence.

#include "kanbench/math/basis/squash.h"

namespace kanbench::basis {

struct Gram {
  static constexpr const char* name = "gram";
  int degree = 3;
  Squash squash = Squash::tanh;
  /// The polynomials go through SiLU.
  bool activated = true;

  template <class Self, class Field>
  static void fields(Self& s, Field field) {
    field("degree", s.degree);
    field("squash", s.squash);
    field("activated", s.activated);
  }
  KB_HD int size() const { return degree + 1; }
  KB_HD static float multiplier(int i) {
    const float q = static_cast<float>(i - 1), n = static_cast<float>(i);
    return (n * n - q * q) * q * q * (4 * q * q - 1) / (n * n);
  }

  KB_HD int inner() const { return degree < 2 ? 0 : degree - 1; }
  KB_HD float start(int p) const {
    const float q = static_cast<float>(p + 1), root = 4 * q * q - 1;
    return 1 / (root * root);
  }
  KB_HD int passes() const { return inner(); }
  KB_HD int pass(int p) const { return p; }
  KB_HD int target(int pass, int k) const { return k >= pass + 2 ? pass : -1; }

  template <class T, class Inner, class Emit>
  KB_HD void eval(T x, const Inner& inner, Emit&& emit) const {
    const T u = basis::squash(squash, x);
    T before = T(0), p = T(1);
    emit(0, activated ? kanbench::silu(p) : p);
    for (int i = 1; i <= degree; ++i) {
      T next = u * p;
      if (i > 1) next = next - T(multiplier(i)) * inner(i - 2) * before;
      before = p;
      p = next;
      emit(i, activated ? kanbench::silu(p) : p);
    }
  }
  template <class T, class Emit>
  KB_HD void eval(T x, Emit&& emit) const {
    eval(
        x, [this](int p) KB_INLINE { return T(start(p)); }, emit);
  }
};

}  // namespace kanbench::basis
