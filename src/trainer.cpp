#include "kanbench/trainer.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <optional>

#include "kanbench/brick_stream.h"
#include "kanbench/error.h"
#include "kanbench/metrics.h"

namespace kanbench {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// A copy of everything an update changes, to come back to.
class Snapshot {
 public:
  explicit Snapshot(Model& model) : model_(&model) {
    for (const Buffer<float>* block : blocks())
      copies_.emplace_back(model.backend(), block->size());
  }
  void take(std::int64_t adam_steps) {
    adam_steps_ = adam_steps;
    for (std::size_t i = 0; i < copies_.size(); ++i)
      model_->backend().copy(copies_[i].data(), blocks()[i]->data(), copies_[i].bytes());
  }
  // Returns the count of Adam's steps at take().
  std::int64_t restore() const {
    for (std::size_t i = 0; i < copies_.size(); ++i)
      model_->backend().copy(blocks()[i]->data(), copies_[i].data(), copies_[i].bytes());
    model_->backend().parameters_changed(*model_);
    return adam_steps_;
  }

 private:
  std::array<const Buffer<float>*, 3> blocks() const {
    return {&model_->parameters(), &model_->first_moment(), &model_->second_moment()};
  }
  Model* model_;
  std::vector<Buffer<float>> copies_;
  std::int64_t adam_steps_ = 0;
};

class Loop {
 public:
  Loop(Model& model, const VolumeView& volume, const Box& box, const Training& training,
       Communicator& communicator, const Progress& progress)
      : model_(model),
        volume_(volume),
        box_(box),
        training_(training),
        communicator_(communicator),
        progress_(progress),
        points_(model.backend(), 3 * training.batch_size),
        targets_(model.backend(), training.batch_size),
        snapshot_(model),
        objective_{training.loss,
                   1.0 / static_cast<double>(training.batch_size * communicator.size())},
        steps_(steps_per_epoch(volume.shape.count(), training.batch_size, communicator.size())) {}

  // From here on samples are drawn from bricks of `volume`.
  void stream(const Volume& volume) {
    Backend& backend = model_.backend();
    const std::size_t working = backend.working_bytes(model_.spec(), training_.batch_size);
    const std::size_t free = backend.free_bytes();
    // An eighth is left for what a step needs beside its rows.
    const std::size_t budget = (free - std::min(free, working)) / 8 * 7;
    bricks_.emplace(backend, volume, plan_bricks(volume, box_, budget),
                    BrickOrder{training_.seed, communicator_.rank(), training_.batch_size});
  }

  History run() {
    snapshot_.take(0);
    for (int epoch = 0; epoch < training_.epochs && !history_.failed; ++epoch) run_epoch(epoch);
    history_.seconds = seconds_since(start_);
    return std::move(history_);
  }

 private:
  static constexpr std::int64_t kSnapshotSteps = 64;
  static constexpr int kMaxFailures = 3;

  void run_epoch(int epoch) {
    const Clock::time_point began = Clock::now();
    BatchSums sums;
    std::int64_t rows = 0;
    const std::int64_t end = step_ + steps_;
    for (bool begins = true; step_ < end && !history_.failed; begins = false) {
      keep_snapshot(begins);
      for (const BatchSums& batch : take_steps(epoch, group_size(end))) {
        if (batch.finite) {
          if (++good_steps_ == kSnapshotSteps) failures_ = 0;
          rows += training_.batch_size;
          sums.loss += batch.loss;
          sums.squared_error += batch.squared_error;
          tick(batch);
        } else {
          recover(epoch);
        }
        ++step_;
      }
    }
    Epoch result;
    result.samples = rows;
    result.loss = rows ? sums.loss / static_cast<double>(rows) : NAN;
    result.psnr = rows ? psnr_of(sums.squared_error / static_cast<double>(rows)) : NAN;
    result.seconds = seconds_since(began);
    history_.epochs.push_back(result);
    if (progress_.epoch) progress_.epoch(epoch, result);
  }

  // A snapshot is a pass over all parameters: within an epoch it waits for as many samples as
  // there are parameters, beside whose arithmetic it costs nothing.
  std::int64_t steps_between_snapshots() const {
    const std::int64_t batch = training_.batch_size;
    return std::max(kSnapshotSteps, (model_.layout().size + batch - 1) / batch);
  }

  void keep_snapshot(bool epoch_begins) {
    const std::int64_t steps = step_ - snapshot_step_;
    if (steps < (epoch_begins ? kSnapshotSteps : steps_between_snapshots())) return;
    snapshot_.take(adam_steps_);
    snapshot_step_ = step_;
  }

  // Steps that may be taken at once: up to the next snapshot and before step `end`.
  std::int64_t group_size(std::int64_t end) const {
    if (communicator_.size() > 1 || bricks_) return 1;
    const std::int64_t snapshot = snapshot_step_ + steps_between_snapshots();
    return std::min({std::int64_t{model_.backend().steps_per_call()}, end - step_,
                     std::max<std::int64_t>(1, snapshot - step_)});
  }

  // The sums of up to `count` steps, of which no more than the last is not finite.
  std::vector<BatchSums> take_steps(int epoch, std::int64_t count) {
    std::vector<TrainingStep> steps;
    for (std::int64_t i = 0; i < count; ++i) steps.push_back(step_at(epoch, i));
    std::vector<BatchSums> sums;
    if (communicator_.size() == 1 && !bricks_)
      sums = model_.backend().train(model_, volume_, box_, objective_, steps, points(), targets());
    else
      sums.push_back(take_step(steps.front()));
    adam_steps_ += static_cast<std::int64_t>(sums.size());
    return sums;
  }

