#pragma once
// No encoder: the three coordinates in [0, 1] go straight into the decoder.

#include <cstdint>

#include "kanbench/math/platform.h"

namespace kanbench::encoder {

struct Identity {
  static constexpr const char* name = "identity";
  template <class Self, class Field>
  static void fields(Self&, Field) {}
  KB_HD int levels() const { return 0; }
  KB_HD int features() const { return 0; }
  /// Numbers that a point becomes.
  KB_HD int width() const { return 3; }
};

}  // namespace kanbench::encoder
