#pragma once
// Numbers noted while a run trains, for other programs to plot.

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>

namespace kanbench {

/// A number under a name, "train/loss".
struct Scalar {
  const char* tag;
  double value;
};

/// Where numbers go; what was added is in the file when add() returns.
class MetricsLog {
 public:
  virtual ~MetricsLog() = default;
  /// Numbers at a step of the training with this seed. Throws Error or SystemError where they
  /// cannot be written.
  virtual void add(std::uint64_t seed, std::int64_t step, std::span<const Scalar> scalars) = 0;
};

/// Opens the log of a run in `directory`, of the form "jsonl" (STEM.metrics.jsonl, a line a call:
/// {"time":..,"seed":..,"step":..,"train/loss":..}) or "tensorboard" (STEM_seedN/events.out.*).
/// What is there stays and is gone on from. Throws Error for another form.
std::unique_ptr<MetricsLog> open_metrics_log(const std::string& form,
                                             const std::filesystem::path& directory,
                                             const std::string& stem);

}  // namespace kanbench
