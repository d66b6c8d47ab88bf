#pragma once
// Positional encoding (Mildenhall et al., "NeRF: representing scenes as neural radiance fields",
// ECCV 2020): for each axis and l, sin(2^l pi u) and cos(2^l pi u), exactly reduced in float.

#include "kanbench/math/encoder/identity.h"
#include "kanbench/math/encoder/wave.h"

namespace kanbench::encoder {

/// Its numbers: the coordinates, if they are included; then those of x, y and z, each l after l,
/// sine before cosine.
struct Frequency {
  static constexpr const char* name = "frequency";
  int n_frequencies = 6;
  bool include_input = false;

  template <class Self, class Field>
  static void fields(Self& s, Field field) {
    field("n_frequencies", s.n_frequencies);
    field("include_input", s.include_input);
  }
  KB_HD int width() const { return 6 * n_frequencies + (include_input ? 3 : 0); }

  template <class Add>
  void lower(Add&& add) const {
    if (include_input) add(CoordinateLevel{}, 3);
    add_waves(
        3 * n_frequencies,
        [&](int i, float* b) {
          b[i / n_frequencies] = static_cast<float>(std::ldexp(0.5, i % n_frequencies));
        },
        add);
  }
};

}  // namespace kanbench::encoder
