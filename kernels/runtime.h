#pragma once
// The CUDA runtime as the host code of this room uses it: errors become exceptions, memory has an
// owner. tests/emulator has headers of the same names, so that all of it also runs on a CPU.

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <source_location>
#include <utility>

#include "kanbench/error.h"

namespace kanbench::cuda {

/// Throws SystemError, saying where and what, unless `status` is success.
void checked(cudaError_t status,
             std::source_location where = std::source_location::current());

/// `count` numbers in the device's memory, not cleared, grown when asked for more.
template <class T>
class DeviceArray {
 public:
  DeviceArray() = default;
  DeviceArray(DeviceArray&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  DeviceArray& operator=(DeviceArray&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~DeviceArray() {
    if (data_) cudaFree(data_);
  }

  /// Room for `count`; what was there is lost where it grows.
  T* reserve(std::int64_t count) {
    if (count > size_) {
      if (data_) cudaFree(std::exchange(data_, nullptr));
      size_ = 0;
      void* memory = nullptr;
      checked(cudaMalloc(&memory, static_cast<std::size_t>(count) * sizeof(T)));
      data_ = static_cast<T*>(memory);
      size_ = count;
    }
    return data_;
  }
  T* data() const { return data_; }
  std::int64_t size() const { return size_; }
  std::size_t bytes() const { return static_cast<std::size_t>(size_) * sizeof(T); }

 private:
  T* data_ = nullptr;
  std::int64_t size_ = 0;
};

inline std::int64_t ceil_divide(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }
inline std::int64_t round_up(std::int64_t a, std::int64_t b) { return ceil_divide(a, b) * b; }

}  // namespace kanbench::cuda
