#pragma once
// A file that all ranks write beside its place, whatever they write it with.

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>

#include "kanbench/communicator.h"

namespace kanbench {

/// How a rank opens, writes and closes the file that rank 0 has made.
struct FileAccess {
  std::function<void(const std::filesystem::path& partial)> open;
  std::function<void(std::int64_t offset, const void* data, std::size_t bytes)> write;
  /// Flushes first where `flush`; throws nothing where not.
  std::function<void(bool flush)> close;
};

/// A file of `bytes` bytes, by way of `access`.
std::unique_ptr<ParallelFile> create_parallel_file(Communicator& communicator,
                                                   const std::filesystem::path& path,
                                                   std::int64_t bytes, FileAccess access);

}  // namespace kanbench
