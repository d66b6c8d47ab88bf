#pragma once
// Wang's structural similarity on the device, in double: the sum of its map over one slice, as
// kanbench/metrics.h defines it. A block has a tile of outputs; the window is separable.

#include <cstdint>

#include "kanbench/math/platform.h"
#include "kernels/runtime.h"

namespace kanbench::cuda {

/// Taps either side of the centre, and in all.
inline constexpr int kSsimRadius = 5;
inline constexpr int kSsimTaps = 2 * kSsimRadius + 1;

/// One axis of n voxels under the window: cropped, it yields the centres whose window lies within;
/// mirrored (without repeating the edge, as often as need be), every voxel.
struct SsimAxis {
  std::int64_t n = 0;
  bool cropped = false;

  std::int64_t outputs() const { return cropped ? n - 2 * kSsimRadius : n; }
};

/// The voxel that an output sees under tap 0 ... 10 of its window, `position` being their sum.
KB_HD std::int64_t source(const SsimAxis& axis, std::int64_t position) {
  if (axis.cropped) return position;
  if (axis.n == 1) return 0;
  std::int64_t i = position - kSsimRadius;
  while (i < 0 || i >= axis.n) i = i < 0 ? -i : 2 * (axis.n - 1) - i;
  return i;
}

/// Slices of x.n * y.n values in [0, 1], x fastest, those under the window's taps along z in
/// slots[tap] of a ring; for the 2-D figure `taps` is 1.
struct SsimSlices {
  const float *original = nullptr, *reconstruction = nullptr;
  SsimAxis x, y;
  int taps = 1;
  int slots[kSsimTaps] = {};
};

/// How many sums sum_similarity() writes.
std::int64_t similarity_blocks(const SsimSlices& slices);
/// Writes the sum of the map over each tile.
void sum_similarity(const SsimSlices& slices, double* sums, cudaStream_t stream);

}  // namespace kanbench::cuda
