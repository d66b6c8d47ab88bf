#pragma once
// What a layer's input goes through, number by number, before its basis or on its base branch.

#include "kanbench/math/dual.h"
#include "kanbench/math/platform.h"
#include "kanbench/math/words.h"

namespace kanbench {

/// prelu lets a learned share of negative numbers pass (He et al., ICCV 2015).
enum class Activation { none, silu, gelu, prelu };

/// The names of the values in files, in order.
inline Words words_of(Activation) {
  static constexpr const char* words[] = {"none", "silu", "gelu", "prelu"};
  return words;
}

/// The activation of x; `share` is prelu's.
template <class T>
KB_HD T activate(Activation activation, T x, T share) {
  switch (activation) {
    case Activation::silu:
      return silu(x);
    case Activation::gelu:
      return x * normal_cdf(x);
    case Activation::prelu:
      return max0(x) - share * max0(-x);
    default:
      return x;
  }
}

/// What prelu's share begins at.
inline constexpr float kPreluStart = 0.25f;

}  // namespace kanbench
