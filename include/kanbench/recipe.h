#pragma once
// How a run's numbers become an architecture, its first parameters and its training: one recipe per
// decoder, and the reference's own under Run::faithful.

#include <cstdint>

#include "kanbench/model.h"
#include "kanbench/run.h"
#include "kanbench/trainer.h"

namespace kanbench {

/// The architecture of `run`.
ModelSpec make_spec(const Run& run);

/// How its parameters are drawn.
Initialisation make_initialisation(const Run& run);

/// How it is trained.
Training make_training(const Run& run, std::int64_t batch_size, std::uint64_t seed);

}  // namespace kanbench
