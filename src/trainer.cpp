// One model, trained by one rank or by many that each draw in a box of their own.

#include "kanbench/trainer.h"

#include <algorithm>
#include <cmath>

#include "error_sampler.h"
#include "kanbench/brick_stream.h"
#include "kanbench/decomposition.h"
#include "kanbench/error.h"
#include "lbfgs_stepper.h"
#include "training_loop.h"

namespace kanbench {
namespace {

// Gradients go to the other ranks in pieces of at least so many floats: small enough that sending
// begins early, large enough that the time to begin does not count.
constexpr std::int64_t kBucketFloats = 1 << 20;

std::vector<std::int64_t> voxels_of_ranks(const Box& box, Communicator& communicator) {
  const std::int64_t mine = box.shape().count();
  std::vector<std::int64_t> all(static_cast<std::size_t>(communicator.size()), mine);
  if (communicator.size() > 1) communicator.all_gather(&mine, sizeof mine, all.data());
  return all;
}

class SharedStepper : public Stepper {
 public:
  SharedStepper(Model& model, const VolumeView& volume, const Box& box, const Training& training,
                Communicator& communicator)
      : model_(model),
        volume_(volume),
        box_(box),
        training_(training),
        communicator_(communicator),
        voxels_(voxels_of_ranks(box, communicator)),
        most_rows_(most_rows()),
        points_(model.backend(), 3 * most_rows_),
        targets_(model.backend(), volume.components * most_rows_),
        // Each rank adds its part of what does not depend on its rows.
        objective_{training.loss, 1.0 / static_cast<double>(training.batch_size),
                   communicator.rank() == 0 ? training.edges : EdgePenalty{},
                   1.0 / communicator.size()} {
    if (training.error_sampling.bricks > 0)
      errors_.emplace(model.backend(), volume, box, training.error_sampling, training.seed,
                      communicator.rank());
    if (training.sharded) shares_ = shares_of(model.layout().size, communicator.size());
  }

  // From here on samples are drawn from bricks of `volume`.
  void stream(const Volume& volume) {
    if (errors_)
      throw Error("sampling error: " + volume.name + " does not fit " + model_.backend().name() +
                  " beside model and batch: use sampling uniform, a smaller batch_size or more "
                  "ranks");
    Backend& backend = model_.backend();
    // The copy to come back to is made after this.
    const std::size_t working = backend.working_bytes(model_.spec(), most_rows_) +
                                model_.parameters().bytes() + model_.first_moment().bytes() +
                                model_.second_moment().bytes();
    const std::size_t free = backend.free_bytes();
    // An eighth is left for what a step needs beside its rows.
    const std::size_t budget = (free - std::min(free, working)) / 8 * 7;
    bricks_.emplace(backend, volume, plan_bricks(volume, box_, budget),
                    BrickOrder{training_.seed, communicator_.rank(), most_rows_});
  }

  std::vector<Model*> models() const override { return {&model_}; }

  std::int64_t most_steps() const override {
    return communicator_.size() > 1 || bricks_ ? 1 : model_.backend().steps_per_call();
  }

  std::vector<BatchSums> take(std::int64_t first, std::span<const TrainingStep> steps) override {
    if (communicator_.size() == 1 && !bricks_) return take_alone(first, steps);
    if (errors_ && ErrorSampler::steps_left(first) == 0) errors_->look(model_, first);
    return {take_one(first, steps.front())};
  }

  // The errors of all ranks, one rank's after the other's.
  std::vector<double> memory() override {
    if (!errors_) return {};
    std::vector<double> mine = errors_->errors();
    mine.resize(memory_of_rank());
    std::vector<double> all(mine.size() * voxels_.size());
    communicator_.all_gather(mine.data(), mine.size() * sizeof(double), all.data());
    return all;
  }
  void recall(const std::vector<double>& memory) override {
    if (!errors_ || memory.size() != memory_of_rank() * voxels_.size()) return;
    const auto mine =
        memory.begin() + communicator_.rank() * static_cast<std::ptrdiff_t>(memory_of_rank());
    const auto count = static_cast<std::ptrdiff_t>(errors_->errors().size());
    errors_->set_errors({mine, mine + count});
  }

  double sampling_seconds() const override { return errors_ ? errors_->seconds() : 0; }

  void skip(std::int64_t steps) override {
    if (bricks_) bricks_->skip(steps);
  }

