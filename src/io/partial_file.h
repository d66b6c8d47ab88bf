#pragma once
// A file that is written beside its place under another name: the steps that files of one process
// and of many have in common, and how they fail.

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>

namespace kanbench {

/// Throws "path: what: reason", the reason an errno: Error for what the user can put right (another
/// place, more room, a permission), else SystemError.
[[noreturn]] void fail_on_file(const std::filesystem::path& path, const std::string& what,
                               int reason);

/// open(), again where a signal came between.
int open_retrying(const std::filesystem::path& path, int flags);

/// Creates a file beside `path`, which must be a regular file or nothing, and opens it to write.
std::filesystem::path open_partial(const std::filesystem::path& path, int& descriptor);

/// Writes at `offset`, all bytes unless it fails; returns the errno of what failed, 0 for nothing.
int try_write_at(int descriptor, std::int64_t offset, const void* data, std::size_t bytes);

/// The same, but throws; `path` is what a failure names.
void write_at(const std::filesystem::path& path, int descriptor, std::int64_t offset,
              const void* data, std::size_t bytes);

/// Flushes and closes; `descriptor` is -1 afterwards.
void close_flushed(const std::filesystem::path& path, int& descriptor);

/// Gives what was written beside `path` its name.
void rename_partial(const std::filesystem::path& partial, const std::filesystem::path& path);

}  // namespace kanbench
