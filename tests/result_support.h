#pragma once
// Results for tests: a plausible one, and the cells of its row.

#include <algorithm>
#include <string>
#include <vector>

#include "kanbench/result.h"

namespace kanbench::test {

/// Two trials of a FastKAN.
inline Result sample_result(const std::string& run_id) {
  Result result;
  result.run.dataset = "nucleon";
  result.run.network_type = "fastkan";
  result.run.lrate = 0.01;
  result.run.epochs = 2;
  result.run.n_levels = 8;
  result.run.per_level_scale = 1.38;
  result.run.seed = 18446744073709551615u;
  result.run.repeats = 2;
  result.run.kan.grid_radius_step = 0.5;
  result.run_id = run_id;
  for (int i = 0; i < 2; ++i) {
    Trial trial;
    trial.seed = 7 + static_cast<std::uint64_t>(i);
    trial.history.epochs = {{0.5, 10, 1, 100}, {0.25, 20, 3, 100}};
    trial.history.recoveries = {{1, 5, 0.005}};
    trial.history.seconds = 4.5;
    trial.metrics.psnr = 40 + 2 * i;
    trial.metrics.mse = 0.25;
    trial.inr_bytes = 1000 * (i + 1);
    trial.reconstruct_seconds = 0.25;
    result.trials.push_back(trial);
  }
  result.batch_size = 256;
  result.data_bytes = 68921;
  result.n_parameters = 1234;
  result.precision = "fp32";
  result.device = "cpu 2 threads, \"avx2\"";
  result.hostname = "host";
  result.started_at = "2024-05-01T12:00:00Z";
  result.ssim_variant = "11x11 Gaussian, border cropped";
  return result;
}

/// The fields of a CSV line, quotes taken off.
inline std::vector<std::string> fields(const std::string& line) {
  std::vector<std::string> found(1);
  bool inside = false;
  for (std::size_t i = 0; i < line.size(); ++i) {
    if (line[i] == '"' && inside && i + 1 < line.size() && line[i + 1] == '"')
      found.back() += line[++i];
    else if (line[i] == '"')
      inside = !inside;
    else if (line[i] == ',' && !inside)
      found.emplace_back();
    else
      found.back() += line[i];
  }
  return found;
}

/// The field of column `name` in the row `line`.
inline std::string field(const std::string& line, const std::string& name) {
  const auto& names = csv_columns();
  const auto at = std::find(names.begin(), names.end(), name) - names.begin();
  return fields(line).at(static_cast<std::size_t>(at));
}

inline std::string cell(const Result& result, const std::string& name) {
  return field(csv_row(result), name);
}

}  // namespace kanbench::test
