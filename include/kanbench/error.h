#pragma once
// The two kinds of failure: the user's (Error, exit status 2) and ours or the machine's (anything
// else, exit status 1).

#include <source_location>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>

namespace kanbench {

/// What the user can put right. One line: what, where, the value found, what would be right.
class Error : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// The machine failed us: no memory, a broken disk. One line. (A full disk or a place that may not
/// be written to is an Error: the user can choose another.)
class SystemError : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// Throws std::logic_error naming the place unless `condition` holds: a fault of ours.
void check(bool condition, std::string_view what,
           std::source_location where = std::source_location::current());

/// ", did you mean 'x'?" for the name in `known` nearest to `word` (edit distance at most a third
/// of its length, at least 1), else an empty string.
std::string nearest(std::string_view word, std::span<const std::string> known);

/// "a, b, c".
std::string join(std::span<const std::string> words, std::string_view separator = ", ");

}  // namespace kanbench
