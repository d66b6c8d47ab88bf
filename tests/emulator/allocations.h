#pragma once
// Memory with known bytes around it.

#include <cstddef>

#include "cuda_runtime.h"

namespace emulator {

/// `bytes` bytes of 0xff, so that floats of any kind there are NaN, between guards. Null where the
/// machine has none.
unsigned char* allocate_guarded(std::size_t bytes);
/// Whether the guards are as they were. Always, with AddressSanitizer, which reports at once.
bool guards_intact(const unsigned char* memory, std::size_t bytes);
void release_guarded(unsigned char* memory, std::size_t bytes);

/// A block's shared memory.
class SharedMemory {
 public:
  explicit SharedMemory(std::size_t bytes) : data_(allocate_guarded(bytes)), bytes_(bytes) {}
  SharedMemory(SharedMemory&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), bytes_(other.bytes_) {}
  SharedMemory& operator=(SharedMemory&&) = delete;
  ~SharedMemory() {
    if (data_) release_guarded(data_, bytes_);
  }
  /// Forgets what was written.
  unsigned char* fill();
  std::size_t bytes() const { return bytes_; }
  bool intact() const { return guards_intact(data_, bytes_); }

 private:
  unsigned char* data_;
  std::size_t bytes_;
};

enum class Room { pageable, pinned, device };

/// Where `bytes` bytes at `memory` lie; pageable for memory unknown to the emulator. False if they
/// leave an allocation.
bool find_room(const void* memory, std::size_t bytes, Room& room);

}  // namespace emulator
