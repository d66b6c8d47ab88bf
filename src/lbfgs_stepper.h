#pragma once
// Training by L-BFGS: a step draws a batch and goes downhill on it for kEvaluations gradients, all
// parameters at once. Nothing is remembered from batch to batch, so that a training can be left
// between any two.

#include "lbfgs.h"
#include "training_loop.h"

namespace kanbench {

class LbfgsStepper : public Stepper {
 public:
  /// Gradients of a step.
  static constexpr int kEvaluations = 32;
  /// Vectors of so many numbers are kept on the host, two dozen of them.
  static constexpr std::int64_t kMostParameters = 1 << 20;

  /// Throws Error for a larger model.
  LbfgsStepper(Model& model, const VolumeView& volume, const Box& box, const Training& training);

  std::vector<Model*> models() const override { return {&model_}; }
  int batches_per_step() const override { return kEvaluations; }
  std::vector<BatchSums> take(std::int64_t first, std::span<const TrainingStep> steps) override;

 private:
  BatchSums differentiate(const std::vector<double>& x, std::vector<double>& gradient);

  Model& model_;
  const VolumeView& volume_;
  const Box& box_;
  std::int64_t rows_;
  Buffer<float> points_, targets_;
  Objective objective_;
  std::vector<float> block_;
};

}  // namespace kanbench
