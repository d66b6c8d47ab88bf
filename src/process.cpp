#include "kanbench/process.h"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <sstream>

#include "kanbench/error.h"

namespace kanbench {
namespace {

[[noreturn]] void fail(const std::string& program, int reason) {
  const std::string message = program + ": cannot be started: " + std::strerror(reason);
  if (reason == ENOENT)
    throw Error(program +
                ": there is no such program here: load the module that has it, or work "
                "where it is installed");
  throw SystemError(message);
}

// Both ends of a pipe, closed with the object.
struct Pipe {
  int ends[2] = {-1, -1};
  Pipe() {
    if (::pipe2(ends, O_CLOEXEC) != 0)
      throw SystemError(std::string("no pipe is to be had: ") + std::strerror(errno));
  }
  ~Pipe() {
    close(0);
    close(1);
  }
  Pipe(const Pipe&) = delete;
  void close(int which) {
    if (ends[which] >= 0) ::close(ends[which]);
    ends[which] = -1;
  }
};

// What a child is started with.
class Actions {
 public:
  Actions() { ::posix_spawn_file_actions_init(&actions); }
  ~Actions() { ::posix_spawn_file_actions_destroy(&actions); }
  Actions(const Actions&) = delete;
  posix_spawn_file_actions_t actions;
};

// Reads both pipes until both are closed.
void drain(Pipe& out, Pipe& error, ProcessEnd& end) {
  Pipe* pipes[] = {&out, &error};
  std::string* texts[] = {&end.out, &end.error};
  while (out.ends[0] >= 0 || error.ends[0] >= 0) {
    pollfd watched[2];
    for (int i = 0; i < 2; ++i) watched[i] = {pipes[i]->ends[0], POLLIN, 0};
    if (::poll(watched, 2, -1) < 0 && errno != EINTR) break;
    for (int i = 0; i < 2; ++i) {
      if (watched[i].fd < 0 || watched[i].revents == 0) continue;
      char block[4096];
      const ssize_t got = ::read(watched[i].fd, block, sizeof block);
      if (got > 0)
        texts[i]->append(block, static_cast<std::size_t>(got));
      else if (got == 0 || errno != EINTR)
        pipes[i]->close(0);
    }
  }
}

pid_t spawn(const std::vector<std::string>& words, const std::filesystem::path& directory,
            Pipe& out, Pipe& error) {
  Actions start;
  ::posix_spawn_file_actions_addopen(&start.actions, 0, "/dev/null", O_RDONLY, 0);
  ::posix_spawn_file_actions_adddup2(&start.actions, out.ends[1], 1);
  ::posix_spawn_file_actions_adddup2(&start.actions, error.ends[1], 2);
  if (!directory.empty()) ::posix_spawn_file_actions_addchdir_np(&start.actions, directory.c_str());
  std::vector<char*> pointers;
  for (const std::string& word : words) pointers.push_back(const_cast<char*>(word.c_str()));
  pointers.push_back(nullptr);
  pid_t child = -1;
  const int reason =
      ::posix_spawnp(&child, pointers[0], &start.actions, nullptr, pointers.data(), environ);
  if (reason != 0) fail(words.front(), reason);
  return child;
}

}  // namespace

ProcessEnd run_process(const std::vector<std::string>& words,
                       const std::filesystem::path& directory) {
  check(!words.empty(), "no program was named");
  // A directory that is not there would read as a program that is not there.
  if (!directory.empty() && !std::filesystem::is_directory(directory))
    throw Error(directory.string() + ": there is no such directory");
  Pipe out, error;
  const pid_t child = spawn(words, directory, out, error);
  out.close(1);
  error.close(1);
  ProcessEnd end;
  drain(out, error, end);
  int status = 0;
  while (::waitpid(child, &status, 0) < 0)
    if (errno != EINTR) throw SystemError(words.front() + ": " + std::strerror(errno));
  end.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return end;
}

std::string find_program(const std::string& name) {
  namespace fs = std::filesystem;
  const auto can_run = [](const fs::path& file) {
    std::error_code ignored;
    return fs::is_regular_file(file, ignored) && ::access(file.c_str(), X_OK) == 0;
  };
  if (name.find('/') != name.npos) return can_run(name) ? fs::absolute(name).string() : "";
  const char* path = std::getenv("PATH");
  std::istringstream directories(path && *path ? path : "/usr/local/bin:/usr/bin:/bin");
  for (std::string directory; std::getline(directories, directory, ':');) {
    const fs::path file = fs::path(directory.empty() ? "." : directory) / name;
    if (can_run(file)) return fs::absolute(file).string();
  }
  return "";
}

std::string shell_word(const std::string& text) {
  const auto plain = [](unsigned char c) {
    return std::isalnum(c) || std::strchr("-_./=:,+@%", c);
  };
  if (!text.empty() && std::all_of(text.begin(), text.end(), plain)) return text;
  std::string word = "'";
  for (const char c : text) word += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return word + "'";
}

}  // namespace kanbench
