// A work list shared by processes: no piece is anyone else's while it is claimed, what a killed
// process held is free again, what is finished stays finished.

#include "work_list.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <functional>
#include <numeric>
#include <thread>

#include "kanbench/error.h"
#include "support.h"

namespace kanbench {
namespace {

using std::chrono::milliseconds;

bool keep_all(const std::string&) { return true; }

// Runs `body` in a process of its own, which ends with what it returns.
pid_t start(const std::function<int()>& body) {
  const pid_t child = ::fork();
  if (child != 0) return child;
  int status = 99;
  try {
    status = body();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
  }
  ::_exit(status);
}

int status_of(pid_t child) {
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

void wait_for(const std::filesystem::path& path) {
  for (int i = 0; i < 500 && !std::filesystem::exists(path); ++i)
    std::this_thread::sleep_for(milliseconds(10));
  ASSERT_TRUE(std::filesystem::exists(path));
}

// One line a piece, each appended in one write.
void note(const std::filesystem::path& path, std::int64_t piece) {
  const std::string line = std::to_string(piece) + "\n";
  const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0666);
  if (::write(file, line.data(), line.size()) < 0) ::_exit(98);
  ::close(file);
}

std::vector<int> times_noted(const std::filesystem::path& path, std::size_t count) {
  std::vector<int> times(count);
  std::ifstream file(path);
  for (std::size_t piece; file >> piece;) ++times.at(piece);
  return times;
}

// What a rank does: takes pieces until all are finished, by whomever.
int work(const std::filesystem::path& directory, const std::filesystem::path& noted, double place,
         std::size_t count, int milliseconds_a_piece) {
  WorkList list(directory, "key", std::vector<std::int64_t>(count, 1), place, keep_all);
  while (!list.complete()) {
    const auto piece = list.take();
    if (piece) note(noted, *piece);
    std::this_thread::sleep_for(milliseconds(milliseconds_a_piece));
    if (piece) list.finish("done by " + std::to_string(::getpid()));
  }
  return 0;
}

TEST(WorkList, TakesTheLargestFirst) {
  const test::TemporaryDirectory directory;
  WorkList list(directory.path(), "key", {3, 7, 5, 7}, 0, keep_all);
  std::vector<std::int64_t> taken;
  while (const auto piece = list.take()) {
    taken.push_back(*piece);
    EXPECT_EQ(list.record(*piece), "");
    list.finish("record of " + std::to_string(*piece));
  }
  EXPECT_EQ(taken, (std::vector<std::int64_t>{1, 3, 2, 0}));
  EXPECT_TRUE(list.complete());
  EXPECT_EQ(list.record(2), "record of 2");
}

TEST(WorkList, BeginsWhereItIsTold) {
  const test::TemporaryDirectory directory;
  WorkList first(directory.path(), "key", {1, 1, 1, 1}, 0, keep_all);
  WorkList second(directory.path(), "key", {1, 1, 1, 1}, 0.5, keep_all);
  EXPECT_EQ(first.take(), 0);
  EXPECT_EQ(second.take(), 2);
}

TEST(WorkList, WhatIsClaimedIsNotTaken) {
  const test::TemporaryDirectory directory;
  WorkList first(directory.path(), "key", {2, 1}, 0, keep_all);
  WorkList second(directory.path(), "key", {2, 1}, 0, keep_all);
  EXPECT_EQ(first.take(), 0);
  EXPECT_EQ(second.take(), 1);
  second.leave();
  first.leave();
  EXPECT_EQ(second.take(), 0);
  second.finish("x");
  EXPECT_EQ(first.take(), 1);
  EXPECT_FALSE(second.take());
  EXPECT_FALSE(second.complete());
  EXPECT_EQ(second.finished(), 1);
  first.finish("y");
  EXPECT_FALSE(second.take());
  EXPECT_TRUE(second.complete());
}

TEST(WorkList, ProcessesNeverHaveTheSamePiece) {
  const test::TemporaryDirectory directory;
  constexpr std::size_t kPieces = 60;
  std::vector<pid_t> children;
  for (int i = 0; i < 5; ++i)
    children.push_back(
        start([&] { return work(directory / "list", directory / "noted", 0, kPieces, 1); }));
  for (const pid_t child : children) EXPECT_EQ(status_of(child), 0);
  EXPECT_EQ(times_noted(directory / "noted", kPieces), std::vector<int>(kPieces, 1));
}

TEST(WorkList, WhatAKilledProcessHeldIsTaken) {
  const test::TemporaryDirectory directory;
  constexpr std::size_t kPieces = 6;
  const pid_t victim = start([&] {
    WorkList list(directory / "list", "key", std::vector<std::int64_t>(kPieces, 1), 0.5, keep_all);
    const auto piece = list.take();
    note(directory / "victim", *piece);
    for (;;) ::pause();
    return 0;
  });
  wait_for(directory / "victim");
  const pid_t other =
      start([&] { return work(directory / "list", directory / "noted", 0, kPieces, 5); });
  std::this_thread::sleep_for(milliseconds(300));
  // All but the victim's are done, and for that the other waits.
  std::vector<int> expected(kPieces, 1);
  expected[3] = 0;
  EXPECT_EQ(times_noted(directory / "noted", kPieces), expected);
  EXPECT_EQ(::waitpid(other, nullptr, WNOHANG), 0);
  ::kill(victim, SIGKILL);
  EXPECT_EQ(status_of(victim), -SIGKILL);
  EXPECT_EQ(status_of(other), 0);
  EXPECT_EQ(times_noted(directory / "noted", kPieces), std::vector<int>(kPieces, 1));
}

TEST(WorkList, AnotherProcessGoesOn) {
  const test::TemporaryDirectory directory;
  {
    WorkList list(directory.path(), "key", {1, 1, 1}, 0, keep_all);
    list.take();
    list.finish("kept");
    list.take();
    list.finish("refused");
  }
  // What a process that died while it wrote left of a record.
  test::write_text(directory / "brick_002", "tor");
  WorkList list(directory.path(), "key", {1, 1, 1}, 0,
                [](const std::string& record) { return record != "refused"; });
  EXPECT_EQ(list.record(0), "kept");
  EXPECT_EQ(list.record(1), "");
  EXPECT_EQ(list.record(2), "");
  EXPECT_EQ(list.take(), 1);
  list.finish("anew");
  EXPECT_EQ(list.take(), 2);
  list.finish("x");
  EXPECT_EQ(list.record(2), "x");
}

TEST(WorkList, IsAnewForAnotherKeyOrWhereAsked) {
  const test::TemporaryDirectory directory;
  const auto finish_one = [&](const std::string& key, const auto& keep) {
    WorkList list(directory.path(), key, {1, 1}, 0, keep);
    const bool empty = list.record(0).empty();
    list.take();
    list.finish("x");
    test::write_text(directory / "checkpoint", "of old");
    return empty;
  };
  EXPECT_TRUE(finish_one("a", keep_all));
  EXPECT_FALSE(finish_one("a", keep_all));
  EXPECT_TRUE(finish_one("b", keep_all));
  EXPECT_TRUE(finish_one("b", std::function<bool(const std::string&)>()));
  WorkList(directory.path(), "c", {1, 1}, 0, keep_all);
  EXPECT_FALSE(std::filesystem::exists(directory / "checkpoint"));
}

TEST(WorkList, OthersAreLeftAlone) {
  const test::TemporaryDirectory directory;
  WorkList first(directory.path(), "a", {1, 1}, 0, keep_all);
  first.take();
  first.finish("x");
  const std::string said = test::message_of<Error>([&] {
    WorkList(directory.path(), "b", {1, 1}, 0, keep_all);
  });
  EXPECT_NE(said.find("other processes"), std::string::npos) << said;
  // Who asks for all anew joins those who are at it.
  WorkList second(directory.path(), "a", {1, 1}, 0, {});
  EXPECT_EQ(second.record(0), "x");
}

TEST(WorkList, OneAssembles) {
  const test::TemporaryDirectory directory;
  auto first = std::make_unique<WorkList>(directory / "list", "a", std::vector<std::int64_t>{1}, 0,
                                          keep_all);
  WorkList second(directory / "list", "a", {1}, 0, keep_all);
  EXPECT_TRUE(first->assemble());
  EXPECT_FALSE(second.assemble());
  // Where it ends without having done so another can.
  first.reset();
  EXPECT_TRUE(second.assemble());
}

TEST(WorkList, NobodyAssemblesWhatWasTakenAway) {
  const test::TemporaryDirectory directory;
  WorkList list(directory / "list", "a", {1, 1}, 0, keep_all);
  std::filesystem::rename(directory / "list", directory / "elsewhere");
  EXPECT_FALSE(list.take());
  EXPECT_TRUE(list.complete());
  EXPECT_FALSE(list.assemble());
}

TEST(WorkList, TellsToStop) {
  const test::TemporaryDirectory directory;
  {
    WorkList first(directory.path(), "a", {1}, 0, keep_all);
    WorkList second(directory.path(), "a", {1}, 0, keep_all);
    EXPECT_EQ(first.tell_to_stop(".7"), "");
    EXPECT_TRUE(second.told_to_stop(".7"));
    EXPECT_FALSE(second.told_to_stop(".8"));
    EXPECT_FALSE(second.told_to_stop(""));
    first.tell_to_stop();
    EXPECT_TRUE(second.told_to_stop(".8"));
  }
  WorkList next(directory.path(), "a", {1}, 0, keep_all);
  EXPECT_FALSE(next.told_to_stop(".7"));
}

TEST(WorkList, TellsToStopWithoutAFileMore) {
  const test::TemporaryDirectory directory;
  WorkList list(directory.path(), "a", {1}, 0, keep_all);
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  rlimit none = before;
  none.rlim_cur = 0;
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
  const std::string failure = list.tell_to_stop(".7");
  setrlimit(RLIMIT_NOFILE, &before);
  EXPECT_EQ(failure, "");
  EXPECT_TRUE(list.told_to_stop(".7"));
  EXPECT_EQ(list.take(), 0);
}

TEST(WorkList, SaysThatNobodyIsToldToStop) {
  const test::TemporaryDirectory directory;
  WorkList list(directory.path(), "a", {1}, 0, keep_all);
  std::filesystem::create_symlink("nowhere/file", directory / "stop.7");
  const std::string failure = list.tell_to_stop(".7");
  EXPECT_NE(failure.find("stop.7: cannot be written"), std::string::npos) << failure;
  EXPECT_FALSE(list.told_to_stop(".7"));
}

TEST(WorkList, PlaceThatCannotBeMadeIsNamed) {
  const test::TemporaryDirectory directory;
  test::write_text(directory / "file", "");
  const std::string said = test::message_of<Error>(
      [&] { WorkList(directory / "file" / "list", "a", {1}, 0, keep_all); });
  EXPECT_NE(said.find("file/list: cannot be made"), std::string::npos) << said;
}

}  // namespace
}  // namespace kanbench
