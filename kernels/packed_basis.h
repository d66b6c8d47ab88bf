#pragma once
// A basis as a kernel's argument that may be any of them.

#include <cstdint>
#include <cstring>
#include <type_traits>

#include "kanbench/math/basis.h"

namespace kanbench::cuda {

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

/// Calls visit(basis) with what `packed` holds.
template <std::size_t I = 0, class Visit>
KB_HD void visit(const PackedBasis& packed, Visit&& visitor) {
  if constexpr (I < std::variant_size_v<Basis>) {
    if (packed.index != static_cast<int>(I)) return visit<I + 1>(packed, visitor);
    std::variant_alternative_t<I, Basis> basis;
    memcpy(&basis, packed.numbers, sizeof basis);
    visitor(basis);
  }
}

}  // namespace kanbench::cuda
