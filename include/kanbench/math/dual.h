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
    const T q = a.v / b.v;
    return {q, (a.d - q * b.d) / b.v};
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

KB_HD void sin_cos(float x, float& s, float& c) {
  s = ::sinf(x);
  c = ::cosf(x);
}
KB_HD void sin_cos(double x, double& s, double& c) {
  s = ::sin(x);
  c = ::cos(x);
}
template <class T>
KB_HD void sin_cos(Dual<T> x, Dual<T>& s, Dual<T>& c) {
  T sine, cosine;
  sin_cos(x.v, sine, cosine);
  s = {sine, cosine * x.d};
  c = {cosine, -sine * x.d};
}

KB_HD float tanh(float x) { return ::tanhf(x); }
KB_HD double tanh(double x) { return ::tanh(x); }
template <class T>
KB_HD Dual<T> tanh(Dual<T> x) {
  const T t = tanh(x.v);
  return {t, (T(1) - t * t) * x.d};
}

/// The standard normal distribution function.
KB_HD float normal_cdf(float x) { return 0.5f * ::erfcf(-0.70710678f * x); }
KB_HD double normal_cdf(double x) { return 0.5 * ::erfc(-0.70710678118654752 * x); }
template <class T>
KB_HD Dual<T> normal_cdf(Dual<T> x) {
  return {normal_cdf(x.v), T(0.39894228040143268) * exp(T(-0.5) * x.v * x.v) * x.d};
}

/// The greatest whole number up to x; flat.
KB_HD float floor(float x) { return ::floorf(x); }
KB_HD double floor(double x) { return ::floor(x); }
template <class T>
KB_HD Dual<T> floor(Dual<T> x) {
  return {floor(x.v), T(0)};
}

/// `then` where c > 0, else `otherwise`, NaN included.
KB_HD float choose(float c, float then, float otherwise) { return c > 0 ? then : otherwise; }
KB_HD double choose(double c, double then, double otherwise) { return c > 0 ? then : otherwise; }
template <class T>
KB_HD Dual<T> choose(Dual<T> c, Dual<T> then, Dual<T> otherwise) {
  return {choose(c.v, then.v, otherwise.v), choose(c.v, then.d, otherwise.d)};
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

/// |x|; its slope at 0 is 0.
template <class T>
KB_HD T magnitude(T x) {
  return choose(x, x, choose(-x, -x, x * T(0)));
}

/// x held to [low, high], flat beyond; NaN stays.
template <class T>
KB_HD T hold(T x, T low, T high) {
  return choose(low - x, low, choose(x - high, high, x));
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
