#pragma once
// phi_k(x) = x^k / (1 + |b_1 x + ... + b_n x^n|) for k up to the numerator's degree: their weighted
// sum is a Pade approximant without poles (Molina et al., ICLR 2020). Inner parameters: the b_j.

#include "kanbench/math/dual.h"
#include "kanbench/math/platform.h"

namespace kanbench::basis {

struct Rational {
  static constexpr const char* name = "rational";
  int numerator = 3, denominator = 2;

  template <class Self, class Field>
  static void fields(Self& s, Field field) {
    field("numerator", s.numerator);
    field("denominator", s.denominator);
  }
  KB_HD int size() const { return numerator + 1; }

  KB_HD int inner() const { return denominator; }
  KB_HD float start(int p) const { return p + 1 == denominator ? 1.0f : 0.0f; }
  KB_HD int passes() const { return denominator; }
  KB_HD int pass(int p) const { return p; }
  KB_HD int target(int pass, int) const { return pass; }

  template <class T, class Inner, class Emit>
  KB_HD void eval(T x, const Inner& inner, Emit&& emit) const {
    T sum = T(0);
    for (int j = denominator; j > 0; --j) sum = (sum + inner(j - 1)) * x;
    T phi = T(1) / (T(1) + magnitude(sum));
    for (int k = 0; k <= numerator; ++k) {
      emit(k, phi);
      phi = phi * x;
    }
  }
  template <class T, class Emit>
  KB_HD void eval(T x, Emit&& emit) const {
    eval(
        x, [this](int p) KB_INLINE { return T(start(p)); }, emit);
  }
};

}  // namespace kanbench::basis
