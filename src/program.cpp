#include "program.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>

#include "io/quote.h"
#include "kanbench/error.h"

namespace kanbench {
namespace {

namespace fs = std::filesystem;

constexpr const char* kDefaultPath = "/usr/local/bin:/usr/bin:/bin";

bool can_run(const fs::path& file) {
  std::error_code error;
  return fs::is_regular_file(file, error) && access(file.c_str(), X_OK) == 0;
}

std::string last_line(const fs::path& file) {
  std::ifstream in(file);
  std::string last;
  for (std::string line; std::getline(in, line);)
    if (line.find_first_not_of(" \t\r") != line.npos) last = line;
  return last.empty() ? "" : ": " + quote(last);
}

/// What a child writes goes to a file; it reads nothing.
class Actions {
 public:
  explicit Actions(const fs::path& output) {
    posix_spawn_file_actions_init(&actions_);
    posix_spawn_file_actions_addopen(&actions_, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions_, STDOUT_FILENO, output.c_str(),
                                     O_WRONLY | O_CREAT | O_TRUNC, 0600);
    posix_spawn_file_actions_adddup2(&actions_, STDOUT_FILENO, STDERR_FILENO);
  }
  ~Actions() { posix_spawn_file_actions_destroy(&actions_); }
  Actions(const Actions&) = delete;
  const posix_spawn_file_actions_t* get() const { return &actions_; }

 private:
  posix_spawn_file_actions_t actions_;
};

}  // namespace

std::string find_program(const std::string& name) {
  if (name.find('/') != name.npos) return can_run(name) ? fs::absolute(name).string() : "";
  const char* path = std::getenv("PATH");
  std::istringstream directories(path && *path ? path : kDefaultPath);
  for (std::string directory; std::getline(directories, directory, ':');) {
    const fs::path file = fs::path(directory.empty() ? "." : directory) / name;
    if (can_run(file)) return fs::absolute(file).string();
  }
  return "";
}

void run_program(const std::string& program, const std::vector<std::string>& words,
                 const fs::path& output) {
  std::vector<char*> arguments{const_cast<char*>(program.c_str())};
  for (const std::string& word : words) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  const Actions actions(output);
  pid_t child = 0;
  const int failure =
      posix_spawn(&child, program.c_str(), actions.get(), nullptr, arguments.data(), environ);
  if (failure != 0) throw Error(program + ": cannot be started: " + std::strerror(failure));
  int status = 0;
  while (waitpid(child, &status, 0) < 0)
    if (errno != EINTR) throw SystemError(program + ": was lost: " + std::strerror(errno));
  if (WIFSIGNALED(status))
    throw Error(program + ": ended by signal " + std::to_string(WTERMSIG(status)) +
                last_line(output));
  if (WEXITSTATUS(status) != 0)
    throw Error(program + ": ended with status " + std::to_string(WEXITSTATUS(status)) +
                last_line(output));
}

}  // namespace kanbench