  // The step `ahead` of the one under way.
  TrainingStep step_at(int epoch, std::int64_t ahead) const {
    TrainingStep step;
    step.stream = make_stream(training_.seed, static_cast<std::uint32_t>(communicator_.rank()),
                              Purpose::samples, static_cast<std::uint64_t>(step_ + ahead));
    step.adam = training_.adam;
    const double rate = rate_at(epoch, step_ + ahead);
    step.adam.encoder_rate = static_cast<float>(rate);
    step.adam.decoder_rate = static_cast<float>(rate * training_.decoder_rate);
    step.number = adam_steps_ + 1 + ahead;
    return step;
  }

  BatchSums take_step(const TrainingStep& step) {
    Backend& backend = model_.backend();
    const std::int64_t batch = training_.batch_size;
    if (bricks_)
      bricks_->sample(step.stream, points(), targets());
    else
      backend.sample(volume_, box_, step.stream, 0, points(), targets());
    const ConstRows read{points_.data(), batch, 3, batch}, wanted{targets_.data(), batch, 1, batch};
    if (communicator_.size() == 1)
      return backend.step(model_, read, wanted, objective_, step.adam, step.number);
    BatchSums sums = backend.gradient(model_, read, wanted, objective_);
    communicator_.sum(model_.gradient().data(), model_.gradient().size());
    backend.gradient_changed(model_);
    sums.finite = backend.update(model_, step.adam, step.number) && std::isfinite(sums.loss);
    return sums;
  }

  Rows points() const { return {points_.data(), training_.batch_size, 3, training_.batch_size}; }
  Rows targets() const { return {targets_.data(), training_.batch_size, 1, training_.batch_size}; }

  double rate_at(int epoch, std::int64_t step) const {
    double rate = training_.lrate * std::pow(0.5, halvings_);
    if (training_.lrate_decay > 0) rate *= std::pow(0.5, epoch / training_.lrate_decay);
    if (training_.anneal <= 0) return rate;
    const double all = static_cast<double>(steps_) * training_.epochs;
    const double left = (all - static_cast<double>(step)) / (all * training_.anneal);
    return rate * std::clamp(left, 0.01, 1.0);
  }

  void recover(int epoch) {
    adam_steps_ = snapshot_.restore();
    ++halvings_;
    history_.failed = ++failures_ >= kMaxFailures;
    good_steps_ = 0;
    history_.recoveries.push_back({epoch, step_, rate_at(epoch, step_)});
    if (progress_.recovery) progress_.recovery(history_.recoveries.back());
  }

  void tick(const BatchSums& batch) {
    if (!progress_.tick || seconds_since(ticked_) < 0.1) return;
    ticked_ = Clock::now();
    const double rows = static_cast<double>(training_.batch_size);
    const double done = static_cast<double>(step_ + 1);
    progress_.tick(done / (static_cast<double>(steps_) * training_.epochs),
                   done * rows / seconds_since(start_), batch.loss / rows,
                   psnr_of(batch.squared_error / rows));
  }

  Model& model_;
  const VolumeView& volume_;
  const Box& box_;
  const Training& training_;
  Communicator& communicator_;
  const Progress& progress_;
  Buffer<float> points_, targets_;
  Snapshot snapshot_;
  Objective objective_;
  std::optional<BrickStream> bricks_;
  std::int64_t steps_, step_ = 0, snapshot_step_ = 0, adam_steps_ = 0;
  std::int64_t good_steps_ = 0;
  int failures_ = 0, halvings_ = 0;
  History history_;
  Clock::time_point start_ = Clock::now(), ticked_ = start_;
};

}  // namespace

double History::samples_per_second() const {
  std::int64_t samples = 0;
  double time = 0;
  for (const Epoch& epoch : epochs) {
    samples += epoch.samples;
    time += epoch.seconds;
  }
  return time > 0 ? static_cast<double>(samples) / time : 0;
}

std::int64_t steps_per_epoch(std::int64_t voxels, std::int64_t batch_size, int ranks) {
  const std::int64_t rows = batch_size * ranks;
  return (voxels + rows - 1) / rows;
}

std::int64_t choose_batch_size(std::int64_t voxels, std::size_t bytes_per_row,
                               std::size_t free_bytes, double safety_margin) {
  const double room = static_cast<double>(free_bytes) * safety_margin;
  const double cap = std::min(262144.0, room / static_cast<double>(bytes_per_row));
  const std::int64_t wanted = std::min(voxels / 256, static_cast<std::int64_t>(cap));
  return std::clamp<std::int64_t>(wanted / 256 * 256, 256, 262144);
}

namespace {

void prepare(Model& model, const Box& box, const Training& training) {
  check(training.batch_size > 0, "an empty batch");
  check(box.shape().count() > 0, "an empty box");
  if (!model.training()) model.train();
}

}  // namespace

History train(Model& model, const VolumeView& volume, const Box& box, const Training& training,
              Communicator& communicator, const Progress& progress) {
  prepare(model, box, training);
  return Loop(model, volume, box, training, communicator, progress).run();
}

History train_in_bricks(Model& model, const Volume& volume, const Box& box,
                        const Training& training, Communicator& communicator,
                        const Progress& progress) {
  prepare(model, box, training);
  const VolumeView view = volume.view();
  Loop loop(model, view, box, training, communicator, progress);
  loop.stream(volume);
  return loop.run();
}

}  // namespace kanbench
