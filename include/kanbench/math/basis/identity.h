#pragma once
// The identity, phi(x) = x: a layer with it is a plain linear map.

#include "kanbench/math/platform.h"

namespace kanbench::basis {

struct Identity {
  static constexpr const char* name = "identity";
  template <class Self, class Field>
  static void fields(Self&, Field) {}
  KB_HD int size() const { return 1; }
  template <class T, class Emit>
  KB_HD void eval(T x, Emit&& emit) const {
    emit(0, x);
  }
};

}  // namespace kanbench::basis
