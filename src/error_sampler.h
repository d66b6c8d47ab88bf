#pragma once
// Samples where the error is: a running mean of squared errors in each brick of a box says how
// often samples are drawn there. They are not weighted for it, so that what is hard counts more.

#include <cstdint>
#include <vector>

#include "kanbench/backend.h"
#include "kanbench/trainer.h"

namespace kanbench {

/// The words that each brick is drawn by: of all, the share `mix` evenly, the rest as `errors`
/// says; evenly where these do not add up to a number above 0. As SamplingGuide has them.
std::vector<std::uint32_t> guide_words(const std::vector<double>& errors, double mix);

class ErrorSampler {
 public:
  /// Steps between two looks at the errors.
  static constexpr std::int64_t kEvery = 32;

  ErrorSampler(Backend& backend, const VolumeView& volume, const Box& box,
               const ErrorSampling& sampling, std::uint64_t seed, int rank);

  /// The volume, drawn from as the errors say.
  VolumeView guided() const;
  /// Steps from number `step` on before the errors are to be looked at anew; 0: now.
  static std::int64_t steps_left(std::int64_t step) { return (kEvery - step % kEvery) % kEvery; }
  /// Looks at the model's errors before step `step`, at points of this step's own.
  void look(const Model& model, std::int64_t step);

  const std::vector<double>& errors() const { return errors_; }
  /// Goes on from errors() of an earlier one.
  void set_errors(const std::vector<double>& errors);
  /// Spent on looking.
  double seconds() const { return seconds_; }

 private:
  std::size_t brick_of(const float* points, std::int64_t row) const;
  void upload_words();

  Backend& backend_;
  VolumeView volume_;
  Box box_;
  ErrorSampling sampling_;
  std::uint64_t seed_;
  int rank_, bricks_[3];
  std::int64_t rows_;
  Buffer<float> points_, targets_, values_;
  Buffer<std::uint32_t> words_;
  std::vector<double> errors_;
  double seconds_ = 0;
};

}  // namespace kanbench
