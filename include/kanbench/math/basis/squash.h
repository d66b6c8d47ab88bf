#pragma once
// How polynomials bring their input into [-1, 1].

#include "kanbench/math/dual.h"
#include "kanbench/math/platform.h"
#include "kanbench/math/words.h"

namespace kanbench::basis {

/// By its hyperbolic tangent, or held there.
enum class Squash { tanh, clamp };

/// The JSON names of the values, in order.
inline Words words_of(Squash) {
  static constexpr const char* words[] = {"tanh", "clamp"};
  return words;
}

template <class T>
KB_HD T squash(Squash how, T x) {
  return how == Squash::tanh ? tanh(x) : hold(x, T(-1), T(1));
}

}  // namespace kanbench::basis
