#pragma once
// Arrays of the emulated device, for tests of kernels.

#include <vector>

#include "kernels/device.h"
#include "kernels/runtime.h"

namespace kanbench::cuda::test {

/// An array in the device's memory.
template <class T>
class OnDevice {
 public:
  explicit OnDevice(const std::vector<T>& values) : count_(values.size()) {
    array_.reserve(static_cast<std::int64_t>(count_));
    checked(cudaMemcpy(array_.data(), values.data(), count_ * sizeof(T), cudaMemcpyHostToDevice));
  }
  /// `count` times `value`.
  explicit OnDevice(std::size_t count, T value = {}) : OnDevice(std::vector<T>(count, value)) {}

  T* data() const { return array_.data(); }
  std::vector<T> read() const {
    std::vector<T> values(count_);
    checked(cudaDeviceSynchronize());
    checked(cudaMemcpy(values.data(), array_.data(), count_ * sizeof(T), cudaMemcpyDeviceToHost));
    return values;
  }

 private:
  std::size_t count_;
  DeviceArray<T> array_;
};

/// `x` as it is kept in a type, and back.
inline std::uint16_t half_word(float x) { return static_cast<std::uint16_t>(pack_half(x, 0)); }
inline std::uint16_t bfloat_word(float x) { return static_cast<std::uint16_t>(pack_bfloat(x, 0)); }
inline float half_number(std::uint16_t word) { return unpack_half(word).x; }
inline float bfloat_number(std::uint16_t word) { return unpack_bfloat(word).x; }

}  // namespace kanbench::cuda::test
