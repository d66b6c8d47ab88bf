// A mapping's owner is a shared pointer, whose deleter tells it from other memory.
#include "mapping.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>

#include "kanbench/error.h"

namespace kanbench {
namespace {

struct Unmap {
  char* begin;
  std::size_t bytes;
  void operator()(const void*) const { ::munmap(begin, bytes); }
};

}  // namespace

std::shared_ptr<const void> map_file(const std::filesystem::path& path, std::size_t bytes,
                                     std::size_t offset) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) throw Error(path.string() + ": cannot be read: " + std::strerror(errno));
  void* memory = ::mmap(nullptr, offset + bytes, PROT_READ, MAP_SHARED, descriptor, 0);
  const int reason = errno;
  ::close(descriptor);
  if (memory == MAP_FAILED)
    throw SystemError(path.string() + ": cannot be mapped: " + std::strerror(reason));
  auto* begin = static_cast<char*>(memory);
  return std::shared_ptr<const void>(begin + offset, Unmap{begin, offset + bytes});
}

void forget_bytes(const std::shared_ptr<const void>& memory, Range part) {
  const auto* mapping = std::get_deleter<Unmap>(memory);
  if (!mapping) return;
  const auto page = static_cast<std::int64_t>(::sysconf(_SC_PAGESIZE));
  const std::int64_t from = static_cast<const char*>(memory.get()) - mapping->begin;
  const std::int64_t begin = (from + part.begin) / page * page;
  const std::int64_t end = std::min(from + part.end, static_cast<std::int64_t>(mapping->bytes));
  if (begin >= end) return;
  // Pages of a file that others map, too, stay with them. A failure costs memory alone.
  ::madvise(mapping->begin + begin, static_cast<std::size_t>(end - begin), MADV_DONTNEED);
}

}  // namespace kanbench
