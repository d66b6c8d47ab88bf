#pragma once
// Choices that were measured, kept in a file of lines `key<TAB>split seconds<TAB>whole seconds`, so
// that the next process need not measure again.

#include <optional>
#include <string>

#include "kernels/fused.h"

namespace kanbench::cuda {

/// Seconds of a gradient with a kernel for each stage, and with one for all.
struct Tuning {
  double split_seconds = 0, whole_seconds = 0;
};

/// What a measurement depends on.
std::string tuning_key(const std::string& device, const FusedPlan& plan, const GridInfo& grid,
                       const DrawArguments& draw, std::int64_t rows);

/// The last line of `file` with that key; none where there is no file or no such line.
std::optional<Tuning> read_tuning(const std::string& file, const std::string& key);

/// Adds a line; where that is impossible the choice is only not remembered.
void write_tuning(const std::string& file, const std::string& key, const Tuning& tuning);

/// Which is faster, and by how much, in words.
std::string describe(const Tuning& tuning);

}  // namespace kanbench::cuda
