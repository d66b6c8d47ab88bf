#pragma once
// What every training has in common: epochs, rates, going back after a step that broke,
// checkpoints.

#include <cstdint>
#include <span>
#include <vector>

#include "kanbench/trainer.h"

namespace kanbench {

/// What a step does, and on which models.
class Stepper {
 public:
  virtual ~Stepper() = default;
  /// All that this rank trains.
  virtual std::vector<Model*> models() const = 0;
  /// Most steps that take() may be given at once.
  virtual std::int64_t most_steps() const { return 1; }
  /// How often a step looks at a batch: an epoch has as many fewer of them.
  virtual int batches_per_step() const { return 1; }
  /// Takes steps number `first` (from 0) and on; ends after the first that is not finite. Returns
  /// the sums of each over the rows that this rank drew, as often as it looked at them.
  virtual std::vector<BatchSums> take(std::int64_t first, std::span<const TrainingStep> steps) = 0;
  /// Brings what it draws to where it is after so many steps.
  virtual void skip(std::int64_t) {}
  /// Whether the models alone say, after so many steps, how training goes on: it is left there, and
  /// comes back there, and nowhere else.
  virtual bool settled(std::int64_t) const { return true; }
  /// The models were brought back to such a place.
  virtual void restored() {}

  /// What it knows beside the models and the number of steps, for one that goes on from there: the
  /// same on all ranks, called by all of them.
  virtual std::vector<double> memory() { return {}; }
  virtual void recall(const std::vector<double>&) {}
  /// Seconds spent on looking where samples are best drawn.
  virtual double sampling_seconds() const { return 0; }

  double communication_seconds() const { return communication_seconds_; }

 protected:
  /// Calls `work` and counts its time as spent on communication.
  template <class Work>
  void communicate(Work&& work);

 private:
  double communication_seconds_ = 0;
};

/// Trains by `stepper` on as many samples an epoch as there are `voxels`.
History run_training(Stepper& stepper, std::int64_t voxels, const Training& training,
                     Communicator& communicator, const Progress& progress,
                     const Continuation& continuation);

/// Seconds since some moment.
double steady_seconds();

template <class Work>
void Stepper::communicate(Work&& work) {
  const double began = steady_seconds();
  work();
  communication_seconds_ += steady_seconds() - began;
}

}  // namespace kanbench
