#pragma once
// Dual numbers: a value and its derivative, so that arithmetic is the chain rule. Elementary
// functions stand here once for float, double and Dual; a SIMD pack brings its own.

#include <cmath>

#include "kanbench/math/platform.h"

namespace kanbench {

/// A value `v` and its derivative `d` in one direction.
template <class T>
struct Dual {
  T v, d;
  KB_HD constexpr Dual(T value = T(0), T slope = T(0)) : v(value), d(slope) {}

  friend KB_HD Dual operator+(Dual a, Dual b) { return {a.v + b.v, a.d + b.d}; }
  friend KB_HD Dual operator-(Dual a, Dual b) { return {a.v - b.v, a.d - b.d}; }
  friend KB_HD Dual operator*(Dual a, Dual b) { return {a.v * b.v, a.d * b.v + a.v * b.d}; }
  friend KB_HD Dual operator/(Dual a, Dual b) {
    return {a.v / b.v, (a.d * b.v - a.v * b.d) / (b.v * b.v)};
  }
  friend KB_HD Dual operator-(Dual a) { return {-a.v, -a.d}; }
  KB_HD explicit operator int() const { return static_cast<int>(v); }
};

KB_HD float exp(float x) { return ::expf(x); }
KB_HD double exp(double x) { return ::exp(x); }
template <class T>
KB_HD Dual<T> exp(Dual<T> x) {
  const T e = exp(x.v);
  return {e, e * x.d};
}

/// max(x, 0); its slope at 0 is 0.
KB_HD float max0(float x) { return x > 0 ? x : 0; }
KB_HD double max0(double x) { return x > 0 ? x : 0; }
/// 1 where x > 0, else 0.
KB_HD float step0(float x) { return x > 0 ? 1 : 0; }
KB_HD double step0(double x) { return x > 0 ? 1 : 0; }
template <class T>
KB_HD Dual<T> max0(Dual<T> x) {
  return {max0(x.v), step0(x.v) * x.d};
}

/// The logistic function; it and its slope are finite for any finite x.
template <class T>
KB_HD T sigmoid(T x) {
  return T(1) / (T(1) + exp(-x));
}
template <class T>
KB_HD Dual<T> sigmoid(Dual<T> x) {
  const T s = sigmoid(x.v);
  return {s, s * (T(1) - s) * x.d};
}

/// x * sigmoid(x), the base branch of a KAN layer.
template <class T>
KB_HD T silu(T x) {
  return x * sigmoid(x);
}

}  // namespace kanbench
