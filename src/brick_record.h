#pragma once
// What is known of a brick whose training has ended, as a line of JSON in the work list; and how
// those of all bricks become one history.

#include <cstdint>
#include <string>
#include <vector>

#include "kanbench/trainer.h"

namespace kanbench {

struct BrickRecord {
  std::int64_t brick = 0;
  /// Of its voxels; equal where it is constant and has no file.
  double low = 0, high = 1;
  std::string file;
  /// When its training began and ended, in seconds of the system's clock.
  double began = 0, ended = 0;
  std::int64_t batch_size = 0;
  History history;
};

std::string to_json(const BrickRecord& record);
/// Throws Error naming `source` for a line that is none.
BrickRecord parse_record(const std::string& json, const std::string& source);

/// See EnsembleTraining::history; the volume's values span `range`.
History combine(const std::vector<BrickRecord>& bricks, double range);

}  // namespace kanbench
