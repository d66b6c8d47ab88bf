#include "cpu/room.h"

#include <sys/mman.h>

#include <cstdlib>
#include <cstring>

#include "kanbench/error.h"

namespace kanbench::cpu {

void* reserve(std::size_t bytes) {
  constexpr std::size_t kHuge = std::size_t{2} << 20;
  const std::size_t alignment = bytes >= 2 * kHuge ? kHuge : 64;
  const std::size_t rounded = (bytes + alignment - 1) / alignment * alignment;
  void* memory = std::aligned_alloc(alignment, rounded ? rounded : alignment);
  if (!memory) return nullptr;
  if (alignment == kHuge) madvise(memory, rounded, MADV_HUGEPAGE);
  return std::memset(memory, 0, rounded);
}

void Free::operator()(void* memory) const noexcept { std::free(memory); }

float* Room::floats(std::int64_t count) {
  if (count > size_) {
    data_.reset();
    data_.reset(reserve(static_cast<std::size_t>(count) * sizeof(float)));
    if (!data_)
      throw SystemError("out of memory: " + std::to_string(count * 4) +
                        " bytes of working memory are not to be had; use a smaller --batch-size");
    size_ = count;
  }
  return static_cast<float*>(data_.get());
}

}  // namespace kanbench::cpu
