#pragma once
// The ways to train a run, and what each leaves: a field as its files hold it.

#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "kanbench/benchmark.h"
#include "kanbench/checkpoint.h"
#include "kanbench/ensemble.h"
#include "kanbench/recipe.h"
#include "kanbench/stored_model.h"

namespace kanbench {

/// What is decided before a run's first training.
struct TrainingPlan {
  const Run& run;
  const Volume& volume;
  Backend& backend;
  Communicator& communicator;
  const BenchmarkSettings& settings;
  const BenchmarkProgress& progress;
  std::string run_id;
  ModelSpec spec;
  Precision precision = Precision::fp32;
  std::int64_t batch_size = 0;
  /// Whether the backend holds what this rank samples, and where.
  bool resident = true;
  VolumeView view = {};
};

/// Throws Error for a model of another number of outputs than the volume has components, and for a
/// decomposition that several are not trained by.
void require_outputs(const TrainingPlan& plan);

/// What this rank samples: its share of the volume, or the bricks of its hybrid.
Box box_of_rank(const Run& run, const Volume& volume, const Communicator& communicator);

/// The bricks of a hybrid that a rank trains, by number; and the voxels that a brick holds.
Range bricks_of_rank(const Run& run, const Communicator& communicator);
Box held_by(const Run& run, const Shape& shape, std::int64_t brick);

/// One finished training.
class Trained {
 public:
  virtual ~Trained() = default;
  virtual const Field& field() const = 0;
  /// Of all its files.
  virtual std::int64_t bytes() const = 0;
  /// What its numbers take, in words; empty where they are as they were or are those of bricks.
  virtual std::string stored() const { return ""; }
  /// Of all its models; 0: as the plan's architecture has them.
  virtual std::int64_t parameters() const { return 0; }
  /// Of the largest brick's batches; 0: the plan's.
  virtual std::int64_t batch_size() const { return 0; }
  /// Puts its files beneath `directory`, named `stem`, and returns the one to open; the field is
  /// not to be used after. Called by all ranks.
  virtual std::string keep(const std::filesystem::path& directory, const std::string& stem) = 0;
  /// Writes what makes a rerun skip the training, where nothing has yet; called by all ranks.
  virtual void save() {}
};

/// Trains with `seed`; `history` says how it went. Null where the training failed, was interrupted
/// (a checkpoint is written then), was all that was asked for, or where another process, of those
/// that do not know of each other, goes on with an ensemble. Called by all ranks.
std::unique_ptr<Trained> train_run(const TrainingPlan& plan, std::uint64_t seed, History& history);

/// The same, a way a file.
std::unique_ptr<Trained> train_ensemble_run(const TrainingPlan& plan, std::uint64_t seed,
                                            History& history);
std::unique_ptr<Trained> train_hybrid_run(const TrainingPlan& plan, std::uint64_t seed,
                                          History& history);

/// Where trainings' checkpoints are, and where the bricks of one are until they are kept.
std::filesystem::path checkpoint_directory(const BenchmarkSettings& settings);
std::filesystem::path bricks_directory(const TrainingPlan& plan, std::uint64_t seed);
/// What their names begin with: of one training, and of all of a run.
std::string checkpoint_name(const TrainingPlan& plan, std::uint64_t seed);
std::string checkpoint_stem(const Run& run, const std::string& dataset, const std::string& id);

/// How `plan` writes checkpoints of `models`, this rank's among `count`, to `store`, and goes on
/// from the one that it finds there, which is loaded into them.
Continuation make_continuation(const TrainingPlan& plan, const CheckpointStore& store,
                               std::int64_t count, const std::vector<TrainedModel>& models);

}  // namespace kanbench
