#include "commands/baselines.h"

#include <algorithm>
#include <cstdlib>

#include "kanbench/interruption.h"

namespace kanbench {
namespace {

// What networks reached on the dataset.
std::vector<double> reached(const ResultFile& rows, const std::string& dataset) {
  const std::vector<std::string> baselines = baseline_names();
  std::vector<double> ratios;
  for (const auto& row : rows.rows()) {
    const bool network =
        std::find(baselines.begin(), baselines.end(), row.at("network_type")) == baselines.end();
    if (network && row.at("dataset_name") == dataset && row.at("status") == "finished")
      ratios.push_back(std::strtod(row.at("compression_ratio").c_str(), nullptr));
  }
  return ratios;
}

// The targets by rank 0: others may be adding rows to the file.
std::vector<double> agree(const Comparison& comparison, const ResultFile& rows,
                          Communicator& communicator) {
  std::vector<double> targets;
  together(communicator, [&] {
    if (communicator.rank() == 0) targets = target_ratios(reached(rows, comparison.dataset));
  });
  std::size_t count = targets.size();
  communicator.broadcast(&count, sizeof count, 0);
  targets.resize(count);
  communicator.broadcast(targets.data(), count * sizeof(double), 0);
  return targets;
}

bool is_lossless(const Baseline& baseline) { return baseline.name == "zstd"; }

void do_one(const Comparison& comparison, const Baseline& baseline, double target, ResultFile& rows,
            Console& console, std::vector<BaselineResult>& results) {
  const std::string title = comparison.dataset + " " + baseline.name +
                            (target > 0 ? " at ratio " + fixed(target, 2) : "");
  const std::string id = baseline_id(baseline, target, comparison.signature);
  if (comparison.resume && !rows.status(id).empty())
    return console.say(title + "  skipped: " + rows.csv().string() + " has " + id +
                       "; --no-resume does it again");
  console.status(title);
  BaselineResult result =
      run_baseline(baseline, comparison.volume, target, comparison.signature, comparison.directory);
  console.clear_status();
  result.dataset = comparison.dataset;
  if (result.status == "failed") console.warn(title + ": failed: " + result.failure);
  rows.append(result.run_id, result.status, csv_row(result), json_line(result));
  results.push_back(std::move(result));
}

}  // namespace

int compare(const Comparison& comparison, ResultFile& rows, Communicator& communicator,
            Console& console, std::vector<BaselineResult>& results) {
  const std::vector<double> targets = agree(comparison, rows, communicator);
  const std::size_t before = results.size();
  // Rank 0 may be at work for long; the others hear of it after each.
  for (const Baseline& baseline : comparison.baselines)
    for (const double target : is_lossless(baseline) ? std::vector<double>{0} : targets) {
      double stop = interruption_wished() ? 1 : 0;
      communicator.maximum(&stop, 1);
      if (stop > 0) break;
      together(communicator, [&] {
        if (communicator.rank() == 0) do_one(comparison, baseline, target, rows, console, results);
      });
    }
  return static_cast<int>(
      std::count_if(results.begin() + static_cast<std::ptrdiff_t>(before), results.end(),
                    [](const BaselineResult& result) { return result.status == "failed"; }));
}

std::string format_baselines(const std::vector<BaselineResult>& results) {
  std::vector<std::vector<std::string>> table = {{"dataset", "baseline", "ratio", "PSNR dB", "SSIM",
                                                  "SSIM 3-D", "compress s", "decompress s", "mode",
                                                  "status"}};
  for (const BaselineResult& r : results) {
    const bool done = r.status == "finished";
    const auto figure = [&](double value, int digits) { return done ? fixed(value, digits) : "-"; };
    table.push_back({r.dataset, r.baseline.name,
                     figure(static_cast<double>(r.data_bytes) / static_cast<double>(r.bytes), 2),
                     figure(r.metrics.psnr, 2), figure(r.metrics.ssim, 4),
                     figure(r.metrics.ssim_3d, 4), figure(r.compress_seconds, 3),
                     figure(r.decompress_seconds, 3), r.mode, r.status});
  }
  return format_table(table);
}

}  // namespace kanbench
