// The CPU backend's memory: what there is, what was taken, and a limit that can be set on it.

#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <fstream>

#include "cpu/backend.h"
#include "kanbench/decomposition.h"
#include "kanbench/error.h"
#include "kanbench/parallel.h"

namespace kanbench::cpu {
namespace {

// The number behind `key` in a file of such pairs; 0 where there is none.
std::size_t number_in(const char* path, const std::string& key) {
  std::ifstream file(path);
  std::size_t number = 0;
  for (std::string word; file >> word;)
    if (word == key && file >> number) return number;
  return 0;
}

// What is left of a container's own limit; files it holds in memory can be dropped.
std::size_t group_bytes() {
  std::size_t limit = 0, used = 0;
  if (!(std::ifstream("/sys/fs/cgroup/memory.max") >> limit)) return SIZE_MAX;
  std::ifstream("/sys/fs/cgroup/memory.current") >> used;
  const char* stat = "/sys/fs/cgroup/memory.stat";
  const std::size_t held = number_in(stat, "inactive_file") + number_in(stat, "active_file");
  used -= std::min(used, held);
  return limit > used ? limit - used : 0;
}

void* reserve_or_throw(const Backend& backend, std::size_t bytes) {
  if (void* memory = reserve(bytes)) return memory;
  throw SystemError("out of memory: " + std::to_string(bytes) + " bytes are not to be had, " +
                    std::to_string(backend.free_bytes()) + " are free");
}

}  // namespace

std::size_t CpuBackend::used() const {
  return allocated_ + points_.bytes() + features_.bytes() + sums_.bytes();
}

std::size_t CpuBackend::free_bytes() const {
  const std::size_t available = number_in("/proc/meminfo", "MemAvailable:") * 1024;
  const std::size_t all = static_cast<std::size_t>(sysconf(_SC_PHYS_PAGES)) *
                          static_cast<std::size_t>(sysconf(_SC_PAGE_SIZE));
  const std::size_t free = std::min(available ? available : all, group_bytes());
  return limit_ ? std::min(free, limit_ - std::min(limit_, used())) : free;
}

std::size_t CpuBackend::peak_bytes() const { return std::max(peak_, used()); }

void CpuBackend::require(std::size_t bytes) const {
  if (!limit_ || (bytes <= limit_ && used() <= limit_ - bytes)) return;
  throw SystemError("out of memory: " + std::to_string(bytes) + " bytes more than the " +
                    std::to_string(used()) + " in use pass the limit of " + std::to_string(limit_) +
                    " (--device-memory-limit)");
}

void* CpuBackend::allocate(std::size_t bytes) {
  require(bytes);
  void* memory = reserve_or_throw(*this, bytes);
  sizes_[memory] = bytes;
  allocated_ += bytes;
  peak_ = std::max(peak_, used());
  return memory;
}

void CpuBackend::release(void* memory) noexcept {
  const auto found = sizes_.find(memory);
  if (found != sizes_.end()) {
    allocated_ -= found->second;
    sizes_.erase(found);
  }
  Free{}(memory);
}

float* CpuBackend::floats(Room& room, std::int64_t count) {
  const std::size_t bytes = static_cast<std::size_t>(count) * sizeof(float);
  if (bytes > room.bytes()) require(bytes - room.bytes());
  float* data = room.floats(count);
  peak_ = std::max(peak_, used());
  return data;
}

void CpuBackend::copy(void* to, const void* from, std::size_t bytes) {
  constexpr std::size_t kChunk = std::size_t{1} << 22;
  parallel(static_cast<std::int64_t>((bytes + kChunk - 1) / kChunk), [&](std::int64_t i) {
    const std::size_t start = static_cast<std::size_t>(i) * kChunk;
    std::memcpy(static_cast<char*>(to) + start, static_cast<const char*>(from) + start,
                std::min(kChunk, bytes - start));
  });
}

void CpuBackend::upload(void* to, const void* host, std::size_t bytes) { copy(to, host, bytes); }

void CpuBackend::download(void* host, const void* from, std::size_t bytes) {
  copy(host, from, bytes);
}

bool CpuBackend::holds(const Volume& volume, const Box& box, std::size_t reserved) const {
  if (!limit_) return true;
  const std::size_t taken = used() + reserved;
  const std::int64_t voxels = grow(box, 1, volume.shape).shape().count();
  return taken <= limit_ &&
         static_cast<std::size_t>(voxels * volume.components) * size_of(volume.dtype) <=
             limit_ - taken;
}

void* CpuBackend::allocate_host(std::size_t bytes) { return reserve_or_throw(*this, bytes); }

void CpuBackend::release_host(void* memory) noexcept { Free{}(memory); }

// These two may be called from any thread, and parallel() may not.
void CpuBackend::stage(void* to, const void* host, std::size_t bytes) {
  std::memcpy(to, host, bytes);
}

std::int64_t CpuBackend::begin_fetch(void* host, const void* from, std::size_t bytes) {
  std::memcpy(host, from, bytes);
  return 0;
}

}  // namespace kanbench::cpu