 private:
  std::int64_t most_rows() const {
    const auto rank = static_cast<std::size_t>(communicator_.rank());
    std::int64_t all = 0;
    for (const std::int64_t voxels : voxels_) all += voxels;
    const double share = static_cast<double>(voxels_[rank]) / static_cast<double>(all);
    if (voxels_.size() == 1) return training_.batch_size;
    return static_cast<std::int64_t>(static_cast<double>(training_.batch_size) * share) + 2;
  }

  Rows points(std::int64_t rows) const { return {points_.data(), rows, 3, rows}; }
  Rows targets(std::int64_t rows) const {
    return {targets_.data(), rows, volume_.components, rows};
  }

  std::size_t memory_of_rank() const {
    const auto bricks = static_cast<std::size_t>(training_.error_sampling.bricks);
    return bricks * bricks * bricks;
  }

  VolumeView drawn_from() const { return errors_ ? errors_->guided() : volume_; }

  // Steps between two looks at the errors at once.
  std::vector<BatchSums> take_alone(std::int64_t first, std::span<const TrainingStep> steps) {
    std::vector<BatchSums> all;
    while (!steps.empty() && (all.empty() || all.back().finite)) {
      std::size_t count = steps.size();
      if (errors_) {
        if (ErrorSampler::steps_left(first) == 0) errors_->look(model_, first);
        count = std::min(count, static_cast<std::size_t>(1 + ErrorSampler::steps_left(first + 1)));
      }
      const std::vector<BatchSums> taken =
          model_.backend().train(model_, drawn_from(), box_, objective_, steps.first(count),
                                 points(most_rows_), targets(most_rows_));
      all.insert(all.end(), taken.begin(), taken.end());
      steps = steps.subspan(count);
      first += static_cast<std::int64_t>(count);
    }
    return all;
  }

  BatchSums take_one(std::int64_t index, const TrainingStep& step) {
    Backend& backend = model_.backend();
    const auto rank = static_cast<std::size_t>(communicator_.rank());
    const std::int64_t rows = share_batch(training_.batch_size, voxels_, index)[rank];
    if (bricks_)
      bricks_->sample(step.stream, points(rows), targets(rows));
    else if (rows > 0)
      backend.sample(drawn_from(), box_, step.stream, 0, points(rows), targets(rows));
    const ConstRows read{points_.data(), rows, 3, rows};
    const ConstRows wanted{targets_.data(), rows, volume_.components, rows};
    if (communicator_.size() == 1)
      return take_step(backend, model_, read, wanted, objective_, step);
    BatchSums sums = sum_gradients(read, wanted);
    if (step.geometry.rate > 0) shape(read, wanted, step.geometry);
    const bool updated = backend.update(model_, clipped(step.optimizer), step.number);
    sums.finite = updated && std::isfinite(sums.loss);
    if (!shares_.empty()) communicate([&] { gather_parameters(); });
    return sums;
  }

  // The norm is that of all shares together.
  Optimizer clipped(Optimizer optimizer) {
    UpdateRule& rule = rule_of(optimizer);
    if (shares_.empty() || rule.largest_norm <= 0) return optimizer;
    double square = model_.backend().squared_norm(model_);
    communicate([&] { communicator_.sum(&square, 1); });
    rule.gradient_scale = clip_factor(square, rule.largest_norm);
    rule.largest_norm = 0;
    return optimizer;
  }

  // Sums of the ranks' numbers are the same on all, and so are the grids. A rank that keeps the
  // moments of some only moves those; its parameters reach the others with the step's.
  void shape(ConstRows points, ConstRows targets, const GeometryStep& step) {
    const auto sum = [&](double* numbers, std::int64_t count) {
      communicate([&] { communicator_.sum(numbers, count); });
    };
    model_.backend().shape(model_, points, targets, step, sum);
  }

  // Pieces are handed over while those after them are still being computed.
  BatchSums sum_gradients(ConstRows points, ConstRows targets) {
    Range bucket;
    const auto flush = [&] {
      if (bucket.size() > 0) communicate([&] { begin_sum(bucket); });
      bucket = {};
    };
    const auto ready = [&](Range part) {
      const bool adjoins = part.end == bucket.begin || part.begin == bucket.end;
      if (bucket.size() > 0 && !adjoins) flush();
      bucket = bucket.size() > 0
                   ? Range{std::min(part.begin, bucket.begin), std::max(part.end, bucket.end)}
                   : part;
      if (bucket.size() >= kBucketFloats) flush();
    };
    const BatchSums sums = model_.backend().gradient(model_, points, targets, objective_, ready);
    flush();
    communicate([&] { communicator_.finish(); });
    model_.backend().gradient_changed(model_);
    return sums;
  }

