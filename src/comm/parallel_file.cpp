#include "comm/parallel_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "io/partial_file.h"
#include "kanbench/error.h"

namespace kanbench {
namespace {

class PartialParallelFile : public ParallelFile {
 public:
  PartialParallelFile(Communicator& communicator, std::filesystem::path path, std::int64_t bytes,
                      FileAccess access)
      : communicator_(communicator), path_(std::move(path)), access_(std::move(access)) {
    try {
      open(bytes);
    } catch (...) {
      discard();
      throw;
    }
  }
  ~PartialParallelFile() override { discard(); }

  void write(std::int64_t offset, const void* data, std::size_t bytes) override {
    access_.write(offset, data, bytes);
  }

  void commit() override {
    together(communicator_, [&] {
      opened_ = false;
      access_.close(true);
    });
    together(communicator_, [&] {
      if (communicator_.rank() == 0) rename_partial(partial_, path_);
    });
    partial_.clear();
  }

 private:
  void open(std::int64_t bytes) {
    together(communicator_, [&] {
      if (communicator_.rank() != 0) return;
      int descriptor = -1;
      partial_ = open_partial(path_, descriptor);
      const int reason = ::ftruncate(descriptor, bytes) == 0 ? 0 : errno;
      ::close(descriptor);
      if (reason != 0) fail_on_file(path_, "writing failed", reason);
    });
    share_name();
    together(communicator_, [&] {
      access_.open(partial_);
      opened_ = true;
    });
  }

  void share_name() {
    std::string name = partial_.string();
    broadcast_text(communicator_, name);
    partial_ = name;
  }

  void discard() noexcept {
    if (std::exchange(opened_, false)) access_.close(false);
    if (communicator_.rank() == 0 && !partial_.empty()) ::unlink(partial_.c_str());
  }

  Communicator& communicator_;
  std::filesystem::path path_, partial_;
  FileAccess access_;
  bool opened_ = false;
};

// Through the system alone.
FileAccess system_access(const std::filesystem::path& path) {
  // Closes what a failure left open.
  struct Opened {
    int descriptor = -1;
    ~Opened() {
      if (descriptor >= 0) ::close(descriptor);
    }
  };
  const auto opened = std::make_shared<Opened>();
  FileAccess access;
  access.open = [path, opened](const std::filesystem::path& partial) {
    opened->descriptor = open_retrying(partial, O_WRONLY);
    if (opened->descriptor < 0) fail_on_file(path, "cannot be written", errno);
  };
  access.write = [path, opened](std::int64_t offset, const void* data, std::size_t bytes) {
    write_at(path, opened->descriptor, offset, data, bytes);
  };
  access.close = [path, opened](bool flush) {
    if (flush) close_flushed(path, opened->descriptor);
  };
  return access;
}

}  // namespace

std::unique_ptr<ParallelFile> create_parallel_file(Communicator& communicator,
                                                   const std::filesystem::path& path,
                                                   std::int64_t bytes, FileAccess access) {
  return std::make_unique<PartialParallelFile>(communicator, path, bytes, std::move(access));
}

std::unique_ptr<ParallelFile> Communicator::create_file(const std::filesystem::path& path,
                                                        std::int64_t bytes) {
  return create_parallel_file(*this, path, bytes, system_access(path));
}

}  // namespace kanbench
