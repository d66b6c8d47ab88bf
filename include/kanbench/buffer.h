#pragma once
// Memory of a backend, owned.

#include <cstddef>
#include <cstdint>
#include <utility>

namespace kanbench {

class Backend;

/// Allocates and frees through the backend; see backend.h.
void* allocate(Backend& backend, std::size_t bytes);
void release(Backend& backend, void* memory) noexcept;

/// `size` numbers of type T in a backend's memory, zero at first.
template <class T>
class Buffer {
 public:
  Buffer() = default;
  Buffer(Backend& backend, std::int64_t size)
      : backend_(&backend),
        data_(static_cast<T*>(allocate(backend, static_cast<std::size_t>(size) * sizeof(T)))),
        size_(size) {}
  Buffer(Buffer&& other) noexcept
      : backend_(other.backend_),
        data_(std::exchange(other.data_, nullptr)),
        size_(std::exchange(other.size_, 0)) {}
  Buffer& operator=(Buffer&& other) noexcept {
    std::swap(backend_, other.backend_);
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~Buffer() {
    if (data_) release(*backend_, data_);
  }

  T* data() const { return data_; }
  std::int64_t size() const { return size_; }
  std::size_t bytes() const { return static_cast<std::size_t>(size_) * sizeof(T); }

 private:
  Backend* backend_ = nullptr;
  T* data_ = nullptr;
  std::int64_t size_ = 0;
};

}  // namespace kanbench
