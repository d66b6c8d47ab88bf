#pragma once
// The real Gabor wavelet, cos(omega x) exp(-(scale x)^2), of WIRE (Saragadam et al., CVPR 2023).

#include "kanbench/math/dual.h"
#include "kanbench/math/platform.h"

namespace kanbench::basis {

struct Wire {
  static constexpr const char* name = "wire";
  float omega = 10, scale = 10;

  template <class Self, class Field>
  static void fields(Self& s, Field field) {
    field("omega", s.omega);
    field("scale", s.scale);
  }
  KB_HD int size() const { return 1; }
  template <class T, class Emit>
  KB_HD void eval(T x, Emit&& emit) const {
    T sine, cosine;
    sin_cos(T(omega) * x, sine, cosine);
    const T u = T(scale) * x;
    emit(0, cosine * exp(-(u * u)));
  }
};

}  // namespace kanbench::basis
