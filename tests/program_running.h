#pragma once
// The program while it runs: watched, asked to end, killed.

#include <signal.h>

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <thread>

#include "program.h"

namespace kanbench::test {

using Words = std::vector<std::string>;
using Environment = std::map<std::string, std::string>;

/// Whether `happened` within so many seconds.
inline bool wait_until(const std::function<bool()>& happened, double seconds = 30) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
  while (!happened()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

/// The program in a directory of its own; killed with the object if it still runs.
class Running {
 public:
  Running(const fs::path& directory, const Words& words, const Environment& environment = {},
          const std::string& program = KANBENCH_PROGRAM)
      : directory_(prepare(directory)), process_(start(directory, words, environment, program)) {}
  ~Running() {
    if (process_ > 0) wait(SIGKILL);
  }
  Running(const Running&) = delete;
  Running& operator=(const Running&) = delete;

  pid_t process() const { return process_; }
  std::string said() const { return contents(directory_ / "error"); }
  bool says(const std::string& text, double seconds = 30) const {
    return wait_until([&] { return said().find(text) != std::string::npos || ended(); }, seconds) &&
           said().find(text) != std::string::npos;
  }
  bool ended() const {
    siginfo_t info{};
    return waitid(P_PID, static_cast<id_t>(process_), &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
           info.si_pid == process_;
  }
  /// Sends a signal, if one is given, and waits for the end: 128 + n if signal n was it.
  Outcome wait(int signal = 0) {
    if (signal != 0) kill(process_, signal);
    int status = 0;
    waitpid(process_, &status, 0);
    process_ = -1;
    return {WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status),
            contents(directory_ / "out"), contents(directory_ / "error")};
  }

 private:
  // What another said there before is not this one's.
  static const fs::path& prepare(const fs::path& directory) {
    fs::create_directories(directory);
    for (const char* file : {"out", "error"}) fs::remove(directory / file);
    return directory;
  }

  fs::path directory_;
  pid_t process_;
};

/// What the JSON lines in `directory` say of each run.
inline std::vector<Json> histories(const fs::path& directory) {
  std::vector<Json> all;
  for (const std::string& line : lines(contents(directory / "results.jsonl")))
    all.push_back(Json::parse(line));
  return all;
}

/// The only run in `directory`.
inline Json only_run(const fs::path& directory) {
  const std::vector<Json> all = histories(directory);
  EXPECT_EQ(all.size(), 1u) << directory;
  return all.size() == 1 ? all[0] : Json{{"row", Json::object()}};
}

/// Files of this ending below `directory`, sorted.
inline std::vector<fs::path> files_below(const fs::path& directory, const std::string& extension) {
  std::vector<fs::path> found;
  std::error_code gone;
  fs::recursive_directory_iterator at(directory, gone), end;
  for (; !gone && at != end; at.increment(gone))
    if (at->path().extension() == extension) found.push_back(at->path());
  std::sort(found.begin(), found.end());
  return found;
}

inline std::size_t count_of(const std::string& what, const std::string& text) {
  std::size_t count = 0;
  for (std::size_t at = text.find(what); at != text.npos; at = text.find(what, at + 1)) ++count;
  return count;
}

/// One line on standard error with each of `says`, nothing on standard output, and this status.
inline void expect_one_line(const Outcome& outcome, int status, const Words& says) {
  EXPECT_EQ(outcome.status, status) << outcome.error;
  EXPECT_EQ(outcome.out, "");
  EXPECT_EQ(lines(outcome.error).size(), 1u) << outcome.error;
  EXPECT_EQ(outcome.error.rfind("kanbench: ", 0), 0u) << outcome.error;
  for (const std::string& word : says)
    EXPECT_NE(outcome.error.find(word), std::string::npos)
        << "no '" << word << "' in: " << outcome.error;
}

}  // namespace kanbench::test
