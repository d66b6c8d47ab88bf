#pragma once
// An ensemble trained: a model a brick, each by itself, by as many processes as there are.

#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "kanbench/communicator.h"
#include "kanbench/ensemble.h"
#include "kanbench/run.h"
#include "kanbench/trainer.h"

namespace kanbench {

/// Where an ensemble is trained, and how it is left and taken up again.
struct EnsembleSettings {
  /// Where the bricks' files go, alone. Who works on which, and checkpoints, are beside it, in the
  /// directory of that name and ".work". Processes with the same directory share the bricks,
  /// whether they know of each other or not.
  std::filesystem::path directory;
  /// What the training is of; bricks that were trained for another are not taken.
  std::string key;
  /// Share of the free memory that a batch may take where its size is not given.
  double safety_margin = 0.8;
  CheckpointInterval checkpoint_every;
  /// Whether to go on from what is there; else it is removed, unless others are at work on it.
  bool resume = true;
};

struct EnsembleProgress {
  /// A sentence about a brick that begins; one that the user should read.
  std::function<void(const std::string&)> detail, notice;
  /// `tick` tells of all bricks, as far as this process knows; `epoch` is not called.
  Progress training;
};

/// What training left.
struct EnsembleTraining {
  /// Of all bricks, where none failed and nothing was interrupted; the same on all ranks.
  Manifest manifest;
  /// `seconds` is the time in which any process trained a brick; those of the epochs add up to it,
  /// each with the samples, the mean loss and the PSNR of all bricks together.
  History history;
  /// Where history.failed: which brick, and why.
  std::string failure;
  /// Of the largest brick.
  std::int64_t batch_size = 0;
  /// Whether this process, with its ranks, goes on with the result. Of processes that do not know
  /// of each other one does; `assembly` is to be held until it is done, so that where it dies
  /// another can.
  bool assembles = false;
  std::shared_ptr<void> assembly;
};

/// Trains the bricks of `run.decomposition` on `volume` that nobody has trained yet, the largest
/// first, each on its core and ghosts and in its own range. Returns when all are finished, by this
/// process or by others; waits for those that others are at work on, and takes over those whose
/// process has died. Where a brick fails, or a rank is asked to stop, all ranks stop; bricks that
/// are finished stay, one under way leaves a checkpoint. Called by all ranks.
EnsembleTraining train_ensemble(const Run& run, std::uint64_t seed, const Volume& volume,
                                Backend& backend, Communicator& communicator, Precision precision,
                                const EnsembleSettings& settings,
                                const EnsembleProgress& progress = {});

/// Removes the bricks' files and what is beside them; called by one rank.
void remove_ensemble(const std::filesystem::path& directory);

/// The seed that a brick's training has where the run's is `seed`.
std::uint64_t seed_of_brick(std::uint64_t seed, std::int64_t brick);

}  // namespace kanbench
