#include "commands/console.h"

#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstring>

#include "kanbench/error.h"

namespace kanbench {

Console::Console(Verbosity verbosity)
    : verbosity_(verbosity),
      live_(verbosity != Verbosity::quiet && isatty(STDERR_FILENO)),
      logger_(std::make_shared<spdlog::logger>(
          "kanbench", std::make_shared<spdlog::sinks::stderr_color_sink_st>())) {
  logger_->set_pattern("%^%v%$");
  logger_->set_level(verbosity == Verbosity::quiet     ? spdlog::level::warn
                     : verbosity == Verbosity::verbose ? spdlog::level::debug
                                                       : spdlog::level::info);
}

Console::~Console() { clear_status(); }

void Console::silence() {
  clear_status();
  verbosity_ = Verbosity::quiet;
  live_ = false;
  logger_->set_level(spdlog::level::off);
}

void Console::warn(const std::string& text) {
  clear_status();
  logger_->warn("kanbench: warning: {}", text);
  if (file_) file_->warn("{}", text);
}

void Console::say(const std::string& text) {
  show(text);
  note(text);
}

void Console::show(const std::string& text) {
  clear_status();
  logger_->info("{}", text);
}

void Console::detail(const std::string& text) {
  clear_status();
  logger_->debug("{}", text);
  if (file_) file_->debug("{}", text);
}

void Console::log_to(const std::filesystem::path& path, const std::string& level) {
  file_.reset();
  if (path.empty()) return;
  try {
    file_ = std::make_shared<spdlog::logger>(
        "file", std::make_shared<spdlog::sinks::basic_file_sink_st>(path.string()));
  } catch (const spdlog::spdlog_ex&) {
    throw Error(path.string() + ": the log cannot be written: " + std::strerror(errno) +
                ": use another --output-dir, or --log-level off");
  }
  file_->set_pattern("%Y-%m-%dT%H:%M:%S.%eZ %-5l %v", spdlog::pattern_time_type::utc);
  file_->set_level(spdlog::level::from_str(level));
  file_->flush_on(spdlog::level::debug);
  file_->set_error_handler([this, path](const std::string& why) {
    logger_->warn("kanbench: warning: {}: the log is not written on: {}", path.string(), why);
    file_->set_level(spdlog::level::off);
  });
}

void Console::note(const std::string& text) {
  if (file_) file_->info("{}", text);
}

void Console::status(const std::string& text) {
  if (!live_) return;
  std::fprintf(stderr, "\r%s\033[K", text.c_str());
  std::fflush(stderr);
  drawn_ = true;
}

void Console::clear_status() {
  if (!drawn_) return;
  std::fputs("\r\033[K", stderr);
  std::fflush(stderr);
  drawn_ = false;
}

int Console::columns() const {
  winsize size{};
  return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

namespace {

bool reads_as_number(const std::string& cell) {
  return !cell.empty() && (std::isdigit(static_cast<unsigned char>(cell[0])) || cell[0] == '-' ||
                           cell == "inf" || cell == "nan");
}

}  // namespace

std::string format_table(const std::vector<std::vector<std::string>>& rows) {
  std::vector<std::size_t> width;
  std::vector<bool> number;
  for (std::size_t r = 0; r < rows.size(); ++r) {
    width.resize(std::max(width.size(), rows[r].size()));
    number.resize(width.size(), rows.size() > 1);
    for (std::size_t c = 0; c < rows[r].size(); ++c) {
      width[c] = std::max(width[c], rows[r][c].size());
      if (r > 0 && !rows[r][c].empty() && !reads_as_number(rows[r][c])) number[c] = false;
    }
  }
  std::string table;
  for (const std::vector<std::string>& row : rows) {
    std::string line;
    for (std::size_t c = 0; c < row.size(); ++c) {
      const std::string gap(width[c] - row[c].size(), ' ');
      line += (c ? "  " : "") + (number[c] ? gap + row[c] : row[c] + gap);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    table += line + "\n";
  }
  return table;
}

std::string fixed(double value, int digits) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  char text[64];
  std::snprintf(text, sizeof text, "%.*f", digits, value);
  return text;
}

namespace {

std::string scaled(double value, const char* const* units, int last) {
  int unit = 0;
  for (; unit < last && value >= 999.5; ++unit) value /= 1000;
  return fixed(value, unit == 0 || value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2) + units[unit];
}

}  // namespace

std::string scientific(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.6g", value);
  return text;
}

std::string count(double value) {
  static constexpr const char* units[] = {"", " k", " M", " G", " T"};
  return scaled(value, units, 4);
}

std::string bytes(double value) {
  static constexpr const char* units[] = {" bytes", " kB", " MB", " GB", " TB"};
  return scaled(value, units, 4);
}

std::string duration(double seconds) {
  if (!std::isfinite(seconds) || seconds < 0 || seconds > 1e9) return "?";
  const std::int64_t all = std::llround(seconds);
  char text[48];
  if (all >= 3600)
    std::snprintf(text, sizeof text, "%lld:%02d:%02d", static_cast<long long>(all / 3600),
                  static_cast<int>(all / 60 % 60), static_cast<int>(all % 60));
  else
    std::snprintf(text, sizeof text, "%d:%02d", static_cast<int>(all / 60),
                  static_cast<int>(all % 60));
  return text;
}

}  // namespace kanbench
