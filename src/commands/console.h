#pragma once
// What a command says on standard error while it works, and tables for standard output.

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

namespace spdlog {
class logger;
}

namespace kanbench {

enum class Verbosity { quiet, normal, verbose };

/// Lines for a person, and one line at the bottom of a terminal that is drawn over and over.
class Console {
 public:
  explicit Console(Verbosity verbosity);
  ~Console();

  /// Shows nothing from here on: another process of the same command speaks.
  void silence();

  /// Always shown.
  void warn(const std::string& text);
  /// Shown unless quiet.
  void say(const std::string& text);
  /// Shown if verbose.
  void detail(const std::string& text);
  /// Writes what is said from here on to the end of a file, too, whatever the verbosity, each line
  /// with its time: what is at least as grave as `level` ("debug", "info" or "warn"). Throws Error
  /// where the file cannot be written; an empty path ends it.
  void log_to(const std::filesystem::path& path, const std::string& level);
  /// Goes to that file alone, or to the terminal alone, as say() does.
  void note(const std::string& text);
  void show(const std::string& text);
  /// Redraws the bottom line; does nothing where there is none.
  void status(const std::string& text);
  void clear_status();

  bool quiet() const { return verbosity_ == Verbosity::quiet; }
  /// Whether standard error is a terminal and a bottom line is wanted.
  bool live() const { return live_; }
  /// The terminal's columns.
  int columns() const;

 private:
  Verbosity verbosity_;
  bool live_ = false, drawn_ = false;
  std::shared_ptr<spdlog::logger> logger_, file_;
};

/// Columns under a heading, one line a row; what reads as a number stands to the right.
std::string format_table(const std::vector<std::vector<std::string>>& rows);

/// "%.<digits>f", "inf" and "nan" in words.
std::string fixed(double value, int digits);
/// "%.6g".
std::string scientific(double value);
/// "1.23 M", "45.6 k", "789".
std::string count(double value);
/// "12.3 MB", "789 bytes".
std::string bytes(double value);
/// "1:02:03", "2:03".
std::string duration(double seconds);

}  // namespace kanbench
