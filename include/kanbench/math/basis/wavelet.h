#pragma once
// One wavelet psi(x) (Wav-KAN, Bozorgasl and Chen 2024, arXiv:2405.12832); a layer of edges gives
// each edge its own (x - shift) / scale.

#include "kanbench/math/dual.h"
#include "kanbench/math/platform.h"
#include "kanbench/math/words.h"

namespace kanbench::basis {

/// mexican_hat: 2 / (sqrt 3 pi^1/4) (x^2 - 1) exp(-x^2 / 2). morlet: cos(5 x) exp(-x^2 / 2). dog:
/// -x exp(-x^2 / 2). meyer: sin(pi |x|) a(|x|), a falling from 1 at 1/2 to 0 at 1 by
/// cos(pi/2 t^4 (35 - 84 t + 70 t^2 - 20 t^3)), t = 2 |x| - 1. shannon: sin(x) / x.
enum class WaveletKind { mexican_hat, morlet, dog, meyer, shannon };

/// The JSON names of the values, in order.
inline Words words_of(WaveletKind) {
  static constexpr const char* words[] = {"mexican_hat", "morlet", "dog", "meyer", "shannon"};
  return words;
}

struct Wavelet {
  static constexpr const char* name = "wavelet";
  WaveletKind kind = WaveletKind::mexican_hat;

  template <class Self, class Field>
  static void fields(Self& s, Field field) {
    field("kind", s.kind);
  }
  KB_HD int size() const { return 1; }
  template <class T, class Emit>
  KB_HD void eval(T x, Emit&& emit) const {
    switch (kind) {
      case WaveletKind::mexican_hat:
        return emit(0, T(0.86732507f) * (x * x - T(1)) * bell(x));
      case WaveletKind::morlet:
        return emit(0, cosine(T(5) * x) * bell(x));
      case WaveletKind::dog:
        return emit(0, -x * bell(x));
      case WaveletKind::meyer:
        return emit(0, meyer(magnitude(x)));
      case WaveletKind::shannon:
        return emit(0, shannon(x));
    }
  }

 private:
  template <class T>
  KB_HD static T bell(T x) {
    return exp(T(-0.5f) * x * x);
  }
  template <class T>
  KB_HD static T cosine(T x) {
    T s, c;
    sin_cos(x, s, c);
    return c;
  }
  template <class T>
  KB_HD static T meyer(T v) {
    constexpr float kPi = 3.14159265f;
    const T t = hold(T(2) * v - T(1), T(0), T(1)), t2 = t * t;
    const T nu = t2 * t2 * (T(35) - t * T(84) + t2 * T(70) - t2 * t * T(20));
    T s, c;
    sin_cos(T(kPi) * hold(v, T(0), T(1)), s, c);
    return choose(v - T(1), T(0), s * cosine(T(0.5f * kPi) * nu));
  }
  /// By its series near 0, where the quotient is lost.
  template <class T>
  KB_HD static T shannon(T x) {
    const T near = T(0.01f) - x * x, x2 = x * x;
    const T away = choose(near, T(1), x);
    T s, c;
    sin_cos(away, s, c);
    const T series = T(1) - x2 * (T(1.0f / 6) - x2 * (T(1.0f / 120) - x2 * T(1.0f / 5040)));
    return choose(near, series, s / away);
  }
};

}  // namespace kanbench::basis
