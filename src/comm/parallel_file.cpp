// A file that the ranks of any communicator write through the system, all into one file that lies
// beside its place until it is whole.

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "io/partial_file.h"
#include "kanbench/communicator.h"
#include "kanbench/error.h"

namespace kanbench {
namespace {

class SystemParallelFile : public ParallelFile {
 public:
  SystemParallelFile(Communicator& communicator, std::filesystem::path path, std::int64_t bytes)
      : communicator_(communicator), path_(std::move(path)) {
    try {
      open(bytes);
    } catch (...) {
      discard();
      throw;
    }
  }
  ~SystemParallelFile() override { discard(); }

  void write(std::int64_t offset, const void* data, std::size_t bytes) override {
    write_at(path_, descriptor_, offset, data, bytes);
  }

  void commit() override {
    together(communicator_, [&] { close_flushed(path_, descriptor_); });
    together(communicator_, [&] {
      if (communicator_.rank() == 0) rename_partial(partial_, path_);
    });
    partial_.clear();
  }

 private:
  void open(std::int64_t bytes) {
    together(communicator_, [&] {
      if (communicator_.rank() != 0) return;
      partial_ = open_partial(path_, descriptor_);
      if (::ftruncate(descriptor_, bytes) != 0) fail_on_file(path_, "writing failed", errno);
    });
    share_name();
    together(communicator_, [&] {
      if (communicator_.rank() == 0) return;
      descriptor_ = open_retrying(partial_, O_WRONLY);
      if (descriptor_ < 0) fail_on_file(path_, "cannot be written", errno);
    });
  }

  void share_name() {
    std::string name = partial_.string();
    std::int64_t length = static_cast<std::int64_t>(name.size());
    communicator_.broadcast(&length, sizeof length, 0);
    name.resize(static_cast<std::size_t>(length));
    communicator_.broadcast(name.data(), name.size(), 0);
    partial_ = name;
  }

  void discard() noexcept {
    if (descriptor_ >= 0) ::close(std::exchange(descriptor_, -1));
    if (communicator_.rank() == 0 && !partial_.empty()) ::unlink(partial_.c_str());
  }

  Communicator& communicator_;
  std::filesystem::path path_, partial_;
  int descriptor_ = -1;
};

}  // namespace

std::unique_ptr<ParallelFile> Communicator::create_file(const std::filesystem::path& path,
                                                        std::int64_t bytes) {
  return std::make_unique<SystemParallelFile>(*this, path, bytes);
}

}  // namespace kanbench
