#pragma once
// What a run will take, before it has run: from a measured epoch where there is one, else from what
// its steps compute and move.

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "kanbench/backend.h"
#include "kanbench/run.h"
#include "kanbench/scaling.h"
#include "kanbench/site.h"
#include "kanbench/volume.h"

namespace kanbench {

/// An epoch that was measured. `key` is epoch_key() of its run.
struct EpochTime {
  std::string key, device;
  int ranks = 1;
  std::int64_t batch_size = 0;
  double seconds = 0;
};

/// Names all that decides how long an epoch of `run` takes on a device: runs that differ in nothing
/// but seed, learning rate or number of epochs share it.
std::string epoch_key(const Run& run, const std::string& volume_signature);

/// Adds one to the file, made if need be; processes may do so side by side.
void append_epoch_time(const std::filesystem::path& file, const EpochTime& time);
/// All of the file, none where there is no file. Throws Error naming the line that is not ours.
std::vector<EpochTime> read_epoch_times(const std::filesystem::path& file);

/// What a run is estimated from.
struct EstimateInput {
  Run run;
  Shape shape;
  std::int64_t data_bytes = 0;
  /// Of a training batch, as Backend::bytes_per_row().
  std::size_t row_bytes = 0;
  /// Rank by rank and node; where `device` states no memory, there is enough.
  SiteDevice device;
  Network network;
  double safety_margin = 0.8;
  /// Measured on such a device, or null.
  const EpochTime* measured = nullptr;
};

class RunEstimate {
 public:
  explicit RunEstimate(const EstimateInput& input);

  /// From start to row, on so many ranks.
  double seconds(int ranks) const;
  /// On each device, with all of the volume there that it samples.
  double device_bytes(int ranks) const;
  /// Of a node's memory where `ranks` of them are there; on processors the device is the node.
  double host_bytes(int ranks, bool on_processors) const;
  /// Most ranks that find work.
  int most_ranks() const { return most_ranks_; }
  std::int64_t batch_size() const { return rows_; }
  bool measured() const { return measured_; }

 private:
  double training_seconds(int ranks) const;

  RankCosts costs_;
  ScalingPlan plan_;
  Network network_;
  std::int64_t rows_ = 0;
  int most_ranks_ = 1;
  double steps_ = 0, limit_seconds_ = 0, after_ = 0, factor_ = 1;
  double model_bytes_ = 0, data_bytes_ = 0, row_bytes_ = 0;
  bool measured_ = false;
};

}  // namespace kanbench
