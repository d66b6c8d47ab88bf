#pragma once
// What is kept of a run while it trains: a log of what was said, and numbers to plot.

#include <CLI/CLI.hpp>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>

#include "commands/console.h"
#include "kanbench/benchmark.h"
#include "kanbench/metrics_log.h"

namespace kanbench {

/// --log-level and --metrics-log.
struct LogOptions {
  /// "debug", "info", "warn" or "off".
  std::string level = "info";
  /// "none", "jsonl" or "tensorboard".
  std::string metrics = "none";
  void attach(CLI::App& app, const std::string& group);
};

/// Logs a run while it lives, to DIRECTORY/STEM.log and beside it. Numbers that cannot be written
/// are warned of once and left out from there: the run goes on.
class RunLog {
 public:
  /// Throws Error where the log's files cannot be made.
  RunLog(Console& console, const LogOptions& options, const std::filesystem::path& directory,
         const std::string& stem);
  ~RunLog();
  RunLog(const RunLog&) = delete;
  RunLog& operator=(const RunLog&) = delete;

  /// `calls`, and what they are called with is logged; valid while this object lives.
  BenchmarkProgress wrap(BenchmarkProgress calls, const Run& run);
  void conclude(const Result& result);

 private:
  void begin_trial(int trial, int trials, std::uint64_t seed);
  void end_epoch(int epoch, const Epoch& result);
  void tick(const Tick& now);
  void add(std::uint64_t seed, std::int64_t step, std::span<const Scalar> scalars);

  Console& console_;
  std::unique_ptr<MetricsLog> metrics_;
  std::uint64_t seed_ = 0;
  double ticked_ = 0;
};

}  // namespace kanbench
