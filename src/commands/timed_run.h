#pragma once
// One run of a parameter file, ready to be timed on a volume that the device holds.

#include <functional>
#include <vector>

#include "kanbench/benchmark.h"
#include "kanbench/recipe.h"

namespace kanbench {

class TimedRun {
 public:
  /// A batch of `rows`, or as the run says and else chosen where 0. Throws Error where the volume
  /// does not fit the device's memory.
  TimedRun(const Run& run, const Volume& volume, Backend& backend, std::int64_t rows = 0);

  std::int64_t rows() const { return rows_; }
  Model& model() { return model_; }
  const Training& training() const { return training_; }
  const VolumeView& view() const { return view_; }

  /// A second of each takes about `seconds`: samples, samples and voxels a second.
  double training_rate(double seconds);
  double inference_rate(double seconds);
  double decoding_rate(double seconds);
  /// Each stage of a step timed alone.
  std::vector<Stage> stages();
  /// Seconds of a step of a rank alone, and of the stages of a rank among others, which updates all
  /// parameters by gradients summed elsewhere; measured in turns, the least of each.
  struct Steps {
    double alone = 0, sample = 0, gradient = 0, update = 0;
  };
  Steps steps(double seconds);

 private:
  std::int64_t choose_rows() const;
  void train();
  Steps take_both();
  void wait_for(const Buffer<float>& computed);
  double seconds_of(const std::function<void()>& work, const Buffer<float>& computed);
  Rows values() const { return {values_.data(), rows_, spec_.outputs(), rows_}; }

  const Run& run_;
  const Volume& volume_;
  Backend& backend_;
  ModelSpec spec_;
  std::int64_t rows_, step_ = 0;
  Training training_;
  Model model_;
  Buffer<float> points_, values_;
  VolumeView view_;
};

/// Calls a second, best of five turns that share `seconds`: what the code can do, not what else the
/// machine was doing. `finish` waits for what was begun.
double best_rate(double seconds, const std::function<void()>& work,
                 const std::function<void()>& finish);

}  // namespace kanbench
