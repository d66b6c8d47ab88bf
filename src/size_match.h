#pragma once
// Networks of one size: a run's width, and where that does not do its encoder's tables, are chosen
// so that its model has as many parameters, or bytes, as are asked for.

#include "kanbench/run.h"

namespace kanbench {

/// Makes the model of `run` come within 2% of `match`, with a width as near as can be to its own,
/// and says so in run.matched. Throws Error where nothing comes so near.
void match_size(Run& run, const SizeMatch& match);

}  // namespace kanbench
