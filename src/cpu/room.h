#pragma once
// Working memory that grows and is kept, on huge pages where they help.

#include <cstddef>
#include <cstdint>
#include <memory>

namespace kanbench::cpu {

/// `bytes` zeroed bytes, 64-byte aligned; from 4 MB on, on huge pages. Null when there is none.
void* reserve(std::size_t bytes);

struct Free {
  void operator()(void* memory) const noexcept;
};

/// At least as many floats as last asked for; what was in it is lost when it grows.
class Room {
 public:
  float* floats(std::int64_t count);
  std::size_t bytes() const { return static_cast<std::size_t>(size_) * sizeof(float); }

 private:
  std::unique_ptr<void, Free> data_;
  std::int64_t size_ = 0;
};

}  // namespace kanbench::cpu
