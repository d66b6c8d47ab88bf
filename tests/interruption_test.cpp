// SIGTERM and SIGUSR1 set a wish; without catch_interruption() they end the process as ever.

#include "kanbench/interruption.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <thread>

namespace kanbench {
namespace {

class Interruption : public ::testing::TestWithParam<int> {
 protected:
  void TearDown() override {
    wish_interruption(false);
    signal(SIGTERM, SIG_DFL);
    signal(SIGUSR1, SIG_DFL);
  }
};

TEST_P(Interruption, IsWishedByASignal) {
  catch_interruption();
  EXPECT_FALSE(interruption_wished());
  raise(GetParam());
  EXPECT_TRUE(interruption_wished());
  raise(GetParam());
  EXPECT_TRUE(interruption_wished());
  wish_interruption(false);
  EXPECT_FALSE(interruption_wished());
  raise(GetParam());
  EXPECT_TRUE(interruption_wished());
}

TEST_P(Interruption, LeavesASystemCallThatWaits) {
  catch_interruption();
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  const pthread_t reader = pthread_self();
  std::thread other([&] {
    while (!interruption_wished()) {
      pthread_kill(reader, GetParam());
      usleep(1000);
    }
    usleep(20000);
    ASSERT_EQ(write(ends[1], "x", 1), 1);
  });
  char byte = 0;
  EXPECT_EQ(read(ends[0], &byte, 1), 1) << errno;
  other.join();
  EXPECT_TRUE(interruption_wished());
  close(ends[0]);
  close(ends[1]);
}

TEST_P(Interruption, EndsAProcessThatDidNotAsk) {
  const pid_t child = fork();
  if (child == 0) {
    raise(GetParam());
    _exit(0);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(WTERMSIG(status), GetParam());
}

INSTANTIATE_TEST_SUITE_P(Signals, Interruption, ::testing::Values(SIGTERM, SIGUSR1),
                         [](const auto& info) {
                           return info.param == SIGTERM ? "SIGTERM" : "SIGUSR1";
                         });

}  // namespace
}  // namespace kanbench
