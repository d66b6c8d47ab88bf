#pragma once
// Values of a model as voxels: clamped to [0, 1], brought to the volume's range and rounded as
// denormalise() of kanbench/io.h does on the host, to the last bit.

#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "kanbench/dtype.h"
#include "kanbench/math/voxels.h"
#include "kernels/device.h"

namespace kanbench::cuda {

/// Writes `value`, which the model gave, to voxels[at], where 0 and 1 stand for `low` and `high`.
KB_DEVICE void store_voxel(void* voxels, Dtype dtype, double low, double high, std::int64_t at,
                           float value) {
  const float inside = value < 0 ? 0.0f : value > 1 ? 1.0f : value;
  // The fma keeps the compiler from fusing product and sum, which the host rounds one by one.
  const double raw = low + std::fma(static_cast<double>(inside), high - low, 0.0);
  const auto put = [&](auto zero) {
    using T = decltype(zero);
    static_cast<T*>(voxels)[at] = to_voxel<T>(raw);
  };
  switch (dtype) {
    case Dtype::uint8:
      return put(std::uint8_t{});
    case Dtype::int8:
      return put(std::int8_t{});
    case Dtype::uint16:
      return put(std::uint16_t{});
    case Dtype::int16:
      return put(std::int16_t{});
    case Dtype::uint32:
      return put(std::uint32_t{});
    case Dtype::int32:
      return put(std::int32_t{});
    case Dtype::uint64:
      return put(std::uint64_t{});
    case Dtype::int64:
      return put(std::int64_t{});
    case Dtype::float32:
      return put(float{});
    case Dtype::float64:
      return put(double{});
  }
}

/// store_voxel() for each of `count` values.
void quantise(const float* values, std::int64_t count, Dtype dtype, double low, double high,
              void* voxels, cudaStream_t stream);

}  // namespace kanbench::cuda
