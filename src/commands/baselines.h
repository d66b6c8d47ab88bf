#pragma once
// bench --baselines: compressors beside the networks of a results file.

#include <filesystem>
#include <string>
#include <vector>

#include "commands/console.h"
#include "kanbench/baseline.h"
#include "kanbench/communicator.h"
#include "kanbench/result.h"

namespace kanbench {

/// What is compared on one volume, and where to.
struct Comparison {
  const std::vector<Baseline>& baselines;
  const Volume& volume;
  std::string dataset, signature;
  /// Where programs' files lie while they are needed.
  std::filesystem::path directory;
  /// Leaves out what has a row.
  bool resume = true;
};

/// Each baseline at each ratio that a network has a finished row for, by rank 0, a row each, added
/// to its `results`; returns how many failed there. Called by all ranks; ends early where an
/// interruption is wished.
int compare(const Comparison& comparison, ResultFile& rows, Communicator& communicator,
            Console& console, std::vector<BaselineResult>& results);

/// As a table.
std::string format_baselines(const std::vector<BaselineResult>& results);

}  // namespace kanbench
