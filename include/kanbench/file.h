#pragma once
// Files that are whole or not there.

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>

namespace kanbench {

/// Writes beside `path` under another name and takes the name at commit(); uncommitted, nothing
/// stays. What the user can put right (no space, no permission, no such place, a device or a pipe
/// at `path`) is an Error, any other failure a SystemError; both name the path and the reason.
class AtomicFile {
 public:
  explicit AtomicFile(std::filesystem::path path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;

  void write(const void* data, std::size_t bytes);
  void write(std::string_view text) { write(text.data(), text.size()); }
  /// Flushes to the disk and renames.
  void commit();

 private:
  std::filesystem::path path_, temporary_;
  int descriptor_ = -1;
};

/// The file's whole content; Error if it cannot be read.
std::string read_file(const std::filesystem::path& path);

/// Makes the directory if need be and proves that it can be written to; Error if not. `what` names
/// the option that it came from.
void require_writable(const std::filesystem::path& directory, const std::string& what);

}  // namespace kanbench
