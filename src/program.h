#pragma once
// Other programs, started without a shell.

#include <filesystem>
#include <string>
#include <vector>

namespace kanbench {

/// The file that `name` starts: itself where it holds a '/', else the first in PATH; empty where
/// there is none that may be run.
std::string find_program(const std::string& name);

/// Runs the program with these words to its end, its output in the file `output`. Throws Error
/// where it cannot be started, or ends with another status than 0 or by a signal, with the last
/// line that it wrote.
void run_program(const std::string& program, const std::vector<std::string>& words,
                 const std::filesystem::path& output);

}  // namespace kanbench
