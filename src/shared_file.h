#pragma once
// Files that several processes write to, one at a time.

#include <cstdint>
#include <filesystem>
#include <string_view>

namespace kanbench {

/// Holds the file `path`, made if need be and left in place, for itself alone from construction to
/// destruction; waits for whoever holds it. Threads exclude each other too. Throws Error where the
/// place cannot be written to, SystemError where its file system has no locks.
class FileLock {
 public:
  explicit FileLock(const std::filesystem::path& path);
  ~FileLock();
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;

 private:
  int descriptor_ = -1;
};

/// Appends `text` to the file, made if need be, in one write that is all there or, after an error,
/// not there at all, and waits for the disk.
void append_whole(const std::filesystem::path& path, std::string_view text);

/// Takes off what the file holds beyond `bytes`.
void cut(const std::filesystem::path& path, std::uintmax_t bytes);

}  // namespace kanbench
