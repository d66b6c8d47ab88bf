#pragma once
// Random Fourier features (Tancik et al., "Fourier features let networks learn high frequency
// functions in low dimensional domains", NeurIPS 2020): waves along directions from N(0, std^2).

#include <cmath>
#include <cstdint>

#include "kanbench/math/encoder/wave.h"
#include "kanbench/math/random.h"

namespace kanbench::encoder {

/// Its numbers: of each direction b, sin(2 pi b x) and cos(2 pi b x). Directions follow from the
/// seed: they are neither trained nor stored.
struct RandomFourier {
  static constexpr const char* name = "random_fourier";
  int n_frequencies = 64;
  /// Standard deviation of a direction's coordinates, in waves across the volume.
  double std = 4;
  int seed = 0;

  template <class Self, class Field>
  static void fields(Self& s, Field field) {
    field("n_frequencies", s.n_frequencies);
    field("std", s.std);
    field("seed", s.seed);
  }
  KB_HD int width() const { return 2 * n_frequencies; }

  /// Direction i, by Box and Muller.
  void direction(int i, float* b) const {
    const Stream stream =
        make_stream(static_cast<std::uint64_t>(seed), 0, Purpose::fourier_directions);
    const Words4 words = stream.words(static_cast<std::uint64_t>(i));
    double normal[4];
    for (int k = 0; k < 4; k += 2) {
      const double radius = std::sqrt(-2 * std::log(1.0 - unit_float(words.v[k])));
      const double angle = 6.283185307179586 * unit_float(words.v[k + 1]);
      normal[k] = radius * std::cos(angle);
      normal[k + 1] = radius * std::sin(angle);
    }
    for (int d = 0; d < 3; ++d) b[d] = static_cast<float>(std * normal[d]);
  }

  template <class Add>
  void lower(Add&& add) const {
    add_waves(
        n_frequencies, [&](int i, float* b) { direction(i, b); }, add);
  }
};

}  // namespace kanbench::encoder
