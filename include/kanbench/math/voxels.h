#pragma once
// A volume's numbers at any point: voxel i of n is centred at (i + 0.5) / n, between centres the
// value is trilinear, beyond the outermost it is the edge's. All indices are 64-bit.

#include <cstdint>
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

/// The trilinear value at (u, v, w) of voxels[z][y][x] with nx, ny, nz voxels an axis, in the
/// volume's own units.
template <class Voxel>
KB_HD Interpolant<Voxel> lookup(const Voxel* voxels, std::int64_t nx, std::int64_t ny,
                                std::int64_t nz, float u, float v, float w) {
  using T = Interpolant<Voxel>;
  const Tap x = tap(u, nx), y = tap(v, ny), z = tap(w, nz);
  T plane[2];
  for (int k = 0; k < 2; ++k) {
    T line[2];
    for (int j = 0; j < 2; ++j) {
      const Voxel* row = voxels + ((k ? z.high : z.low) * ny + (j ? y.high : y.low)) * nx;
      const T a = static_cast<T>(row[x.low]), b = static_cast<T>(row[x.high]);
      line[j] = a + (b - a) * T(x.weight);
    }
    plane[k] = line[0] + (line[1] - line[0]) * T(y.weight);
  }
  return plane[0] + (plane[1] - plane[0]) * T(z.weight);
}

}  // namespace kanbench
