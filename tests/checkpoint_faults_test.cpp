// Checkpoints that are damaged, hostile, or cannot be written: none is taken, none harms the
// others.

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <cstring>
#include <set>

#include "checkpoint_file.h"
#include "checkpoint_support.h"
#include "kanbench/error.h"
#include "kanbench/file.h"

namespace kanbench {
namespace {

namespace fs = std::filesystem;
using test::Case;

// Two checkpoints, of steps 1 and 2.
class CheckpointFaults : public ::testing::Test {
 protected:
  void SetUp() override {
    training.save(store(), 1, 1);
    training.save(store(), 1, 2);
    newest = directory / "x.000000000002.ckpt";
    good = read_file(newest);
  }
  CheckpointStore store(const std::string& name = "x") const { return {directory.path(), name}; }

  // Puts `bytes` in the newest one's place: the older one must be taken. Returns what is said.
  std::string pass_over(const std::string& bytes, int ranks = 1) {
    test::write_text(newest, bytes);
    std::vector<std::string> said;
    EXPECT_EQ(training.load(store(), ranks, &said), 1);
    EXPECT_EQ(said.size(), 1u);
    if (said.size() != 1) return "";
    const std::string begin = newest.string() + ": this checkpoint is passed over: ";
    EXPECT_TRUE(said[0].starts_with(begin)) << said[0];
    EXPECT_EQ(said[0].find('\n'), std::string::npos);
    return said[0].substr(std::min(begin.size(), said[0].size()));
  }
  std::size_t header_bytes() const {
    std::uint64_t length;
    std::memcpy(&length, good.data(), 8);
    return 8 + length;
  }
  std::string with_header(const std::string& header) const {
    const std::uint64_t length = header.size();
    std::string bytes(8, '\0');
    std::memcpy(bytes.data(), &length, 8);
    return bytes + header + good.substr(header_bytes());
  }
  std::string replaced(const std::string& from, const std::string& to) const {
    std::string header = good.substr(8, header_bytes() - 8);
    const std::size_t at = header.find(from);
    EXPECT_NE(at, std::string::npos);
    return with_header(header.replace(at, from.size(), to));
  }

