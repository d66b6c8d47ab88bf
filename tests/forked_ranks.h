#pragma once
// Ranks that are processes of their own, without a launcher: what they say comes back through a
// pipe each.

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace kanbench::test {

/// How a rank ended: what it threw, its kind before it ("Error: ...", "SystemError: ..."), or "".
struct RankEnd {
  std::string thrown;
  /// 0 where all expectations of the rank held; -1 where it was killed.
  int status = 0;
};

/// Begins `body` of that rank, as another process. Call before anything that has threads.
class ForkedRank {
 public:
  explicit ForkedRank(const std::function<std::string()>& body) {
    int ends[2];
    if (pipe(ends) != 0) std::abort();
    process_ = fork();
    if (process_ == 0) {
      close(ends[0]);
      const std::string said = body();
      const auto written = write(ends[1], said.data(), said.size());
      close(ends[1]);
      const bool failed = testing::Test::HasFailure() || written < 0;
      fflush(nullptr);
      _exit(failed ? 1 : 0);
    }
    close(ends[1]);
    pipe_ = ends[0];
  }
  ForkedRank(const ForkedRank&) = delete;
  ForkedRank& operator=(const ForkedRank&) = delete;

  RankEnd wait() {
    RankEnd end;
    char buffer[4096];
    for (ssize_t count; (count = read(pipe_, buffer, sizeof buffer)) > 0;)
      end.thrown.append(buffer, static_cast<std::size_t>(count));
    close(pipe_);
    int status = 0;
    waitpid(process_, &status, 0);
    end.status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    return end;
  }

 private:
  pid_t process_ = -1;
  int pipe_ = -1;
};

/// Runs `body` on so many ranks, and returns how each ended.
inline std::vector<RankEnd> fork_ranks(int count, const std::function<std::string(int)>& body) {
  std::vector<std::unique_ptr<ForkedRank>> ranks;
  for (int rank = 0; rank < count; ++rank)
    ranks.push_back(std::make_unique<ForkedRank>([&] { return body(rank); }));
  std::vector<RankEnd> ends;
  for (const auto& rank : ranks) ends.push_back(rank->wait());
  return ends;
}

}  // namespace kanbench::test
