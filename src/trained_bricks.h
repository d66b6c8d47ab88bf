#pragma once
// A finished training that left a model a brick.

#include "trained.h"

namespace kanbench {

/// Bricks in `directory`, of which the run's copies are made where they are kept, and which is
/// removed with its checkpoints. `assembly` ends with the object: see ensemble_training.h.
class TrainedBricks : public Trained {
 public:
  TrainedBricks(const TrainingPlan& plan, std::filesystem::path directory, Manifest manifest,
                std::int64_t batch_size, std::shared_ptr<void> assembly);
  const Field& field() const override { return field_; }
  std::int64_t bytes() const override { return field_.bytes(); }
  std::int64_t parameters() const override;
  std::int64_t batch_size() const override { return batch_size_; }
  std::string keep(const std::filesystem::path& directory, const std::string& stem) override;

 private:
  void copy_to(const std::filesystem::path& kept) const;

  const TrainingPlan& plan_;
  std::int64_t batch_size_;
  std::shared_ptr<void> assembly_;
  std::filesystem::path directory_;
  Ensemble field_;
};

/// Opens them on all ranks, trained with batches of `batch_size` (0: the plan's).
std::unique_ptr<Trained> open_bricks(const TrainingPlan& plan,
                                     const std::filesystem::path& directory, Manifest manifest,
                                     std::int64_t batch_size = 0,
                                     std::shared_ptr<void> assembly = {});

/// "brick_007.safetensors".
std::string brick_file_name(std::int64_t brick);

}  // namespace kanbench
