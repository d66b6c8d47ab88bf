#pragma once
// Other programs, started without a shell: words stay words whatever is in them.

#include <filesystem>
#include <string>
#include <vector>

namespace kanbench {

/// How a program ended, 128 + n where signal n ended it, and what it wrote.
struct ProcessEnd {
  int status = 0;
  std::string out, error;
};

/// Runs a program to its end in `directory`, or here; its first word is looked for in PATH, its
/// input is empty. Throws Error where there is no such program.
ProcessEnd run_process(const std::vector<std::string>& words,
                       const std::filesystem::path& directory = {});

/// The file that `name` starts: itself where it holds a '/', else the first in PATH; empty where
/// there is none that may be run.
std::string find_program(const std::string& name);

/// `text` as one word of a POSIX shell.
std::string shell_word(const std::string& text);

}  // namespace kanbench
