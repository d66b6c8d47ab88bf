#pragma once
// A volume's numbers at any point: voxel i of n is centred at (i + 0.5) / n, between centres the
// value is trilinear, beyond the outermost it is the edge's. All indices are 64-bit.

#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "kanbench/math/platform.h"

namespace kanbench {

/// The two voxels around coordinate u in [0, 1] on an axis of n voxels and the second's weight.
struct Tap {
  std::int64_t low, high;
  float weight;
};

KB_HD Tap tap(float u, std::int64_t n) {
  const double p = static_cast<double>(u) * static_cast<double>(n) - 0.5;
  if (p <= 0) return {0, 0, 0};
  const std::int64_t low = static_cast<std::int64_t>(p);
  if (low >= n - 1) return {n - 1, n - 1, 0};
  return {low, low + 1, static_cast<float>(p - static_cast<double>(low))};
}

/// Enough of a number to interpolate `Voxel` in: float holds 16 bits exactly.
template <class Voxel>
using Interpolant = std::conditional_t<sizeof(Voxel) <= 2, float, double>;

/// The voxels of a box of a volume, [z][y][x]. The box starts at voxel `origin` of the volume and
/// has `held` voxels an axis; the volume has `size`.
template <class Voxel>
struct VoxelGrid {
  const Voxel* data;
  std::int64_t size[3], origin[3], held[3];
};

/// The trilinear value at (u, v, w) of the volume, in its own units; the voxels around that point
/// must be among those held.
template <class Voxel>
KB_HD Interpolant<Voxel> lookup(const VoxelGrid<Voxel>& grid, float u, float v, float w) {
  using T = Interpolant<Voxel>;
  const Tap x = tap(u, grid.size[0]), y = tap(v, grid.size[1]), z = tap(w, grid.size[2]);
  const std::int64_t x_low = x.low - grid.origin[0], x_high = x.high - grid.origin[0];
  T plane[2];
  for (int k = 0; k < 2; ++k) {
    const std::int64_t slice = ((k ? z.high : z.low) - grid.origin[2]) * grid.held[1];
    T line[2];
    for (int j = 0; j < 2; ++j) {
      const std::int64_t y_at = (j ? y.high : y.low) - grid.origin[1];
      const Voxel* row = grid.data + (slice + y_at) * grid.held[0];
      const T a = static_cast<T>(row[x_low]), b = static_cast<T>(row[x_high]);
      line[j] = a + (b - a) * T(x.weight);
    }
    plane[k] = line[0] + (line[1] - line[0]) * T(y.weight);
  }
  return plane[0] + (plane[1] - plane[0]) * T(z.weight);
}

/// `value` rounded to nearest and held within the type; NaN becomes the lowest.
template <class Voxel>
KB_HD Voxel to_voxel(double value) {
  using Limits = std::numeric_limits<Voxel>;
  // double(max) of a 64-bit type is one above it, so that `>=` is what keeps the cast in range.
  if (!(value > static_cast<double>(Limits::lowest()))) return Limits::lowest();
  if (value >= static_cast<double>(Limits::max())) return Limits::max();
  if constexpr (std::is_floating_point_v<Voxel>) return static_cast<Voxel>(value);
  // From 2^53 on a double is whole.
  if (value >= 0x1p53 || value <= -0x1p53) return static_cast<Voxel>(value);
  return static_cast<Voxel>(llrint(value));
}

}  // namespace kanbench
