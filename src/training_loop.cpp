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
        rows_per_step_(training.batch_size * stepper.batches_per_step()),
        steps_(steps_per_epoch(voxels, rows_per_step_)) {
    for (Model* model : stepper.models()) {
      snapshots_.emplace_back(*model);
      largest_ = std::max(largest_, model->layout().size);
      grids_ = adaptive_grids(model->spec().encoder);
    }
    if (!continuation.from) return;
    state_ = *continuation.from;
    state_.history.interrupted = false;
    before_ = state_.history;
    clock_ = before_.seconds;
    stepper.skip(state_.step);
    stepper.recall(state_.memory);
  }

  History run() {
    take_snapshot();
    while (!complete() && !ended()) run_epoch();
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

  bool timed() const { return training_.seconds > 0; }
  // Whether its time is up, or it has had its epochs.
  bool complete() const {
    if (timed()) return clock_ >= training_.seconds && stepper_.settled(state_.step);
    return state_.epoch == training_.epochs;
  }
  bool ended() const { return state_.history.failed || state_.history.interrupted; }
  double elapsed() const { return before_.seconds + steady_seconds() - start_; }
  void note_seconds() {
    state_.history.seconds = elapsed();
    state_.history.communication_seconds =
        before_.communication_seconds + stepper_.communication_seconds();
    state_.history.sampling_seconds = before_.sampling_seconds + stepper_.sampling_seconds();
  }

  void run_epoch() {
    const double began = steady_seconds() - state_.seconds;
    const std::int64_t end = (state_.epoch + std::int64_t{1}) * steps_;
    for (bool begins = state_.step == end - steps_;
         state_.step < end && !ended() && !(timed() && complete()); begins = false) {
      keep_snapshot(begins);
      const std::vector<BatchSums> taken = take_steps(group_size(end));
      for (const BatchSums& batch : taken) count(batch);
      if (state_.step == end) continue;
      state_.seconds = steady_seconds() - began;
      heed();
    }
    if (state_.history.interrupted && state_.step < end) return;
    state_.seconds = steady_seconds() - began;
    end_epoch();
    heed();
  }

  void count(const BatchSums& batch) {
    if (batch.finite) {
      if (++state_.good_steps == kSnapshotSteps) state_.failures = 0;
      state_.rows += rows_per_step_;
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
    result.lrate = rate_at(std::max<std::int64_t>(0, state_.step - 1));
    state_.history.epochs.push_back(result);
    if (progress_.epoch) progress_.epoch(state_.epoch, result);
    if (const auto* plateau = std::get_if<schedule::Plateau>(&training_.schedule))
      note_epoch(*plateau, result.loss, state_.plateau);
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
    const bool last = complete();
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
    state_.memory = stepper_.memory();
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
    clock_ = elapsed();
    if (communicator_.size() > 1) agree(sums.back());
    return sums;
  }

  void agree(BatchSums& sums) {
    const bool first = communicator_.rank() == 0;
    std::array<double, 6> all{sums.loss,
                              sums.squared_error,
                              sums.finite ? 0.0 : 1.0,
                              wish_stop() ? 1.0 : 0.0,
                              first && is_time() ? 1.0 : 0.0,
                              first ? elapsed() : 0.0};
    communicator_.sum(all.data(), static_cast<std::int64_t>(all.size()));
    sums = {all[0], all[1], all[2] == 0 && std::isfinite(all[0])};
    wishes_.stop |= all[3] > 0;
    wishes_.save |= all[4] > 0;
    clock_ = all[5];
  }

  // The step `ahead` of the one under way.
  TrainingStep step_at(std::int64_t ahead) const {
    TrainingStep step;
    step.stream = make_stream(training_.seed, static_cast<std::uint32_t>(communicator_.rank()),
                              Purpose::samples, static_cast<std::uint64_t>(state_.step + ahead));
    step.optimizer = training_.optimizer;
    const double rate = rate_at(state_.step + ahead);
    UpdateRule& rule = rule_of(step.optimizer);
    rule.encoder_rate = static_cast<float>(rate);
    rule.decoder_rate = static_cast<float>(rate * training_.decoder_rate);
    step.number = state_.adam_steps + 1 + ahead;
    if (grids_)
      step.geometry = geometry_step(*grids_, laid_out_at(state_.step + ahead), all_steps());
    return step;
  }

  std::int64_t all_steps() const { return steps_ * training_.epochs; }

  // The step of a training of so many that a step of limited time is like.
  std::int64_t laid_out_at(std::int64_t step) const {
    if (!timed()) return step;
    return static_cast<std::int64_t>(moment_at(step).epochs * static_cast<double>(steps_));
  }

  double rate_at(std::int64_t step) const {
    const ScheduleSettings settings{training_.schedule, training_.lrate_decay, training_.anneal,
                                    training_.warmup};
    return training_.lrate * std::pow(0.5, state_.halvings) *
           rate_factor(settings, moment_at(step), state_.plateau);
  }

  ScheduleMoment moment_at(std::int64_t step) const {
    const double epochs = training_.epochs, steps = static_cast<double>(steps_);
    if (!timed())
      return {state_.epoch, static_cast<double>(step) / steps, 1 / steps, static_cast<double>(step),
              steps * epochs};
    const double done = std::min(clock_, training_.seconds);
    const double position = done / training_.seconds * epochs;
    return {static_cast<int>(position), position, 1 / steps, done, training_.seconds};
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
    const auto rows = static_cast<double>(rows_per_step_);
    const auto done = static_cast<double>(state_.step + 1);
    progress_.tick({state_.step + 1,
                    timed() ? std::min(1.0, clock_ / training_.seconds)
                            : done / static_cast<double>(all_steps()),
                    done * rows / elapsed(), batch.loss / rows, psnr_of(batch.squared_error / rows),
                    rate_at(state_.step)});
  }

  Stepper& stepper_;
  const Training& training_;
  Communicator& communicator_;
  const Progress& progress_;
  const Continuation& continuation_;
  std::vector<Snapshot> snapshots_;
  TrainingState state_;
  Wishes wishes_;
  // Seconds that this training has lasted, as all ranks know it.
  double clock_ = 0;
  // Of grids that move, if the models have such.
  const encoder::AdaptiveMultiGrid* grids_ = nullptr;
  std::int64_t rows_per_step_, steps_, largest_ = 0, snapshot_step_ = 0, snapshot_adam_steps_ = 0;
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
