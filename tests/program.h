#pragma once
// The program as a user runs it: words in, exit status and text out.

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <map>
#include <nlohmann/json.hpp>
#include <sstream>
#include <vector>

#include "support.h"

namespace kanbench::test {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

inline std::string contents(const fs::path& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

inline std::vector<std::string> lines(const std::string& text) {
  std::istringstream in(text);
  std::vector<std::string> all;
  for (std::string line; std::getline(in, line);) all.push_back(line);
  return all;
}

struct Outcome {
  int status = -1;
  std::string out, error;
};

/// Starts the program, or another; its output goes to `directory`/out and /error. Returns the
/// process.
inline pid_t start(const fs::path& directory, std::vector<std::string> words,
                   const std::map<std::string, std::string>& environment = {},
                   const std::string& program = KANBENCH_PROGRAM) {
  words.insert(words.begin(), program);
  const pid_t child = fork();
  if (child != 0) return child;
  std::vector<char*> pointers;
  for (std::string& word : words) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  for (const char* name : {"PBS_ARRAY_INDEX", "SLURM_ARRAY_TASK_ID"}) unsetenv(name);
  for (const auto& [name, value] : environment) setenv(name.c_str(), value.c_str(), 1);
  const int flags = O_WRONLY | O_CREAT | O_TRUNC;
  dup2(open((directory / "out").c_str(), flags, 0600), STDOUT_FILENO);
  dup2(open((directory / "error").c_str(), flags, 0600), STDERR_FILENO);
  if (chdir(directory.c_str()) == 0) execvp(program.c_str(), pointers.data());
  _exit(127);
}

/// Runs the program in `directory` to its end; 128 + n if signal n ended it.
inline Outcome run(const fs::path& directory, const std::vector<std::string>& words,
                   const std::map<std::string, std::string>& environment = {}) {
  int status = 0;
  waitpid(start(directory, words, environment), &status, 0);
  return {WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status),
          contents(directory / "out"), contents(directory / "error")};
}

/// The rows of a CSV file without quoted cells, by column.
inline std::vector<std::map<std::string, std::string>> csv(const fs::path& path) {
  std::vector<std::vector<std::string>> cells;
  for (const std::string& line : lines(contents(path))) {
    std::istringstream in(line + ",");
    cells.emplace_back();
    for (std::string cell; std::getline(in, cell, ',');) cells.back().push_back(cell);
  }
  std::vector<std::map<std::string, std::string>> rows;
  for (std::size_t r = 1; r < cells.size(); ++r) {
    EXPECT_EQ(cells[r].size(), cells[0].size()) << path;
    rows.emplace_back();
    for (std::size_t c = 0; c < std::min(cells[r].size(), cells[0].size()); ++c)
      rows.back()[cells[0][c]] = cells[r][c];
  }
  return rows;
}

/// A run object that trains in a blink.
inline Json small_run() {
  return {{"lrate", 0.01},
          {"lrate_decay", 0},
          {"epochs", 1},
          {"n_neurons", 8},
          {"n_hidden_layers", 1},
          {"n_levels", 2},
          {"n_features_per_level", 2},
          {"per_level_scale", 1.5},
          {"log2_hashmap_size", 8},
          {"base_resolution", 6},
          {"network_types", {"mlp"}}};
}

inline std::string params_of(const std::string& dataset, const Json& entry) {
  return Json{{dataset, entry}}.dump();
}

inline fs::path demo_data() { return source_directory() / "demo_data"; }
inline fs::path demo_volume() { return demo_data() / "nucleon_41x41x41_uint8.raw"; }

}  // namespace kanbench::test
