#pragma once
// What becomes of voxels without a value: NaN, infinity, and what a file says means "none".

#include <string>

namespace kanbench {

struct Missing {
  enum class Rule { error, nearest, min, max, mean, number };
  Rule rule = Rule::error;
  double number = 0;
};

/// "error", "nearest", "min", "max", "mean" or a finite number; throws Error naming `what` for
/// another word.
Missing parse_missing(const std::string& word, const std::string& what);

/// The word.
std::string text(const Missing& missing);

}  // namespace kanbench