  void begin_sum(Range part) {
    float* block = model_.gradient().data();
    if (shares_.empty())
      communicator_.begin_sum(block, part, training_.wire);
    else
      communicator_.begin_scatter_sum(block, part, shares_, training_.wire);
  }

  void gather_parameters() {
    communicator_.begin_gather(model_.parameters().data(), shares_);
    communicator_.finish();
    model_.backend().parameters_changed(model_);
  }

  Model& model_;
  const VolumeView& volume_;
  const Box& box_;
  const Training& training_;
  Communicator& communicator_;
  std::vector<std::int64_t> voxels_;
  std::int64_t most_rows_;
  Buffer<float> points_, targets_;
  Objective objective_;
  std::vector<Range> shares_;
  std::optional<BrickStream> bricks_;
  std::optional<ErrorSampler> errors_;
};

void prepare(Model& model, int components, const Box& box, const Training& training,
             Communicator& communicator) {
  check(model.spec().outputs() == components, "a model of another number of outputs");
  check(training.batch_size > 0, "an empty batch");
  check(box.shape().count() > 0, "an empty box");
  if (!model.training()) prepare_training(model, training, communicator);
}

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

std::int64_t steps_per_epoch(std::int64_t voxels, std::int64_t batch_size) {
  return (voxels + batch_size - 1) / batch_size;
}

std::int64_t choose_batch_size(std::int64_t voxels, std::size_t bytes_per_row,
                               std::size_t free_bytes, double safety_margin, int ranks) {
  const double room = static_cast<double>(free_bytes) * safety_margin * ranks;
  const double cap = std::min(262144.0, room / static_cast<double>(bytes_per_row));
  const std::int64_t wanted = std::min(voxels / 256, static_cast<std::int64_t>(cap));
  return std::clamp<std::int64_t>(wanted / 256 * 256, 256, 262144);
}

std::vector<Range> shares_of(std::int64_t size, int ranks) {
  constexpr std::int64_t kLine = 16;
  const std::int64_t lines = (size + kLine - 1) / kLine;
  std::vector<Range> shares;
  for (std::int64_t rank = 0; rank < ranks; ++rank)
    shares.push_back({std::min(size, start_of_part(lines, rank, ranks) * kLine),
                      std::min(size, start_of_part(lines, rank + 1, ranks) * kLine)});
  return shares;
}

void prepare_training(Model& model, const Training& training, const Communicator& communicator) {
  if (!training.sharded) return model.train();
  const auto rank = static_cast<std::size_t>(communicator.rank());
  model.train(shares_of(model.layout().size, communicator.size())[rank]);
}

History train(Model& model, const VolumeView& volume, const Box& box, const Training& training,
              Communicator& communicator, const Progress& progress,
              const Continuation& continuation) {
  prepare(model, volume.components, box, training, communicator);
  if (training.lbfgs) {
    check(communicator.size() == 1, "L-BFGS on several ranks");
    LbfgsStepper stepper(model, volume, box, training);
    return run_training(stepper, volume.shape.count(), training, communicator, progress,
                        continuation);
  }
  SharedStepper stepper(model, volume, box, training, communicator);
  return run_training(stepper, volume.shape.count(), training, communicator, progress,
                      continuation);
}

History train_in_bricks(Model& model, const Volume& volume, const Box& box,
                        const Training& training, Communicator& communicator,
                        const Progress& progress, const Continuation& continuation) {
  if (training.lbfgs)
    throw Error("optimizer lbfgs: " + volume.name + " does not fit " + model.backend().name() +
                " beside model and batch: use another optimizer, or a smaller batch_size");
  prepare(model, volume.components, box, training, communicator);
  const VolumeView view = volume.view();
  SharedStepper stepper(model, view, box, training, communicator);
  stepper.stream(volume);
  return run_training(stepper, view.shape.count(), training, communicator, progress, continuation);
}

}  // namespace kanbench
