#pragma once
// Sines and cosines along directions. Angles are counted in turns, so that what is cut off of a
// large one is exact.

#include <cmath>
#include <cstdint>

#include "kanbench/math/dual.h"

namespace kanbench::encoder {

/// The sine and cosine of 2 pi t for |t| below 2^19, to 1e-7 beyond what t itself is off; T is
/// float or lanes of floats.
template <class T>
KB_HD void sin_cos_turns(T t, T& sine, T& cosine) {
  // Adding and taking away 1.5 * 2^23 rounds to whole numbers.
  const T round(12582912.0f), half(0.5f), quarter(0.25f), one(1.0f);
  const T n = (t * T(4.0f) + round) - round;
  const T a = (t - n * quarter) * T(6.28318531f);
  const T s = a * a;
  const T odd_part =
      a +
      a * s * (T(-1.0f / 6) + s * (T(1.0f / 120) + s * (T(-1.0f / 5040) + s * T(1.0f / 362880))));
  const T even_part =
      one + s * (T(-0.5f) + s * (T(1.0f / 24) + s * (T(-1.0f / 720) + s * T(1.0f / 40320))));
  // n = 2 h + odd: an odd quarter swaps the two, an odd h turns both signs.
  const T h = ((n * half - quarter) + round) - round;
  const T odd = n - h - h;
  const T g = ((h * half - quarter) + round) - round;
  const T sign = one - T(2.0f) * (h - g - g);
  sine = sign * (odd * even_part + (one - odd) * odd_part);
  cosine = sign * ((one - odd) * even_part - odd * odd_part);
}
KB_HD void sin_cos_turns(double t, double& sine, double& cosine) {
  const double angle = 6.283185307179586 * (t - ::rint(t));
  sine = ::sin(angle);
  cosine = ::cos(angle);
}
template <class T>
KB_HD void sin_cos_turns(Dual<T> t, Dual<T>& sine, Dual<T>& cosine) {
  T s, c;
  sin_cos_turns(t.v, s, c);
  const T slope = T(6.283185307179586) * t.d;
  sine = {s, c * slope};
  cosine = {c, -s * slope};
}

/// Of each direction b, sin(2 pi b x) and cos(2 pi b x).
struct WaveLevel {
  static constexpr int kCorners = 0;
  static constexpr double kFlops = 20;
  static constexpr std::uint32_t resolution = 0;
  static constexpr int kMost = 16;
  int count = 0;
  float direction[kMost][3] = {};

  KB_HD std::uint64_t rows() const { return 0; }

  /// Calls emit(number, value) for sine and cosine in turn.
  template <class T, class Emit>
  KB_HD void evaluate(const T* x, Emit&& emit) const {
    for (int i = 0; i < count; ++i) {
      const float* b = direction[i];
      T sine, cosine;
      sin_cos_turns(x[0] * T(b[0]) + x[1] * T(b[1]) + x[2] * T(b[2]), sine, cosine);
      emit(2 * i, sine);
      emit(2 * i + 1, cosine);
    }
  }
};

/// Adds levels for directions 0 ... count - 1, which get(i, float* b) gives.
template <class Add, class Get>
void add_waves(int count, Get&& get, Add&& add) {
  for (int first = 0; first < count; first += WaveLevel::kMost) {
    WaveLevel level;
    level.count = count - first < WaveLevel::kMost ? count - first : WaveLevel::kMost;
    for (int i = 0; i < level.count; ++i) get(first + i, level.direction[i]);
    add(level, 2 * level.count);
  }
}

}  // namespace kanbench::encoder
