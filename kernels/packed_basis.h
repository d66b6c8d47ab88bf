#pragma once
// A basis as a kernel's argument that may be any of them.

#include <cstdint>
#include <cstring>
#include <type_traits>

#include "kanbench/math/basis.h"

namespace kanbench::cuda {

/// Whether the fused kernels take a basis' inner parameters from memory, so that layers may learn
/// them: few enough to differentiate one after the other.
template <class B>
inline constexpr bool kFusedInner =
    std::is_same_v<B, basis::Gram> || std::is_same_v<B, basis::Rational> ||
    std::is_same_v<B, basis::Snake>;

/// Whether inputs may learn theirs: those of a pass are of one function each, or one for all.
template <class B>
inline constexpr bool kFusedByInput =
    std::is_same_v<B, basis::ReluKan> || std::is_same_v<B, basis::Rbf> ||
    std::is_same_v<B, basis::Rswaf> || std::is_same_v<B, basis::Rational> ||
    std::is_same_v<B, basis::Snake>;

/// Which of a variant's bases, and its numbers.
struct PackedBasis {
  int index = 0;
  std::uint32_t numbers[4] = {};
};

inline PackedBasis pack(const Basis& basis) {
  PackedBasis packed;
  packed.index = static_cast<int>(basis.index());
  std::visit(
      [&]<class B>(const B& b) {
        static_assert(std::is_trivially_copyable_v<B> && sizeof b <= sizeof packed.numbers);
        std::memcpy(packed.numbers, &b, sizeof b);
      },
      basis);
  return packed;
}

/// Calls visitor(basis) with what `packed` holds, one of those from kBegin to kEnd: halved again
/// and again, so that a few comparisons find it.
template <int kBegin = 0, int kEnd = std::variant_size_v<Basis>, class Visit>
KB_HD void visit(const PackedBasis& packed, Visit&& visitor) {
  if constexpr (kEnd - kBegin > 1) {
    constexpr int kMiddle = (kBegin + kEnd) / 2;
    if (packed.index < kMiddle)
      visit<kBegin, kMiddle>(packed, visitor);
    else
      visit<kMiddle, kEnd>(packed, visitor);
  } else {
    std::variant_alternative_t<kBegin, Basis> basis;
    memcpy(&basis, packed.numbers, sizeof basis);
    visitor(basis);
  }
}

}  // namespace kanbench::cuda
