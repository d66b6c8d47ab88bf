#pragma once
// One key of a run and the values that it sweeps over.

#include <string>
#include <vector>

#include "json_node.h"
#include "run_key.h"

namespace kanbench {

struct Axis {
  const RunKey* key = nullptr;
  /// In the file's order, at least one.
  std::vector<Setting> settings;
  /// A range's step; 0 for a single value or a list.
  double step = 0;
};

/// A member of a run as it stands in its file, for messages.
struct Place {
  const std::string& source;
  std::string path;
};

/// The values that `value` gives to `key`: one, a range [low, high] with `step` (null: 1), or
/// {"values": [...]}. Throws Error for a wrong type, a value out of bounds, an empty or reversed
/// sweep, and one of more than `limit` values.
Axis read_axis(const RunKey& key, const JsonNode& value, const JsonNode* step, const Place& place,
               std::int64_t limit);

/// Throws the Error "source: path is value, must be wanted".
[[noreturn]] void refuse(const Place& place, const JsonNode& value, const std::string& wanted);

}  // namespace kanbench
