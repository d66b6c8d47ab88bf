#include "kanbench/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <utility>

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

[[noreturn]] void fail(const std::filesystem::path& path, const std::string& what, int reason) {
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

// Unique within the machine by process, within the process by count; what an earlier process of
// the same id left behind is stepped over.
std::filesystem::path open_beside(const std::filesystem::path& path, int& descriptor) {
  static std::atomic<unsigned> made{0};
  for (int attempt = 0; attempt < 1000; ++attempt) {
    std::filesystem::path beside = path;
    beside += ".partial-" + std::to_string(::getpid()) + "-" + std::to_string(made++);
    descriptor = open_retrying(beside, O_WRONLY | O_CREAT | O_EXCL);
    if (descriptor >= 0) return beside;
    if (errno != EEXIST) fail(path, "cannot be written", errno);
  }
  fail(path, "cannot be written", EEXIST);
}

std::filesystem::path directory_of(const std::filesystem::path& path) {
  return path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
}

}  // namespace

AtomicFile::AtomicFile(std::filesystem::path path) : path_(std::move(path)) {
  if (std::error_code ignored; std::filesystem::is_directory(path_, ignored))
    fail(path_, "cannot be written", EISDIR);
  // A rename would put a file in the place of a device or a pipe, for everyone on the machine.
  if (std::error_code ignored;
      std::filesystem::exists(path_, ignored) && !std::filesystem::is_regular_file(path_, ignored))
    throw Error(path_.string() + ": cannot be written: not a regular file: name another");
  temporary_ = open_beside(path_, descriptor_);
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
    if (written < 0) fail(path_, "writing failed", errno);
    at += written;
    bytes -= static_cast<std::size_t>(written);
  }
}

void AtomicFile::commit() {
  if (::fsync(descriptor_) != 0) fail(path_, "writing failed", errno);
  if (::close(std::exchange(descriptor_, -1)) != 0) fail(path_, "writing failed", errno);
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) fail(path_, "cannot be written", errno);
  temporary_.clear();
  // The new name lasts through a power cut once its directory is flushed; not every file system
  // can, and the file itself is whole either way.
  const int directory = open_retrying(directory_of(path_), O_RDONLY | O_DIRECTORY);
  if (directory < 0) return;
  ::fsync(directory);
  ::close(directory);
}

std::string read_file(const std::filesystem::path& path) {
  const int descriptor = open_retrying(path, O_RDONLY);
  if (descriptor < 0) fail(path, "cannot be read", errno);
  struct Closer {
    int descriptor;
    ~Closer() { ::close(descriptor); }
  } const closer{descriptor};
  struct stat status {};
  if (::fstat(descriptor, &status) != 0) fail(path, "cannot be read", errno);
  if (S_ISDIR(status.st_mode)) fail(path, "cannot be read", EISDIR);
  std::string content(static_cast<std::size_t>(std::max<off_t>(status.st_size, 0)) + 1, '\0');
  std::size_t size = 0;
  for (;;) {
    if (size == content.size()) content.resize(2 * size);
    const ssize_t got = ::read(descriptor, content.data() + size, content.size() - size);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail(path, "reading failed", errno);
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
