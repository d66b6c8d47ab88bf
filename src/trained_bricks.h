#pragma once
// A finished training that left a model a brick.

#include "trained.h"

namespace kanbench {

/// Takes over `directory`, where the bricks' files are: it becomes the run's, or goes with the
/// object.
class TrainedBricks : public Trained {
 public:
  TrainedBricks(const TrainingPlan& plan, std::filesystem::path directory, Manifest manifest);
  ~TrainedBricks() override;
  const Field& field() const override { return field_; }
  std::int64_t bytes() const override { return field_.bytes(); }
  std::int64_t parameters() const override { return field_.parameters(); }
  std::string keep(const std::filesystem::path& directory, const std::string& stem) override;

 private:
  const TrainingPlan& plan_;
  std::filesystem::path directory_;
  Ensemble field_;
};

/// "brick_007.safetensors".
std::string brick_file_name(std::int64_t brick);

}  // namespace kanbench