  test::TemporaryDirectory directory;
  Case training;
  fs::path newest;
  std::string good;
};

TEST_F(CheckpointFaults, TruncationIsSeenAtEveryKindOfPlace) {
  const std::size_t header = header_bytes(), all = good.size();
  const std::size_t block = (all - 8 - header) / 3;
  std::set<std::size_t> lengths = {0,      1,          7,       8,       9,      header - 1,
                                   header, header + 1, all - 1, all - 8, all - 9};
  for (const std::size_t boundary : {header + block, header + 2 * block, all - 8})
    lengths.insert({boundary - 1, boundary, boundary + 1});
  for (std::size_t at = 0; at < all; at += 97) lengths.insert(at);
  for (const std::size_t length : lengths) {
    const std::string said = pass_over(good.substr(0, length));
    EXPECT_TRUE(said.starts_with("it is cut short: " + std::to_string(length) + " bytes of"))
        << said;
  }
  EXPECT_EQ(pass_over(good + "more"), "it is damaged: 4 bytes stand after its end");
}

TEST_F(CheckpointFaults, AnyFlippedByteIsSeen) {
  const std::size_t header = header_bytes();
  for (std::size_t at = 0; at < good.size(); at += at < header ? 1 : 13) {
    std::string bad = good;
    bad[at] = static_cast<char>(bad[at] ^ 0x10);
    pass_over(bad);
    if (HasFailure()) FAIL() << "byte " << at;
  }
  std::string bad = good;
  bad[header + 5] ^= 1;
  EXPECT_EQ(pass_over(bad, 3), "it is damaged: its content is not what its hash says");
}

TEST_F(CheckpointFaults, AllMayBeDamaged) {
  test::write_text(newest, "");
  test::write_text(directory / "x.000000000001.ckpt", good.substr(0, 300));
  std::vector<std::string> said;
  EXPECT_EQ(training.load(store(), 3, &said), -1);
  EXPECT_EQ(said.size(), 2u);
}

TEST_F(CheckpointFaults, OthersAreRefused) {
  Case other;
  other.spec = test::small_spec(3);
  std::vector<std::string> said;
  EXPECT_EQ(other.load(store(), 2, &said), -1);
  ASSERT_EQ(said.size(), 2u);
  EXPECT_NE(said[0].find("it is of another architecture"), std::string::npos);
  other = training;
  other.count = 2;
  EXPECT_EQ(other.load(store(), 2, &said), -1);
  EXPECT_EQ(said.size(), 2u);
  fs::rename(newest, directory / "y.000000000002.ckpt");
  EXPECT_EQ(training.load(store("y"), 2, &said), -1);
  ASSERT_EQ(said.size(), 1u);
  EXPECT_NE(said[0].find("it is of another training"), std::string::npos);
}

TEST_F(CheckpointFaults, WhatIsNoFileIsPassedOver) {
  fs::remove(newest);
  fs::create_directory(newest);
  std::vector<std::string> said;
  EXPECT_EQ(training.load(store(), 2, &said), 1);
  ASSERT_EQ(said.size(), 1u);
  EXPECT_NE(said[0].find("it is not a regular file"), std::string::npos);
  fs::remove(newest);
  ASSERT_EQ(mkfifo(newest.c_str(), 0600), 0);
  EXPECT_EQ(training.load(store(), 2, &said), 1);
  fs::remove(newest);
  fs::create_symlink(directory / "nowhere", newest);
  EXPECT_EQ(training.load(store(), 2, &said), 1);
}

TEST_F(CheckpointFaults, HostileHeadersAreRefused) {
  for (const std::uint64_t length :
       {std::uint64_t{0}, std::uint64_t{1} << 20, std::uint64_t{1} << 40, std::uint64_t{1} << 63,
        ~std::uint64_t{0}, ~std::uint64_t{0} - 7}) {
    std::string bad = good;
    std::memcpy(bad.data(), &length, 8);
    pass_over(bad);
  }
  for (const std::string& header :
       {std::string("null"), std::string("[]"), std::string("{}"), std::string("1e999"),
        std::string("{\"__metadata__\":[]}"), std::string("{\"__metadata__\":{\"format\":1}}"),
        std::string(200000, '['), std::string("\xff\xfe{"), std::string(1000, '\0')})
    EXPECT_EQ(pass_over(with_header(header)), "it is damaged: its header is no checkpoint's");
  pass_over(replaced("[0,", "[18446744073709551615,"));
  pass_over(replaced("F32", "U8"));
  pass_over(replaced("\"shape\":[", "\"shape\":[99999999999999,"));
  pass_over(replaced("parameters.0", "parameters.1"));
  pass_over(replaced("\\\"step\\\":2", "\\\"step\\\":\\\"x\\\""));
  EXPECT_EQ(pass_over(replaced("\\\"step\\\":2", "\\\"step\\\":3")),
            "it is damaged: its content is not what its hash says");
}

TEST_F(CheckpointFaults, AFullDiskLeavesTheOlderOnes) {
  for (const int ranks : {1, 3}) {
    rlimit before;
    ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
    const auto handler = signal(SIGXFSZ, SIG_IGN);
    rlimit small = before;
    small.rlim_cur = good.size() / 2;
    ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
    const std::vector<std::string> said =
        test::messages_on_ranks<Error>(ranks, [&](Communicator& communicator) {
          test::RankModels models(training.spec, {0}, true, communicator);
          store().save(test::state_at(3), 1, models.trained(), communicator);
        });
    setrlimit(RLIMIT_FSIZE, &before);
    signal(SIGXFSZ, handler);
    for (const std::string& sentence : said)
      EXPECT_NE(sentence.find("x.000000000003.ckpt"), std::string::npos) << sentence;
    EXPECT_EQ(test::files_in(directory.path()),
              (std::vector<std::string>{"x.000000000001.ckpt", "x.000000000002.ckpt"}));
    EXPECT_EQ(training.load(store(), ranks), 2);
  }
}

TEST_F(CheckpointFaults, APlaceThatIsNoDirectoryIsTheUsersFault) {
  test::write_text(directory / "file", "");
  const CheckpointStore nowhere(directory / "file", "x");
  for (const int ranks : {1, 2}) {
    const std::vector<std::string> said =
        test::messages_on_ranks<Error>(ranks, [&](Communicator& communicator) {
          test::RankModels models(training.spec, {0}, false, communicator);
          nowhere.save(test::state_at(1), 1, models.trained(), communicator);
        });
    for (const std::string& sentence : said)
      EXPECT_NE(sentence.find((directory / "file").string()), std::string::npos) << sentence;
  }
}

}  // namespace
}  // namespace kanbench
