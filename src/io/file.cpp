#include "kanbench/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <utility>

#include "io/partial_file.h"
#include "kanbench/error.h"

namespace kanbench {
namespace {

// What the user can put right: another place, more room, a permission.
bool of_the_place(int reason) {
  switch (reason) {
    case EACCES:
    case EPERM:
    case EROFS:
    case ENOENT:
    case ENOTDIR:
    case EISDIR:
    case ENAMETOOLONG:
    case ELOOP:
    case EEXIST:
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
      return true;
    default:
      return false;
  }
}

std::filesystem::path directory_of(const std::filesystem::path& path) {
  return path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
}

}  // namespace

void fail_on_file(const std::filesystem::path& path, const std::string& what, int reason) {
  const std::string message = path.string() + ": " + what + ": " + std::strerror(reason);
  if (of_the_place(reason)) throw Error(message);
  throw SystemError(message);
}

int open_retrying(const std::filesystem::path& path, int flags) {
  int descriptor;
  do descriptor = ::open(path.c_str(), flags | O_CLOEXEC, 0666);
  while (descriptor < 0 && errno == EINTR);
  return descriptor;
}

std::filesystem::path open_partial(const std::filesystem::path& path, int& descriptor) {
  if (std::error_code ignored; std::filesystem::is_directory(path, ignored))
    fail_on_file(path, "cannot be written", EISDIR);
  // A rename would put a file in the place of a device or a pipe, for everyone on the machine.
  if (std::error_code ignored;
      std::filesystem::exists(path, ignored) && !std::filesystem::is_regular_file(path, ignored))
    throw Error(path.string() + ": cannot be written: not a regular file: name another");
  // Unique within the machine by process, within the process by count; what an earlier process of
  // the same id left behind is stepped over.
  static std::atomic<unsigned> made{0};
  for (int attempt = 0; attempt < 1000; ++attempt) {
    std::filesystem::path beside = path;
    beside += ".partial-" + std::to_string(::getpid()) + "-" + std::to_string(made++);
    descriptor = open_retrying(beside, O_WRONLY | O_CREAT | O_EXCL);
    if (descriptor >= 0) return beside;
    if (errno != EEXIST) fail_on_file(path, "cannot be written", errno);
  }
  fail_on_file(path, "cannot be written", EEXIST);
}

int try_write_at(int descriptor, std::int64_t offset, const void* data, std::size_t bytes) {
  constexpr std::size_t at_once = std::size_t{1} << 30;
  const char* at = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t written = ::pwrite(descriptor, at, std::min(bytes, at_once), offset);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return errno;
    at += written;
    offset += written;
    bytes -= static_cast<std::size_t>(written);
  }
  return 0;
}

void write_at(const std::filesystem::path& path, int descriptor, std::int64_t offset,
              const void* data, std::size_t bytes) {
  const int reason = try_write_at(descriptor, offset, data, bytes);
  if (reason != 0) fail_on_file(path, "writing failed", reason);
}

void close_flushed(const std::filesystem::path& path, int& descriptor) {
  if (::fsync(descriptor) != 0) fail_on_file(path, "writing failed", errno);
  if (::close(std::exchange(descriptor, -1)) != 0) fail_on_file(path, "writing failed", errno);
}

void rename_partial(const std::filesystem::path& partial, const std::filesystem::path& path) {
  if (::rename(partial.c_str(), path.c_str()) != 0) fail_on_file(path, "cannot be written", errno);
  // The new name lasts through a power cut once its directory is flushed; not every file system
  // can, and the file itself is whole either way.
  const int directory = open_retrying(directory_of(path), O_RDONLY | O_DIRECTORY);
  if (directory < 0) return;
  ::fsync(directory);
  ::close(directory);
}

AtomicFile::AtomicFile(std::filesystem::path path) : path_(std::move(path)) {
  temporary_ = open_partial(path_, descriptor_);
}

AtomicFile::~AtomicFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

void AtomicFile::write(const void* data, std::size_t bytes) {
  constexpr std::size_t at_once = std::size_t{1} << 30;
  const char* at = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t written = ::write(descriptor_, at, std::min(bytes, at_once));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail_on_file(path_, "writing failed", errno);
    at += written;
    bytes -= static_cast<std::size_t>(written);
  }
}

void AtomicFile::commit() {
  close_flushed(path_, descriptor_);
  rename_partial(temporary_, path_);
  temporary_.clear();
}

std::string read_file(const std::filesystem::path& path) {
  const int descriptor = open_retrying(path, O_RDONLY);
  if (descriptor < 0) fail_on_file(path, "cannot be read", errno);
  struct Closer {
    int descriptor;
    ~Closer() { ::close(descriptor); }
  } const closer{descriptor};
  struct stat status {};
  if (::fstat(descriptor, &status) != 0) fail_on_file(path, "cannot be read", errno);
  if (S_ISDIR(status.st_mode)) fail_on_file(path, "cannot be read", EISDIR);
  std::string content(static_cast<std::size_t>(std::max<off_t>(status.st_size, 0)) + 1, '\0');
  std::size_t size = 0;
  for (;;) {
    if (size == content.size()) content.resize(2 * size);
    const ssize_t got = ::read(descriptor, content.data() + size, content.size() - size);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail_on_file(path, "reading failed", errno);
    if (got == 0) break;
    size += static_cast<std::size_t>(got);
  }
  content.resize(size);
  return content;
}

void require_writable(const std::filesystem::path& directory, const std::string& what) {
  std::error_code failure;
  std::filesystem::create_directories(directory, failure);
  if (!failure && !std::filesystem::is_directory(directory, failure))
    failure = std::make_error_code(std::errc::not_a_directory);
  if (failure)
    throw Error(what + " " + directory.string() + ": cannot be made: " + failure.message());
  try {
    AtomicFile(directory / "writable").write("1");
  } catch (const std::runtime_error& error) {
    const std::string reason = error.what();
    throw Error(what + " " + directory.string() + ": cannot be written to:" +
                reason.substr(reason.rfind(':') + 1) + ": name another directory");
  }
}

}  // namespace kanbench
