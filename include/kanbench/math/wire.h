#pragma once
// Numbers that go between ranks as halves: by which power of two they are scaled.

#include <cstdint>

#include "kanbench/math/platform.h"

namespace kanbench {

/// The exponent of the power of two by which the float with the bits `largest` (no sign), summed
/// 2^rank_bits times, is 2^15 at most; up to 126, so that the power's inverse is a float too.
KB_HD constexpr int wire_exponent(std::uint32_t largest, int rank_bits) {
  const int above = static_cast<int>(largest >> 23) - 126;
  const int exponent = 15 - rank_bits - above;
  return exponent < 126 ? exponent : 126;
}

}  // namespace kanbench
