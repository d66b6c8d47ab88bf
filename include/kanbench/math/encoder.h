#pragma once
// The closed set of encoders: how a point in [0, 1]^3 becomes the decoder's input.

#include <variant>
#include <vector>

#include "kanbench/math/encoder/adaptive_multi_grid.h"
#include "kanbench/math/encoder/dense_grid.h"
#include "kanbench/math/encoder/frequency.h"
#include "kanbench/math/encoder/hash_grid.h"
#include "kanbench/math/encoder/identity.h"
#include "kanbench/math/encoder/multi_dense_grid.h"
#include "kanbench/math/encoder/random_fourier.h"
#include "kanbench/math/encoder/tiled_grid.h"
#include "kanbench/math/encoder/tri_plane.h"
#include "kanbench/math/level.h"

namespace kanbench {

/// An encoder that is not made of others.
using EncoderPart =
    std::variant<encoder::Identity, encoder::HashGrid, encoder::Frequency, encoder::RandomFourier,
                 encoder::DenseGrid, encoder::MultiDenseGrid, encoder::TiledGrid, encoder::TriPlane,
                 encoder::AdaptiveMultiGrid>;

namespace encoder {

/// Encoders side by side; by default fV-SRN's, a dense grid and frequencies.
struct Concat {
  static constexpr const char* name = "concat";
  std::vector<EncoderPart> parts{DenseGrid{}, Frequency{}};

  template <class Self, class Field>
  static void fields(Self& s, Field field) {
    field("parts", s.parts);
  }
  int width() const {
    int all = 0;
    for (const EncoderPart& part : parts)
      all += std::visit([](const auto& e) { return e.width(); }, part);
    return all;
  }

  template <class Add>
  void lower(Add&& add) const {
    for (const EncoderPart& part : parts) std::visit([&](const auto& e) { e.lower(add); }, part);
  }
};

}  // namespace encoder

using Encoder =
    std::variant<encoder::Identity, encoder::HashGrid, encoder::Frequency, encoder::RandomFourier,
                 encoder::DenseGrid, encoder::MultiDenseGrid, encoder::TiledGrid, encoder::TriPlane,
                 encoder::AdaptiveMultiGrid, encoder::Concat>;

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
