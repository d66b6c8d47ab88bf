#include "lbfgs_stepper.h"

#include <cmath>

#include "kanbench/error.h"

namespace kanbench {

LbfgsStepper::LbfgsStepper(Model& model, const VolumeView& volume, const Box& box,
                           const Training& training)
    : model_(model),
      volume_(volume),
      box_(box),
      rows_(training.batch_size),
      points_(model.backend(), 3 * rows_),
      targets_(model.backend(), volume.components * rows_),
      objective_{training.loss, 1.0 / static_cast<double>(training.batch_size), {}} {
  if (model.layout().size > kMostParameters)
    throw Error("optimizer lbfgs: the model has " + std::to_string(model.layout().parameters) +
                " parameters, it takes up to " + std::to_string(kMostParameters) +
                ": use a smaller log2_hashmap_size, or another optimizer");
  if (model.layout().transforms >= 0)
    throw Error(
        "optimizer lbfgs: it does not move the grids of adaptive_multi_grid: use another "
        "optimizer or another encoder");
}

BatchSums LbfgsStepper::differentiate(const std::vector<double>& x, std::vector<double>& gradient) {
  Backend& backend = model_.backend();
  block_.assign(x.begin(), x.end());
  model_.upload(block_);
  std::fill(block_.begin(), block_.end(), 0.0f);
  backend.upload(model_.gradient().data(), block_.data(), model_.gradient().bytes());
  backend.gradient_changed(model_);
  const BatchSums sums =
      backend.gradient(model_, {points_.data(), rows_, 3, rows_},
                       {targets_.data(), rows_, volume_.components, rows_}, objective_);
  backend.download(block_.data(), model_.gradient().data(), model_.gradient().bytes());
  gradient.assign(block_.begin(), block_.end());
  return sums;
}

std::vector<BatchSums> LbfgsStepper::take(std::int64_t, std::span<const TrainingStep> steps) {
  const TrainingStep& step = steps.front();
  model_.backend().sample(volume_, box_, step.stream, 0, {points_.data(), rows_, 3, rows_},
                          {targets_.data(), rows_, volume_.components, rows_});
  const std::vector<float> start = model_.download();
  std::vector<double> x(start.begin(), start.end());
  // What the batch was like before it was learnt, as other optimizers have it.
  BatchSums before;
  bool first = true;
  const LbfgsSettings settings{10, kEvaluations, rule_of(step.optimizer).encoder_rate};
  minimise(
      [&](const std::vector<double>& at, std::vector<double>& gradient) {
        const BatchSums sums = differentiate(at, gradient);
        if (std::exchange(first, false)) before = sums;
        return sums.finite ? sums.loss * objective_.scale : NAN;
      },
      settings, x);
  block_.assign(x.begin(), x.end());
  model_.upload(block_);
  before.finite &= std::isfinite(before.loss);
  before.loss *= kEvaluations;
  before.squared_error *= kEvaluations;
  return {before};
}

}  // namespace kanbench
