// A hybrid: a model a brick, of which the coarse levels and the decoder are averaged over all
// bricks every few steps (local steps of Adam, then a mean: Stich 2019, arXiv:1805.09767).

#include <algorithm>
#include <cmath>

#include "kanbench/decomposition.h"
#include "kanbench/error.h"
#include "kanbench/trainer.h"
#include "training_loop.h"

namespace kanbench {
namespace {

class HybridStepper : public Stepper {
 public:
  HybridStepper(const std::vector<HybridBrick>& bricks, std::span<const std::int64_t> voxels,
                const std::vector<Range>& shared, const VolumeView& volume,
                const Training& training, Communicator& communicator)
      : bricks_(bricks),
        voxels_(voxels),
        shared_(shared),
        volume_(volume),
        training_(training),
        communicator_(communicator) {
    std::int64_t all = 0;
    for (const std::int64_t held : voxels) all += held;
    steps_ = training.epochs * steps_per_epoch(all, training.batch_size);
    for (const HybridBrick& brick : bricks) most_rows_ = std::max(most_rows_, rows_of(brick) + 2);
    Backend& backend = bricks.front().model->backend();
    points_ = Buffer<float>(backend, 3 * most_rows_);
    targets_ = Buffer<float>(backend, most_rows_);
    std::int64_t floats = 0;
    for (const Range& range : shared) floats += range.size();
    means_.resize(static_cast<std::size_t>(kBlocks * floats));
  }

  std::vector<Model*> models() const override {
    std::vector<Model*> all;
    for (const HybridBrick& brick : bricks_) all.push_back(brick.model);
    return all;
  }

  std::vector<BatchSums> take(std::int64_t first, std::span<const TrainingStep> steps) override {
    const TrainingStep& step = steps.front();
    const std::vector<std::int64_t> rows = share_batch(training_.batch_size, voxels_, first);
    BatchSums all;
    for (const HybridBrick& brick : bricks_) {
      const std::int64_t count = rows[static_cast<std::size_t>(brick.number)];
      if (count == 0) continue;
      const BatchSums sums = take_one(brick, first, step, count);
      all.loss += sums.loss;
      all.squared_error += sums.squared_error;
      all.finite &= sums.finite;
    }
    const std::int64_t done = first + 1;
    if (done % training_.share_every == 0 || done == steps_) communicate([&] { average(); });
    return {all};
  }

 private:
  static constexpr int kBlocks = 3;

  // The mean over the steps.
  std::int64_t rows_of(const HybridBrick& brick) const {
    double all = 0;
    for (const std::int64_t voxels : voxels_) all += static_cast<double>(voxels);
    const auto mine = static_cast<double>(voxels_[static_cast<std::size_t>(brick.number)]);
    return static_cast<std::int64_t>(static_cast<double>(training_.batch_size) * mine / all);
  }

  BatchSums take_one(const HybridBrick& brick, std::int64_t index, const TrainingStep& step,
                     std::int64_t rows) {
    Backend& backend = brick.model->backend();
    const Rows points{points_.data(), rows, 3, rows}, targets{targets_.data(), rows, 1, rows};
    const Stream stream = make_stream(training_.seed, static_cast<std::uint32_t>(brick.number),
                                      Purpose::samples, static_cast<std::uint64_t>(index));
    backend.sample(volume_, brick.held, stream, 0, points, targets);
    const Objective objective{training_.loss,
                              1.0 / static_cast<double>(std::max<std::int64_t>(1, rows_of(brick)))};
    return backend.step(*brick.model, {points.data, rows, 3, rows}, {targets.data, rows, 1, rows},
                        objective, step.adam, step.number);
  }

  // Calls `use(model, block, position in means_)` for each shared range of each block of a model.
  template <class Use>
  void each_part(Model& model, Use&& use) {
    std::size_t at = 0;
    for (const Buffer<float>* block :
         {&model.parameters(), &model.first_moment(), &model.second_moment()})
      for (const Range& range : shared_) {
        use(block->data() + range.begin, at, static_cast<std::size_t>(range.size()));
        at += static_cast<std::size_t>(range.size());
      }
  }

  void average() {
    std::fill(means_.begin(), means_.end(), 0.0);
    for (const HybridBrick& brick : bricks_)
      each_part(*brick.model, [&](float* part, std::size_t at, std::size_t count) {
        floats_.resize(count);
        brick.model->backend().download(floats_.data(), part, count * sizeof(float));
        for (std::size_t i = 0; i < count; ++i) means_[at + i] += floats_[i];
      });
    communicator_.sum(means_.data(), static_cast<std::int64_t>(means_.size()));
    const double share = 1 / static_cast<double>(voxels_.size());
    for (const HybridBrick& brick : bricks_) {
      each_part(*brick.model, [&](float* part, std::size_t at, std::size_t count) {
        floats_.resize(count);
        for (std::size_t i = 0; i < count; ++i)
          floats_[i] = static_cast<float>(means_[at + i] * share);
        brick.model->backend().upload(part, floats_.data(), count * sizeof(float));
      });
      brick.model->backend().parameters_changed(*brick.model);
    }
  }

  const std::vector<HybridBrick>& bricks_;
  std::span<const std::int64_t> voxels_;
  const std::vector<Range>& shared_;
  const VolumeView& volume_;
  const Training& training_;
  Communicator& communicator_;
  // Of the whole training; the last ends with an averaging.
  std::int64_t steps_ = 0, most_rows_ = 0;
  Buffer<float> points_, targets_;
  std::vector<double> means_;
  std::vector<float> floats_;
};

}  // namespace

History train_hybrid(const std::vector<HybridBrick>& bricks, std::span<const std::int64_t> voxels,
                     const std::vector<Range>& shared, const VolumeView& volume,
                     const Training& training, Communicator& communicator, const Progress& progress,
                     const Continuation& continuation) {
  check(!bricks.empty(), "a rank without a brick");
  std::int64_t all = 0;
  for (const std::int64_t held : voxels) all += held;
  for (const HybridBrick& brick : bricks)
    if (!brick.model->training()) brick.model->train();
  HybridStepper stepper(bricks, voxels, shared, volume, training, communicator);
  return run_training(stepper, all, training, communicator, progress, continuation);
}

}  // namespace kanbench
