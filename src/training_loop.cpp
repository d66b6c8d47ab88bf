#include "training_loop.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>

#include "kanbench/metrics.h"

namespace kanbench {
namespace {

// A copy of everything an update changes, to come back to.
class Snapshot {
 public:
  explicit Snapshot(Model& model) : model_(&model) {
    for (const Buffer<float>* block : blocks())
      copies_.emplace_back(model.backend(), block->size());
  }
  void take() {
    for (std::size_t i = 0; i < copies_.size(); ++i)
      model_->backend().copy(copies_[i].data(), blocks()[i]->data(), copies_[i].bytes());
  }
  void restore() const {
    for (std::size_t i = 0; i < copies_.size(); ++i)
      model_->backend().copy(blocks()[i]->data(), copies_[i].data(), copies_[i].bytes());
    model_->backend().parameters_changed(*model_);
  }

 private:
  std::array<const Buffer<float>*, 3> blocks() const {
    return {&model_->parameters(), &model_->first_moment(), &model_->second_moment()};
  }
  Model* model_;
  std::vector<Buffer<float>> copies_;
};

class Loop {
 public:
  Loop(Stepper& stepper, std::int64_t voxels, const Training& training, Communicator& communicator,
       const Progress& progress, const Continuation& continuation)
      : stepper_(stepper),
        training_(training),
        communicator_(communicator),
        progress_(progress),
        continuation_(continuation),
        steps_(steps_per_epoch(voxels, training.batch_size)) {
    for (Model* model : stepper.models()) {
      snapshots_.emplace_back(*model);
      largest_ = std::max(largest_, model->layout().size);
      grids_ = adaptive_grids(model->spec().encoder);
    }
    if (!continuation.from) return;
    state_ = *continuation.from;
    state_.history.interrupted = false;
    before_ = state_.history;
    stepper.skip(state_.step);
  }

  History run() {
    take_snapshot();
    while (state_.epoch < training_.epochs && !ended()) run_epoch();
    state_.finished = !state_.history.interrupted && !state_.history.failed;
    if (!state_.history.failed) save();
    note_seconds();
    return std::move(state_.history);
  }

 private:
  static constexpr std::int64_t kSnapshotSteps = 64;
  static constexpr int kMaxFailures = 3;

  // What ranks agree on after each step.
  struct Wishes {
    bool stop = false, save = false;
  };

  bool ended() const { return state_.history.failed || state_.history.interrupted; }
  double elapsed() const { return before_.seconds + steady_seconds() - start_; }
  void note_seconds() {
    state_.history.seconds = elapsed();
    state_.history.communication_seconds =
        before_.communication_seconds + stepper_.communication_seconds();
  }

  void run_epoch() {
    const double began = steady_seconds() - state_.seconds;
    const std::int64_t end = (state_.epoch + std::int64_t{1}) * steps_;
    for (bool begins = state_.step == end - steps_; state_.step < end && !ended(); begins = false) {
      keep_snapshot(begins);
      const std::vector<BatchSums> taken = take_steps(group_size(end));
      for (const BatchSums& batch : taken) count(batch);
      if (state_.step == end) continue;
      state_.seconds = steady_seconds() - began;
      heed();
    }
    if (ended() && state_.step < end && !state_.history.failed) return;
    state_.seconds = steady_seconds() - began;
    end_epoch();
    heed();
  }

  void count(const BatchSums& batch) {
    if (batch.finite) {
      if (++state_.good_steps == kSnapshotSteps) state_.failures = 0;
      state_.rows += training_.batch_size;
      state_.loss += batch.loss;
      state_.squared_error += batch.squared_error;
      tick(batch);
    } else {
      recover();
    }
    ++state_.step;
  }

  void end_epoch() {
    Epoch result;
    result.samples = state_.rows;
    const auto rows = static_cast<double>(state_.rows);
    result.loss = state_.rows ? state_.loss / rows : NAN;
    result.psnr = state_.rows ? psnr_of(state_.squared_error / rows) : NAN;
    result.seconds = state_.seconds;
    state_.history.epochs.push_back(result);
    if (progress_.epoch) progress_.epoch(state_.epoch, result);
    ++state_.epoch;
    state_.loss = state_.squared_error = state_.seconds = 0;
    state_.rows = 0;
    const int every = continuation_.every.epochs;
    if (every > 0 && state_.epoch % every == 0) wishes_.save = true;
  }

  // Writes a checkpoint where it is time, and ends the training where that is wished.
  void heed() {
    if (state_.history.failed || !stepper_.settled(state_.step)) return;
    if (communicator_.size() == 1) wishes_ = {wish_stop(), wishes_.save || is_time()};
    const bool last = state_.epoch == training_.epochs;
    if (wishes_.stop && !last) state_.history.interrupted = true;
    if (wishes_.save && !wishes_.stop && !last) {
      // What goes on from here goes back to here, as this training does from now on.
      take_snapshot();
      save();
    }
    wishes_ = {};
  }

  void save() {
    note_seconds();
    if (continuation_.save) continuation_.save(state_);
    saved_ = steady_seconds();
  }

  bool wish_stop() const { return continuation_.stop && continuation_.stop(); }
  bool is_time() const {
    const double minutes = continuation_.every.minutes;
    return minutes > 0 && steady_seconds() - saved_ >= 60 * minutes;
  }

