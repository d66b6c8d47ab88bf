#include "commands/timed_run.h"

#include <algorithm>
#include <chrono>

#include "commands/console.h"
#include "kanbench/error.h"

namespace kanbench {
namespace {

// Slices of the volume that make about so many voxels.
Lattice some_slices(const Shape& shape, std::int64_t voxels) {
  Box box = whole(shape);
  box.high[2] = std::clamp<std::int64_t>(voxels / (shape.x * shape.y), 1, shape.z);
  return {shape, box};
}

}  // namespace

double best_rate(double seconds, const std::function<void()>& work,
                 const std::function<void()>& finish) {
  const auto time = [&](std::int64_t calls) {
    const auto start = std::chrono::steady_clock::now();
    for (std::int64_t i = 0; i < calls; ++i) work();
    finish();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  };
  time(1);
  // Counted beforehand: a device takes calls much faster than it does them.
  const double once = std::max(time(1), 1e-9);
  const auto calls = std::max<std::int64_t>(1, static_cast<std::int64_t>(seconds / 5 / once));
  double best = 1 / once;
  for (int turn = 0; turn < 5; ++turn)
    best = std::max(best, static_cast<double>(calls) / time(calls));
  return best;
}

TimedRun::TimedRun(const Run& run, const Volume& volume, Backend& backend, std::int64_t rows)
    : run_(run),
      volume_(volume),
      backend_(backend),
      spec_(make_spec(run)),
      rows_(rows > 0 ? rows : choose_rows()),
      training_(make_training(run, rows_, run.seed)),
      model_(backend, spec_, resolve_precision(run.precision, spec_, backend)),
      points_(backend, 3 * rows_),
      values_(backend, volume.components * rows_) {
  if (spec_.outputs() != volume.components)
    throw Error("run " + std::to_string(run.index) + ": the last layer's 'out' is " +
                std::to_string(spec_.outputs()) + ", " + volume.name + " has " +
                std::to_string(volume.components) + " numbers a voxel: give it as many");
  rule_of(training_.optimizer).encoder_rate = static_cast<float>(training_.lrate);
  rule_of(training_.optimizer).decoder_rate =
      static_cast<float>(training_.lrate * training_.decoder_rate);
  model_.upload(draw_parameters(spec_, make_initialisation(run), run.seed));
  model_.train();
  if (!backend_.holds(volume_, whole(volume_.shape), 0))
    throw Error(volume_.name + ": its " + bytes(static_cast<double>(volume_.bytes())) +
                " do not fit the memory of " + backend_.name() +
                " beside the model: time a smaller volume");
  view_ = backend_.place(volume_, whole(volume_.shape));
}

std::int64_t TimedRun::choose_rows() const {
  require_room(run_, backend_);
  if (run_.batch_size > 0) return run_.batch_size;
  return choose_batch_size(volume_.shape.count(), backend_.bytes_per_row(spec_),
                           backend_.free_bytes(), 0.8);
}

// A number that was computed can be read when all before it is done.
void TimedRun::wait_for(const Buffer<float>& computed) {
  float last;
  backend_.download(&last, computed.data() + computed.size() - 1, sizeof last);
}

void TimedRun::train() {
  std::vector<TrainingStep> steps;
  for (int i = 0; i < backend_.steps_per_call(); ++i) {
    const Stream stream =
        make_stream(run_.seed, 0, Purpose::samples, static_cast<std::uint64_t>(step_));
    steps.push_back({stream, training_.optimizer, ++step_});
  }
  backend_.train(model_, view_, whole(volume_.shape),
                 {training_.loss, 1 / static_cast<double>(rows_)}, steps,
                 {points_.data(), rows_, 3, rows_}, values());
}

double TimedRun::training_rate(double seconds) {
  return static_cast<double>(rows_) * backend_.steps_per_call() *
         best_rate(
             seconds, [&] { train(); }, [&] { wait_for(values_); });
}

double TimedRun::inference_rate(double seconds) {
  const auto predict = [&] {
    backend_.predict(model_, {points_.data(), rows_, 3, rows_}, values());
  };
  return static_cast<double>(rows_) * best_rate(seconds, predict, [&] { wait_for(values_); });
}

double TimedRun::decoding_rate(double seconds) {
  const Lattice lattice = some_slices(volume_.shape, std::max<std::int64_t>(1 << 20, 16 * rows_));
  const std::int64_t voxels = lattice.box.shape().count();
  Buffer<float> decoded(backend_, spec_.outputs() * voxels);
  return static_cast<double>(voxels) *
         best_rate(
             seconds, [&] { backend_.decode(model_, lattice, {decoded.data()}); },
             [&] { wait_for(decoded); });
}

std::vector<Stage> TimedRun::stages() {
  return backend_.profile(model_, view_, rows_, training_.loss, training_.optimizer);
}

TimedRun::Steps TimedRun::take_both() {
  Steps took;
  took.alone = seconds_of([&] { train(); }, values_) / backend_.steps_per_call();
  const ConstRows points{points_.data(), rows_, 3, rows_};
  const ConstRows targets{values_.data(), rows_, spec_.outputs(), rows_};
  const Objective objective{training_.loss, 1 / static_cast<double>(rows_)};
  const Stream stream =
      make_stream(run_.seed, 1, Purpose::samples, static_cast<std::uint64_t>(step_));
  const auto sample = [&] {
    backend_.sample(view_, whole(volume_.shape), stream, 0, {points_.data(), rows_, 3, rows_},
                    values());
  };
  took.sample = seconds_of(sample, values_);
  const auto gradient = [&] {
    backend_.gradient(model_, points, targets, objective, [](Range) {});
  };
  took.gradient = seconds_of(gradient, model_.gradient());
  // Of all ranks together hardly a parameter has no gradient; but they must stay what they are,
  // lest their arithmetic become another's.
  const std::vector<float> summed(static_cast<std::size_t>(model_.layout().size), 1e-6f);
  backend_.upload(model_.gradient().data(), summed.data(), model_.gradient().bytes());
  Optimizer still = training_.optimizer;
  rule_of(still).encoder_rate = rule_of(still).decoder_rate = 0;
  const auto update = [&] {
    backend_.gradient_changed(model_);
    backend_.update(model_, still, ++step_);
  };
  took.update = seconds_of(update, model_.parameters());
  return took;
}

TimedRun::Steps TimedRun::steps(double seconds) {
  Steps least = take_both();
  double total = 0;
  for (int i = 0; i < 4 || total < 2 * seconds; ++i) {
    const Steps took = take_both();
    for (double Steps::*stage : {&Steps::alone, &Steps::sample, &Steps::gradient, &Steps::update}) {
      least.*stage = std::min(least.*stage, took.*stage);
      total += took.*stage;
    }
  }
  return least;
}

double TimedRun::seconds_of(const std::function<void()>& work, const Buffer<float>& computed) {
  const auto start = std::chrono::steady_clock::now();
  work();
  wait_for(computed);
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace kanbench
