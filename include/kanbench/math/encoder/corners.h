#pragma once
// The corners of a cell: their places and the linear weights of a point within it.

#include <cstdint>

#include "kanbench/math/platform.h"

namespace kanbench::encoder {

/// Calls emit(x, y, z, weight) for the eight corners of the cell, the point being f[0..2] into it.
template <class T, class Emit>
KB_HD void each_corner(const std::uint32_t* cell, const T* f, Emit&& emit) {
  for (std::uint32_t c = 0; c < 8; ++c) {
    const std::uint32_t dx = c & 1, dy = c >> 1 & 1, dz = c >> 2;
    const T w = (dx ? f[0] : T(1) - f[0]) * (dy ? f[1] : T(1) - f[1]) * (dz ? f[2] : T(1) - f[2]);
    emit(cell[0] + dx, cell[1] + dy, cell[2] + dz, w);
  }
}

/// The cell of coordinate x in [0, 1] between nodes of which `resolution`, at least two, stand from
/// 0 to 1; `f` is how far into it x lies. The last cell has both its ends.
template <class T>
KB_HD std::uint32_t find_cell(T x, std::uint32_t resolution, T& f) {
  const T p = x * T(static_cast<float>(resolution - 1));
  const auto whole = static_cast<std::uint32_t>(static_cast<int>(p));
  const std::uint32_t cell = whole < resolution - 2 ? whole : resolution - 2;
  f = p - T(static_cast<float>(cell));
  return cell;
}

}  // namespace kanbench::encoder
