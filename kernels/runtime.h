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
void checked(cudaError_t status, std::source_location where = std::source_location::current());

/// Bytes that this process, which computes on one device, has taken of its memory; `limit` is the
/// most, 0 for all there is.
struct MemoryUse {
  std::size_t used = 0, peak = 0, limit = 0;
  void add(std::size_t bytes) {
    used += bytes;
    peak = used > peak ? used : peak;
  }
};
MemoryUse& memory_use();

/// Takes `bytes` of the current device's memory, not cleared; throws SystemError, saying how much
/// is free, where they are not to be had.
void* take_memory(std::size_t bytes);
/// Bytes that take_memory() can still give.
std::size_t free_memory();
void give_memory(void* memory, std::size_t bytes) noexcept;

/// Numbers in the device's memory, not cleared.
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
  ~DeviceArray() { clear(); }

  /// Room for `count`; what was there is lost where it grows.
  T* reserve(std::int64_t count) {
    if (count > size_) {
      clear();
      data_ = static_cast<T*>(take_memory(static_cast<std::size_t>(count) * sizeof(T)));
      size_ = count;
    }
    return data_;
  }
  void clear() {
    if (data_) give_memory(data_, bytes());
    data_ = nullptr;
    size_ = 0;
  }
  T* data() const { return data_; }
  std::int64_t size() const { return size_; }
  std::size_t bytes() const { return static_cast<std::size_t>(size_) * sizeof(T); }

 private:
  T* data_ = nullptr;
  std::int64_t size_ = 0;
};

/// A moment in a stream.
class Event {
 public:
  Event() { checked(cudaEventCreate(&event_)); }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  ~Event() { cudaEventDestroy(event_); }

  void record(cudaStream_t stream) { checked(cudaEventRecord(event_, stream)); }
  /// Waits until it has passed; at once where it was never recorded.
  void wait() const { checked(cudaEventSynchronize(event_)); }
  /// Waits until both have passed.
  double seconds_since(const Event& begin) const {
    checked(cudaEventSynchronize(event_));
    float milliseconds = 0;
    checked(cudaEventElapsedTime(&milliseconds, begin.event_, event_));
    return static_cast<double>(milliseconds) * 1e-3;
  }

 private:
  cudaEvent_t event_ = nullptr;
};

inline std::int64_t ceil_divide(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }
inline std::int64_t round_up(std::int64_t a, std::int64_t b) { return ceil_divide(a, b) * b; }

}  // namespace kanbench::cuda
