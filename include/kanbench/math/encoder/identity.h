#pragma once
// No encoder: the three coordinates in [0, 1] go straight into the decoder.

#include <cstdint>

#include "kanbench/math/platform.h"

namespace kanbench::encoder {

/// The coordinates as they are.
struct CoordinateLevel {
  static constexpr int kCorners = 0;
  static constexpr double kFlops = 0;
  static constexpr std::uint32_t resolution = 0;
  KB_HD std::uint64_t rows() const { return 0; }

  /// Calls emit(number, value) for the three coordinates.
  template <class T, class Emit>
  KB_HD void evaluate(const T* x, Emit&& emit) const {
    for (int d = 0; d < 3; ++d) emit(d, x[d]);
  }
};

struct Identity {
  static constexpr const char* name = "identity";
  template <class Self, class Field>
  static void fields(Self&, Field) {}
  /// Numbers that a point becomes.
  KB_HD int width() const { return 3; }

  /// Calls add(geometry, features) for each level.
  template <class Add>
  void lower(Add&& add) const {
    add(CoordinateLevel{}, 3);
  }
};

}  // namespace kanbench::encoder
