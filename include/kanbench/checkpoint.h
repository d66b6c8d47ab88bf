#pragma once
// A training between two steps, on disk: all that it needs to go on with the same bits.

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "kanbench/communicator.h"
#include "kanbench/range.h"
#include "kanbench/trainer.h"

namespace kanbench {

class Model;

/// What "10min" or "5epochs" (also "1epoch", "0.5min") says; throws Error naming `what` for another
/// form.
CheckpointInterval parse_interval(const std::string& word, const std::string& what);

/// A model that this rank trains, by its number among all that are trained together.
struct TrainedModel {
  std::int64_t number = 0;
  Model* model = nullptr;
};

/// The checkpoints of one training: DIRECTORY/NAME.STEP.ckpt, the newest two of them. A checkpoint
/// is a safetensors file with the models' parameters and both moments (tensors "parameters.0",
/// "first_moment.0", "second_moment.0", ".1", ...), the state as JSON in its metadata, and a hash
/// of everything; any number of ranks may have written it and any may read it.
class CheckpointStore {
 public:
  CheckpointStore(std::filesystem::path directory, std::string name);

  /// Called by all ranks, each with what it trains of `count` models. A model that several ranks
  /// have is the same on them but for the moments, of which each has its Model::share(). Writes one
  /// file, takes its name, then removes the third newest, and any of a later step, which this
  /// training did not go on from. Error, on all ranks, where it cannot be written; the older ones
  /// are still there then.
  void save(const TrainingState& state, std::int64_t count, const std::vector<TrainedModel>& mine,
            Communicator& communicator) const;

  /// The newest checkpoint that is whole and fits; sets parameters and moments (each rank's share)
  /// of `mine`. None: there is none. `said` receives a sentence for each that was passed over,
  /// naming file and reason. Called by all ranks, who all take the same.
  std::optional<TrainingState> load(std::int64_t count, const std::vector<TrainedModel>& mine,
                                    Communicator& communicator,
                                    std::vector<std::string>& said) const;

  /// Removes all of them; called by one rank.
  void remove() const;

 private:
  std::filesystem::path directory_;
  std::string name_;
};

}  // namespace kanbench