  // A snapshot is a pass over all parameters: within an epoch it waits for as many samples as
  // there are parameters, beside whose arithmetic it costs nothing.
  std::int64_t steps_between_snapshots() const {
    const std::int64_t batch = training_.batch_size;
    return std::max(kSnapshotSteps, (largest_ + batch - 1) / batch);
  }

  void keep_snapshot(bool epoch_begins) {
    const std::int64_t steps = state_.step - snapshot_step_;
    const std::int64_t wanted = epoch_begins ? kSnapshotSteps : steps_between_snapshots();
    if (steps >= wanted && stepper_.settled(state_.step)) take_snapshot();
  }

  void take_snapshot() {
    for (Snapshot& snapshot : snapshots_) snapshot.take();
    snapshot_step_ = state_.step;
    snapshot_adam_steps_ = state_.adam_steps;
  }

  // Steps that may be taken at once: up to the next snapshot and before step `end`.
  std::int64_t group_size(std::int64_t end) const {
    const std::int64_t snapshot = snapshot_step_ + steps_between_snapshots();
    return std::min({stepper_.most_steps(), end - state_.step,
                     std::max<std::int64_t>(1, snapshot - state_.step)});
  }

  // The sums of up to `count` steps over all ranks, of which no more than the last is not finite.
  std::vector<BatchSums> take_steps(std::int64_t count) {
    std::vector<TrainingStep> steps;
    for (std::int64_t i = 0; i < count; ++i) steps.push_back(step_at(i));
    std::vector<BatchSums> sums = stepper_.take(state_.step, steps);
    state_.adam_steps += static_cast<std::int64_t>(sums.size());
    if (communicator_.size() > 1) agree(sums.back());
    return sums;
  }

  void agree(BatchSums& sums) {
    const bool first = communicator_.rank() == 0;
    std::array<double, 5> all{sums.loss, sums.squared_error, sums.finite ? 0.0 : 1.0,
                              wish_stop() ? 1.0 : 0.0, first && is_time() ? 1.0 : 0.0};
    communicator_.sum(all.data(), static_cast<std::int64_t>(all.size()));
    sums = {all[0], all[1], all[2] == 0 && std::isfinite(all[0])};
    wishes_.stop |= all[3] > 0;
    wishes_.save |= all[4] > 0;
  }

  // The step `ahead` of the one under way.
  TrainingStep step_at(std::int64_t ahead) const {
    TrainingStep step;
    step.stream = make_stream(training_.seed, static_cast<std::uint32_t>(communicator_.rank()),
                              Purpose::samples, static_cast<std::uint64_t>(state_.step + ahead));
    step.adam = training_.adam;
    const double rate = rate_at(state_.step + ahead);
    step.adam.encoder_rate = static_cast<float>(rate);
    step.adam.decoder_rate = static_cast<float>(rate * training_.decoder_rate);
    step.number = state_.adam_steps + 1 + ahead;
    if (grids_) step.geometry = geometry_step(*grids_, state_.step + ahead, all_steps());
    return step;
  }

  std::int64_t all_steps() const { return steps_ * training_.epochs; }

  double rate_at(std::int64_t step) const {
    double rate = training_.lrate * std::pow(0.5, state_.halvings);
    if (training_.lrate_decay > 0) rate *= std::pow(0.5, state_.epoch / training_.lrate_decay);
    if (training_.anneal <= 0) return rate;
    const auto all = static_cast<double>(all_steps());
    const double left = (all - static_cast<double>(step)) / (all * training_.anneal);
    return rate * std::clamp(left, 0.01, 1.0);
  }

  void recover() {
    for (const Snapshot& snapshot : snapshots_) snapshot.restore();
    stepper_.restored();
    state_.adam_steps = snapshot_adam_steps_;
    ++state_.halvings;
    state_.history.failed = ++state_.failures >= kMaxFailures;
    state_.good_steps = 0;
    state_.history.recoveries.push_back({state_.epoch, state_.step, rate_at(state_.step)});
    if (progress_.recovery) progress_.recovery(state_.history.recoveries.back());
  }

  void tick(const BatchSums& batch) {
    if (!progress_.tick || steady_seconds() - ticked_ < 0.1) return;
    ticked_ = steady_seconds();
    const auto rows = static_cast<double>(training_.batch_size);
    const auto done = static_cast<double>(state_.step + 1);
    progress_.tick(done / (static_cast<double>(steps_) * training_.epochs), done * rows / elapsed(),
                   batch.loss / rows, psnr_of(batch.squared_error / rows));
  }

  Stepper& stepper_;
  const Training& training_;
  Communicator& communicator_;
  const Progress& progress_;
  const Continuation& continuation_;
  std::vector<Snapshot> snapshots_;
  TrainingState state_;
  Wishes wishes_;
  // Of grids that move, if the models have such.
  const encoder::AdaptiveMultiGrid* grids_ = nullptr;
  std::int64_t steps_, largest_ = 0, snapshot_step_ = 0, snapshot_adam_steps_ = 0;
  // What an earlier process had, if this one goes on from there.
  History before_;
  double start_ = steady_seconds(), ticked_ = start_, saved_ = start_;
};

}  // namespace

double steady_seconds() {
  using Clock = std::chrono::steady_clock;
  return std::chrono::duration<double>(Clock::now().time_since_epoch()).count();
}

History run_training(Stepper& stepper, std::int64_t voxels, const Training& training,
                     Communicator& communicator, const Progress& progress,
                     const Continuation& continuation) {
  return Loop(stepper, voxels, training, communicator, progress, continuation).run();
}

}  // namespace kanbench
