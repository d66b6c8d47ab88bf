#pragma once
// Two numbers that go through the arithmetic of math/ side by side, as the fused kernels store
// them. Elementary functions are the device's approximate instructions: what comes of them is
// rounded to 16 bits.

#include "kernels/device.h"

namespace kanbench::cuda {

struct Pair {
  float a, b;
  KB_DEVICE constexpr Pair(float both = 0) : a(both), b(both) {}
  KB_DEVICE constexpr Pair(float first, float second) : a(first), b(second) {}

  friend KB_DEVICE Pair operator+(Pair x, Pair y) { return {x.a + y.a, x.b + y.b}; }
  friend KB_DEVICE Pair operator-(Pair x, Pair y) { return {x.a - y.a, x.b - y.b}; }
  friend KB_DEVICE Pair operator*(Pair x, Pair y) { return {x.a * y.a, x.b * y.b}; }
  friend KB_DEVICE Pair operator/(Pair x, Pair y) {
    return {x.a * reciprocal_approx(y.a), x.b * reciprocal_approx(y.b)};
  }
  friend KB_DEVICE Pair operator-(Pair x) { return {-x.a, -x.b}; }

  // Found by their argument alone, so that none of them hides one of float.
  friend KB_DEVICE Pair exp(Pair x) { return {exp_of(x.a), exp_of(x.b)}; }
  /// By the exponential: tanh.approx has 11 bits, which a polynomial's slopes would multiply.
  friend KB_DEVICE Pair tanh(Pair x) { return Pair(1) - Pair(2) / (Pair(1) + exp(x + x)); }
  friend KB_DEVICE void sin_cos(Pair x, Pair& s, Pair& c) {
    const Pair turn{within_turn(x.a), within_turn(x.b)};
    s = {sin_approx(turn.a), sin_approx(turn.b)};
    c = {cos_approx(turn.a), cos_approx(turn.b)};
  }
  friend KB_DEVICE Pair normal_cdf(Pair x) { return {cdf_of(x.a), cdf_of(x.b)}; }
  friend KB_DEVICE Pair floor(Pair x) { return {floorf(x.a), floorf(x.b)}; }
  friend KB_DEVICE Pair choose(Pair c, Pair then, Pair otherwise) {
    return {c.a > 0 ? then.a : otherwise.a, c.b > 0 ? then.b : otherwise.b};
  }
  friend KB_DEVICE Pair max0(Pair x) { return {x.a > 0 ? x.a : 0.0f, x.b > 0 ? x.b : 0.0f}; }
  friend KB_DEVICE Pair step0(Pair x) { return {x.a > 0 ? 1.0f : 0.0f, x.b > 0 ? 1.0f : 0.0f}; }

 private:
  KB_DEVICE static float exp_of(float x) { return exp2_approx(x * 1.44269504f); }
  /// x less whole turns, in two steps as a turn is no float.
  KB_DEVICE static float within_turn(float x) {
    const float turns = rintf(x * 0.15915494f);
    return fmaf(turns, 1.7484556e-7f, fmaf(turns, -6.28318548f, x));
  }
  /// By the complementary error function (Abramowitz and Stegun, 7.1.26), right to 1e-7.
  KB_DEVICE static float cdf_of(float x) {
    const float z = 0.70710678f * fabsf(x), t = reciprocal_approx(fmaf(0.3275911f, z, 1.0f));
    float sum = fmaf(t, 1.061405429f, -1.453152027f);
    sum = fmaf(t, sum, 1.421413741f);
    sum = fmaf(t, sum, -0.284496736f);
    sum = fmaf(t, sum, 0.254829592f);
    const float half = 0.5f * t * sum * exp_of(-z * z);
    return x < 0 ? half : 1.0f - half;
  }
};

}  // namespace kanbench::cuda
