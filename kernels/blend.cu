// Blending, a thread a voxel of the part.

#include "kernels/blend.h"
#include "kernels/device.h"
#include "kernels/runtime.h"

namespace kanbench::cuda {
namespace {

constexpr int kThreads = 256;

/// A part of a lattice as the kernel takes it: its voxels an axis, and where its first one lies
/// among the whole's.
struct PartAt {
  std::int64_t count[3], first, row, slice;
};

PartAt locate(const Weights& weights) {
  const Shape part = weights.part.shape(), all = weights.whole.shape();
  PartAt at{{part.x, part.y, part.z}, 0, all.x, all.x * all.y};
  const std::int64_t stride[3] = {1, at.row, at.slice};
  for (int d = 0; d < 3; ++d) at.first += (weights.part.low[d] - weights.whole.low[d]) * stride[d];
  return at;
}

KB_KERNEL(kThreads)
blend_kernel(const float* values, const float* weights, PartAt at, float low, float range,
             float* out) {
  const std::int64_t i = std::int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i >= at.count[0] * at.count[1] * at.count[2]) return;
  const std::int64_t x = i % at.count[0], y = i / at.count[0] % at.count[1],
                     z = i / (at.count[0] * at.count[1]);
  const float value = values ? values[i] : 0.0f;
  const float held = value < 0 ? 0.0f : value > 1 ? 1.0f : value;
  const float* const along_y = weights + at.count[0];
  const float weight = along_y[y] * along_y[at.count[1] + z] * weights[x];
  out[at.first + z * at.slice + y * at.row + x] += weight * (low + range * held);
}

}  // namespace

void blend(const float* values, const Weights& weights, float low, float range, float* out,
           cudaStream_t stream) {
  const PartAt at = locate(weights);
  const std::int64_t count = weights.part.shape().count();
  if (count == 0) return;
  launch(blend_kernel,
         Grid{dim3(static_cast<unsigned>(ceil_divide(count, kThreads))), dim3(kThreads), 0, stream},
         values, weights.data, at, low, range, out);
}

}  // namespace kanbench::cuda
