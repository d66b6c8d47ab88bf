// Values that were decoded: added up with weights, and made voxels.

#include <algorithm>
#include <bit>

#include "cpu/backend.h"
#include "kanbench/parallel.h"

namespace kanbench::cpu {
namespace {

constexpr std::int64_t kChunkValues = 1 << 16;

// Within [0, 1]; NaN stays one. Floats that are not negative are ordered as their bits are, and
// integers are compared many at a time, which floats that may trap are not.
float hold(float value) {
  constexpr std::int32_t kOne = 0x3f800000, kInfinity = 0x7f800000;
  const auto bits = std::bit_cast<std::int32_t>(value);
  const std::int32_t above = bits < 0 ? 0 : bits, held = above > kOne ? kOne : above;
  return std::bit_cast<float>((bits & 0x7fffffff) > kInfinity ? bits : held);
}

void add_row(const float* values, const float* weights, std::int64_t count, float weight, float low,
             float range, float* __restrict out) {
  if (!values) {
    for (std::int64_t x = 0; x < count; ++x) out[x] += low * (weights[x] * weight);
    return;
  }
  for (std::int64_t x = 0; x < count; ++x)
    out[x] += (low + range * hold(values[x])) * (weights[x] * weight);
}

}  // namespace

void CpuBackend::blend(const float* values, const Weights& weights, float low, float range,
                       float* out) {
  const Box &part = weights.part, &whole = weights.whole;
  const Shape n = part.shape(), all = whole.shape();
  const float *wx = weights.data, *wy = wx + n.x, *wz = wy + n.y;
  const std::int64_t rows = n.y * n.z;
  const std::int64_t per_task =
      std::max<std::int64_t>(1, kChunkValues / std::max<std::int64_t>(1, n.x));
  parallel(ceil_divide(rows, per_task), [&](std::int64_t task) {
    const std::int64_t end = std::min(rows, (task + 1) * per_task);
    for (std::int64_t row = task * per_task; row < end; ++row) {
      const std::int64_t y = row % n.y, z = row / n.y;
      const std::int64_t at =
          ((part.low[2] - whole.low[2] + z) * all.y + part.low[1] - whole.low[1] + y) * all.x +
          part.low[0] - whole.low[0];
      add_row(values ? values + row * n.x : nullptr, wx, n.x, wy[y] * wz[z], low, range, out + at);
    }
  });
}

void CpuBackend::quantise(const float* values, std::int64_t count, const Decoded& out) {
  visit(out.dtype, [&]<class Voxel>(Voxel) {
    auto* voxels = static_cast<Voxel*>(out.voxels);
    parallel(ceil_divide(count, kChunkValues), [&](std::int64_t task) {
      const std::int64_t end = std::min(count, (task + 1) * kChunkValues);
      for (std::int64_t i = task * kChunkValues; i < end; ++i) {
        const double held = std::clamp(values[i], 0.0f, 1.0f);
        voxels[i] = to_voxel<Voxel>(out.low + held * (out.high - out.low));
      }
    });
  });
}

}  // namespace kanbench::cpu
