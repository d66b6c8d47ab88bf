#pragma once
// One Gaussian, exp(-(scale x)^2), as an activation (Ramasinghe and Lucey, ECCV 2022).

#include "kanbench/math/dual.h"
#include "kanbench/math/platform.h"

namespace kanbench::basis {

struct Gauss {
  static constexpr const char* name = "gauss";
  float scale = 1;

  template <class Self, class Field>
  static void fields(Self& s, Field field) {
    field("scale", s.scale);
  }
  KB_HD int size() const { return 1; }
  template <class T, class Emit>
  KB_HD void eval(T x, Emit&& emit) const {
    const T u = T(scale) * x;
    emit(0, exp(-(u * u)));
  }
};

}  // namespace kanbench::basis
