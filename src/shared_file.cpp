#include "shared_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "kanbench/error.h"

namespace kanbench {

namespace {

int open_for_writing(const std::filesystem::path& path, int flags) {
  const int descriptor = ::open(path.c_str(), flags | O_CREAT | O_CLOEXEC, 0666);
  if (descriptor < 0)
    throw Error(path.string() + ": cannot be written: " + std::strerror(errno) +
                ", name another place");
  return descriptor;
}

/// What was written of an append before `reason` stopped it is taken back.
[[noreturn]] void undo(const std::filesystem::path& path, int descriptor, off_t size, int reason) {
  const bool undone = ::ftruncate(descriptor, size) == 0;
  ::close(descriptor);
  const std::string message = path.string() + ": cannot append: " + std::strerror(reason) +
                              (undone ? "" : "; its last line is torn until it is opened again");
  if (reason == ENOSPC || reason == EDQUOT || reason == EFBIG) throw Error(message);
  throw SystemError(message);
}

}  // namespace

FileLock::FileLock(const std::filesystem::path& path)
    : descriptor_(open_for_writing(path, O_RDWR)) {
  int status;
  do status = ::flock(descriptor_, LOCK_EX);
  while (status < 0 && errno == EINTR);
  if (status == 0) return;
  const int reason = errno;
  ::close(descriptor_);
  throw SystemError(path.string() + ": cannot be locked: " + std::strerror(reason) +
                    ", name a place on a file system with locks");
}

FileLock::~FileLock() { ::close(descriptor_); }

void append_whole(const std::filesystem::path& path, std::string_view text) {
  const int descriptor = open_for_writing(path, O_WRONLY | O_APPEND);
  const off_t size = ::lseek(descriptor, 0, SEEK_END);
  ssize_t written;
  do written = ::write(descriptor, text.data(), text.size());
  while (written < 0 && errno == EINTR);
  if (written < 0) undo(path, descriptor, size, errno);
  if (static_cast<std::size_t>(written) < text.size()) undo(path, descriptor, size, ENOSPC);
  // A place that cannot be flushed, like a pipe, says EINVAL.
  if (::fdatasync(descriptor) < 0 && errno != EINVAL && errno != EROFS)
    undo(path, descriptor, size, errno);
  ::close(descriptor);
}

void cut(const std::filesystem::path& path, std::uintmax_t bytes) {
  std::error_code reason;
  std::filesystem::resize_file(path, bytes, reason);
  if (reason) throw Error(path.string() + ": cannot be written: " + reason.message());
}

}  // namespace kanbench
