// Files that all ranks write, each its parts: whole under their name, or not there.

#include <sys/resource.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "kanbench/communicator.h"
#include "kanbench/error.h"
#include "mpi_ranks.h"
#include "support.h"

namespace kanbench {
namespace {

namespace fs = std::filesystem;
using test::ranks;

// A directory that all ranks know.
class SharedDirectory {
 public:
  SharedDirectory() {
    if (ranks().rank() == 0) own_ = std::make_unique<test::TemporaryDirectory>();
    char name[256] = {};
    if (own_) own_->path().string().copy(name, sizeof name - 1);
    ranks().broadcast(name, sizeof name, 0);
    path_ = name;
  }
  ~SharedDirectory() { ranks().barrier(); }
  fs::path operator/(const char* name) const { return path_ / name; }
  std::int64_t files() const {
    ranks().barrier();
    return std::distance(fs::directory_iterator(path_), fs::directory_iterator());
  }

 private:
  std::unique_ptr<test::TemporaryDirectory> own_;
  fs::path path_;
};

TEST(ParallelFile, HoldsWhatEachRankWrote) {
  const SharedDirectory directory;
  const fs::path path = directory / "whole";
  const std::size_t each = 100003;
  const auto n = static_cast<std::size_t>(ranks().size());
  {
    const auto file = ranks().create_file(path, static_cast<std::int64_t>(each * n));
    EXPECT_FALSE(fs::exists(path));
    const std::string part(each, static_cast<char>('a' + ranks().rank()));
    file->write(static_cast<std::int64_t>(each) * ranks().rank(), part.data(), part.size());
    file->commit();
  }
  std::string expected;
  for (std::size_t r = 0; r < n; ++r) expected += std::string(each, static_cast<char>('a' + r));
  std::ifstream in(path, std::ios::binary);
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(in), {}), expected);
  EXPECT_EQ(directory.files(), 1);
}

TEST(ParallelFile, UncommittedLeavesNothing) {
  const SharedDirectory directory;
  {
    const auto file = ranks().create_file(directory / "torn", 100);
    if (ranks().rank() == 0) file->write(0, "half", 4);
    EXPECT_GE(directory.files(), 1);
    ranks().barrier();
  }
  EXPECT_EQ(directory.files(), 0);
}

TEST(ParallelFile, SaysOnAllRanksWhatIsWrongWithItsPlace) {
  const SharedDirectory directory;
  const fs::path path = directory / "absent" / "file";
  const std::string message = test::message_of<Error>([&] { ranks().create_file(path, 10); });
  EXPECT_EQ(message.substr(message.find('/')),
            path.string() + ": cannot be written: No such file or directory");
  EXPECT_EQ(ranks().size() > 1 ? message.substr(0, 8) : "rank 0: ", "rank 0: ");
}

TEST(ParallelFile, AFullDiskIsAnErrorOnAllRanks) {
  const SharedDirectory directory;
  std::signal(SIGXFSZ, SIG_IGN);
  const int last = ranks().size() - 1;
  const std::string message = test::message_of<Error>([&] {
    const auto file = ranks().create_file(directory / "full", 1 << 20);
    rlimit before{};
    getrlimit(RLIMIT_FSIZE, &before);
    if (ranks().rank() == last) {
      const rlimit little{4096, before.rlim_max};
      setrlimit(RLIMIT_FSIZE, &little);
    }
    const std::vector<char> part(8192);
    try {
      together(ranks(), [&] {
        if (ranks().rank() == last) file->write(2048, part.data(), part.size());
      });
    } catch (...) {
      setrlimit(RLIMIT_FSIZE, &before);
      throw;
    }
    setrlimit(RLIMIT_FSIZE, &before);
  });
  EXPECT_NE(message.find("full: writing failed: File too large"), std::string::npos) << message;
  EXPECT_EQ(directory.files(), 0);
}

}  // namespace
}  // namespace kanbench
