#pragma once
// kanbench perf --scaling: steps on many ranks, on paper and, beside it, as they are.

#include <CLI/CLI.hpp>
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "commands/ranks.h"
#include "kanbench/run.h"
#include "kanbench/scaling.h"

namespace kanbench {

class Backend;
class Model;

struct ScalingOptions {
  bool wanted = false, measured = false;
  std::string ranks = "1..4096";
  std::vector<std::string> networks = {"nvlink", "ib-ndr", "ethernet-10g"};
  std::vector<std::string> decompositions = {"shared", "sharded", "ensemble", "hybrid"};
  double step_ms = 0;
  RanksOptions launched;

  void attach(CLI::App& app);
  /// Throws Error for what cannot be: ranks, networks, options that belong together.
  void check() const;
};

/// "1,2,7" or "1..4096" (both ends and the powers of two between), or some of both; rising, each
/// once. Throws Error naming `what`.
std::vector<std::int64_t> parse_ranks(const std::string& word, const std::string& what);

/// What is measured on one rank: steps of `rows`, and what they cost.
struct OneRank {
  std::int64_t rows = 0, parameters = 0;
  std::string precision;
  RankCosts costs;
};
OneRank measure_one_rank(const Run& run, const Volume& volume, Backend& backend, double seconds);

/// The plan that a word of --decomposition stands for.
ScalingPlan plan_of(const std::string& word, const Run& run, const Volume& volume);

/// Prints a table a decomposition and network; returns them.
nlohmann::ordered_json report_scaling(const Run& run, const Volume& volume, Backend& backend,
                                      double seconds, const ScalingOptions& options);

/// The same for the ranks that there are: prints what was measured beside what the model says.
/// Called by all ranks; rank 0 prints.
nlohmann::ordered_json report_measured(const Run& run, const Volume& volume, Backend& backend,
                                       Communicator& communicator, double seconds,
                                       const ScalingOptions& options);

nlohmann::ordered_json to_json(const OneRank& one);
nlohmann::ordered_json to_json(const ScaledStep& step);

}  // namespace kanbench
