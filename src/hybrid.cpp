// A hybrid: a model a brick, of which the coarse levels and the decoder are brought together every
// few steps: local steps of the optimizer, then the mean of what they changed (Stich 2019,
// arXiv:1805.09767), over those bricks that changed it: a table's row is often one brick's alone.

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
    points_ = Buffer<float>(backend(), 3 * most_rows_);
    targets_ = Buffer<float>(backend(), most_rows_);
    std::int64_t floats = 0;
    for (const Range& range : shared) floats += range.size();
    common_.resize(static_cast<std::size_t>(kBlocks * floats));
    changes_.resize(2 * common_.size());
    block_ = Buffer<float>(backend(), static_cast<std::int64_t>(changes_.size()));
    restored();
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
    if (settled(first + 1)) communicate([&] { average(); });
    return {all};
  }

  bool settled(std::int64_t steps) const override {
    return steps % training_.share_every == 0 || steps == steps_;
  }

  void restored() override {
    each_part(*bricks_.front().model, [&](float* part, std::size_t at, std::size_t count) {
      backend().download(common_.data() + at, part, count * sizeof(float));
    });
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
    const Rows points{points_.data(), rows, 3, rows}, targets{targets_.data(), rows, 1, rows};
    const Stream stream = make_stream(training_.seed, static_cast<std::uint32_t>(brick.number),
                                      Purpose::samples, static_cast<std::uint64_t>(index));
    backend().sample(volume_, brick.held, stream, 0, points, targets);
    const Objective objective{training_.loss,
                              1.0 / static_cast<double>(std::max<std::int64_t>(1, rows_of(brick))),
                              training_.edges};
    return backend().step(*brick.model, {points.data, rows, 3, rows}, {targets.data, rows, 1, rows},
                          objective, step.optimizer, step.number);
  }

  Backend& backend() const { return bricks_.front().model->backend(); }

  // Calls `use(floats, position in common_, count)` for each shared range of each of a model's
  // blocks.
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
    // Sums of the changes, then how many bricks made one.
    std::fill(changes_.begin(), changes_.end(), 0.0f);
    const std::size_t counts = common_.size();
    for (const HybridBrick& brick : bricks_)
      each_part(*brick.model, [&](float* part, std::size_t at, std::size_t count) {
        floats_.resize(count);
        backend().download(floats_.data(), part, count * sizeof(float));
        for (std::size_t i = 0; i < count; ++i) {
          changes_[at + i] += floats_[i] - common_[at + i];
          changes_[counts + at + i] += floats_[i] != common_[at + i] ? 1.0f : 0.0f;
        }
      });
    sum_changes();
    for (std::size_t i = 0; i < counts; ++i)
      if (changes_[counts + i] > 0) common_[i] += changes_[i] / changes_[counts + i];
    for (const HybridBrick& brick : bricks_) {
      each_part(*brick.model, [&](float* part, std::size_t at, std::size_t count) {
        backend().upload(part, common_.data() + at, count * sizeof(float));
      });
      backend().parameters_changed(*brick.model);
    }
  }

  void sum_changes() {
    if (communicator_.size() == 1) return;
    backend().upload(block_.data(), changes_.data(), block_.bytes());
    communicator_.begin_sum(block_.data(), {0, block_.size()}, Wire::fp32);
    communicator_.finish();
    backend().download(changes_.data(), block_.data(), block_.bytes());
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
  // What all bricks had when they were last brought together.
  std::vector<float> common_, floats_, changes_;
  Buffer<float> block_;
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
