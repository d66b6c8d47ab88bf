#include "error_sampler.h"

#include <algorithm>
#include <cmath>

#include "training_loop.h"

namespace kanbench {
namespace {

// Of an even look at a box: enough a brick for a mean that says something, few beside the steps
// between two looks.
constexpr std::int64_t kRowsPerBrick = 16;
// What a look's errors count beside those before.
constexpr double kNew = 0.3;

}  // namespace

std::vector<std::uint32_t> guide_words(const std::vector<double>& errors, double mix) {
  double all = 0;
  for (const double error : errors) all += error;
  const bool even = !(all > 0) || !std::isfinite(all);
  const auto count = static_cast<double>(errors.size());
  std::vector<std::uint32_t> ends;
  double sum = 0;
  for (const double error : errors) {
    sum += even ? 1 / count : mix / count + (1 - mix) * error / all;
    ends.push_back(static_cast<std::uint32_t>(std::min(sum * 4294967296.0, 4294967295.0)));
  }
  return ends;
}

ErrorSampler::ErrorSampler(Backend& backend, const VolumeView& volume, const Box& box,
                           const ErrorSampling& sampling, std::uint64_t seed, int rank)
    : backend_(backend),
      volume_(volume),
      box_(box),
      sampling_(sampling),
      seed_(seed),
      rank_(rank),
      bricks_{} {
  for (std::size_t d = 0; d < 3; ++d)
    bricks_[d] =
        static_cast<int>(std::min<std::int64_t>(sampling.bricks, box.high[d] - box.low[d]));
  const std::int64_t count = std::int64_t{bricks_[0]} * bricks_[1] * bricks_[2];
  rows_ = kRowsPerBrick * count;
  points_ = Buffer<float>(backend, 3 * rows_);
  targets_ = Buffer<float>(backend, volume.components * rows_);
  values_ = Buffer<float>(backend, volume.components * rows_);
  words_ = Buffer<std::uint32_t>(backend, count);
  set_errors(std::vector<double>(static_cast<std::size_t>(count)));
}

VolumeView ErrorSampler::guided() const {
  VolumeView view = volume_;
  view.guide = {{bricks_[0], bricks_[1], bricks_[2]}, words_.data()};
  return view;
}

void ErrorSampler::set_errors(const std::vector<double>& errors) {
  errors_ = errors;
  upload_words();
}

void ErrorSampler::upload_words() {
  const std::vector<std::uint32_t> ends = guide_words(errors_, sampling_.mix);
  backend_.upload(words_.data(), ends.data(), words_.bytes());
}

std::size_t ErrorSampler::brick_of(const float* points, std::int64_t row) const {
  const std::int64_t size[3] = {volume_.shape.x, volume_.shape.y, volume_.shape.z};
  std::int64_t brick = 0;
  for (int d = 2; d >= 0; --d) {
    const auto axis = static_cast<std::size_t>(d);
    const double voxel =
        static_cast<double>(points[d * rows_ + row]) * static_cast<double>(size[d]) -
        static_cast<double>(box_.low[axis]);
    const double held = static_cast<double>(box_.high[axis] - box_.low[axis]);
    const auto place = static_cast<std::int64_t>(voxel / held * bricks_[d]);
    brick = brick * bricks_[d] + std::clamp<std::int64_t>(place, 0, bricks_[d] - 1);
  }
  return static_cast<std::size_t>(brick);
}

// Rows are added one by one in their order, so that sums do not depend on who computes.
void ErrorSampler::look(const Model& model, std::int64_t step) {
  const double began = steady_seconds();
  const int outputs = volume_.components;
  const Rows points{points_.data(), rows_, 3, rows_};
  const Rows targets{targets_.data(), rows_, outputs, rows_};
  const Stream stream = make_stream(seed_, static_cast<std::uint32_t>(rank_), Purpose::errors,
                                    static_cast<std::uint64_t>(step));
  backend_.sample(volume_, box_, stream, 0, points, targets);
  backend_.predict(model, {points_.data(), rows_, 3, rows_},
                   {values_.data(), rows_, outputs, rows_});
  const auto rows = static_cast<std::size_t>(rows_);
  std::vector<float> at(3 * rows), wanted(targets_.bytes() / sizeof(float)), found(wanted.size());
  backend_.download(at.data(), points_.data(), points_.bytes());
  backend_.download(wanted.data(), targets_.data(), targets_.bytes());
  backend_.download(found.data(), values_.data(), values_.bytes());
  std::vector<double> sums(errors_.size()), counts(errors_.size());
  for (std::size_t i = 0; i < rows; ++i) {
    const std::size_t brick = brick_of(at.data(), static_cast<std::int64_t>(i));
    for (std::size_t k = i; k < wanted.size(); k += rows) {
      const double error = static_cast<double>(found[k]) - static_cast<double>(wanted[k]);
      sums[brick] += error * error;
    }
    counts[brick] += outputs;
  }
  for (std::size_t b = 0; b < errors_.size(); ++b) {
    if (counts[b] == 0 || !std::isfinite(sums[b])) continue;
    const double mean = sums[b] / counts[b];
    errors_[b] = errors_[b] > 0 ? (1 - kNew) * errors_[b] + kNew * mean : mean;
  }
  upload_words();
  seconds_ += steady_seconds() - began;
}

}  // namespace kanbench
