#pragma once
// The loop of `kanbench bench` over runs.

#include <filesystem>
#include <string>
#include <vector>

#include "commands/console.h"
#include "commands/options.h"
#include "commands/ranks.h"
#include "commands/run_log.h"
#include "commands/selection.h"
#include "kanbench/benchmark.h"
#include "kanbench/io.h"

namespace kanbench {

/// What the command line of `bench` says.
struct BenchOptions {
  RunSelection selection;
  DeviceOptions device;
  RanksOptions ranks;
  CheckpointInterval checkpoint_every;
  LogOptions log;
  double safety_margin = 0.8;
  std::string save_mode = "largest";
  std::string output_directory = "results", output, ssd_directory, slices;
  std::vector<std::string> baselines;
  bool list = false, test_epoch = false, resume = true, quiet = false, verbose = false;
};

/// The options of `bench`, also for commands that speak of its runs.
void attach_bench_options(CLI::App& app, BenchOptions& options);

/// Prints the chosen runs as a table.
void list_runs(const BenchOptions& options);

/// Does the chosen runs one after the other, a row each, and prints what came of them. Returns how
/// many failed.
int run_sweep(const BenchOptions& options, Console& console);

}  // namespace kanbench
