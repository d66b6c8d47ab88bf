#pragma once
// The words that stand for an enumeration's values in files.

#include <span>

namespace kanbench {

/// The word of value number i is the ith. A field's type brings `words_of(value)` beside it.
using Words = std::span<const char* const>;

}  // namespace kanbench
