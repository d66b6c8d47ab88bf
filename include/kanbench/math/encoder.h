#pragma once
// The closed set of encoders: how a point in [0, 1]^3 becomes the decoder's input.

#include <variant>

#include "kanbench/math/encoder/adaptive_multi_grid.h"
#include "kanbench/math/encoder/hash_grid.h"
#include "kanbench/math/encoder/identity.h"
#include "kanbench/math/level.h"

namespace kanbench {

using Encoder = std::variant<encoder::Identity, encoder::HashGrid, encoder::AdaptiveMultiGrid>;

/// Numbers that `encoder` makes of a point.
inline int width(const Encoder& encoder) {
  return std::visit([](const auto& e) { return e.width(); }, encoder);
}

/// The name of `encoder` in files and on the command line.
inline const char* name(const Encoder& encoder) {
  return std::visit([](const auto& e) { return e.name; }, encoder);
}

/// Calls add(geometry, features) for each level of `encoder`, in the order of the decoder's input.
template <class Add>
void lower(const Encoder& encoder, Add&& add) {
  std::visit([&](const auto& e) { e.lower(add); }, encoder);
}

}  // namespace kanbench
