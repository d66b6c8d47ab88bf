// A step on the device: gradient, scatter, update; many of them as one recorded graph; and the
// choice, by measuring, between one kernel for draw, encode, decoder and scatter, and one for each.

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kanbench/error.h"
#include "kernels/backend.h"
#include "kernels/fused_points.h"
#include "kernels/tuning.h"
#include "kernels/update.h"

namespace kanbench::cuda {
namespace {

// A sample's own gradient is near one; times this it is far from both ends of half precision.
constexpr double kHalfScale = 128;
constexpr float kLargestScale = 16777216.0f * 1024;
// Levels of up to so many bytes are summed within a block.
constexpr std::int64_t kSharedLevel = 48 << 10;

// Kernels only read what is not drawn.
DeviceBatch given_batch(ConstRows points, ConstRows targets, const Objective& objective) {
  return {{const_cast<float*>(points.data), points.rows, 3, points.stride},
          {const_cast<float*>(targets.data), targets.rows, 1, targets.stride},
          objective,
          {}};
}

}  // namespace

void RecordedStep::clear() {
  if (graph) cudaGraphExecDestroy(graph);
  graph = nullptr;
  key.clear();
}

// Half precision needs a factor that brings gradients of `scale` a row into its range.
void CudaBackend::start_scaling(DeviceModel& d, double scale) {
  if (!d.plan || d.plan->precision != Precision::fp16) return;
  // It finds its way from a factor that is near.
  if (d.scaled_for > 0 && std::abs(std::log2(scale / d.scaled_for)) <= 4) return;
  d.scaled_for = scale;
  const double wanted = std::exp2(std::ceil(std::log2(kHalfScale / std::abs(scale))));
  const float value = static_cast<float>(std::clamp<double>(wanted, 1.0, kLargestScale));
  StepState* state = d.state.data();
  upload(&state->loss_scale, &value, sizeof value);
}

float CudaBackend::largest_scale(const DeviceModel& d) const {
  return d.plan && d.plan->precision == Precision::fp16 ? kLargestScale : 0;
}

void CudaBackend::enqueue_decoder(Model& model, DeviceModel& d, const DeviceBatch& batch,
                                  const FeatureRows& features) {
  const std::int64_t rows = batch.points.rows;
  const FusedPlan& plan = *d.plan;
  FusedArguments a = fused_arguments(model, d);
  a.rows = rows;
  a.scale = static_cast<float>(batch.objective.scale);
  a.loss = static_cast<int>(batch.objective.loss.index());
  a.state = d.state.data();
  const bool whole = features.data == nullptr;
  const FusedMode mode = whole ? FusedMode::train_whole : FusedMode::train;
  const FusedShape& shape = whole ? d.whole : d.train;
  const int blocks = most_blocks(plan, shape, mode);
  a.partials = d.partials.reserve(blocks * plan.partials(shape.warps));
  a.sums = d.sums.reserve(2 * std::int64_t{blocks});
  if (whole) {
    a.draw = *batch.draw;
    a.gradient = model.gradient().data();
  } else {
    a.targets = batch.targets.data;
    a.features = features.data;
    a.dfeatures = d.dfeatures.reserve(round_up(kanbench::width(model.spec().encoder), 16) * rows *
                                      plan.element_bytes());
    a.stride = features.stride;
  }
  const int used = launch_fused(plan, shape, mode, a, blocks, stream_);
  reduce_fused(plan, shape, used, a.partials, model.gradient().data(), a.state, stream_);
  reduce_sums(used, a.sums, a.state, stream_);
}

void CudaBackend::enqueue_scatter(Model& model, DeviceModel& d, const DeviceBatch& batch,
                                  const FeatureRows& features) {
  if (d.grid.count == 0) return;
  FeatureRows dfeatures = features;
  dfeatures.data = d.dfeatures.data();
  ScatterTarget target;
  target.gradient = model.gradient().data();
  target.size = model.layout().decoder_begin;
  target.state = d.state.data();
  if (settings_.deterministic) {
    if (d.fixed.size() == 0) {
      d.fixed.reserve(target.size + 1);
      checked(cudaMemsetAsync(d.fixed.data(), 0, d.fixed.bytes(), stream_));
    }
    target.fixed = {d.fixed.data(), reinterpret_cast<std::uint32_t*>(d.fixed.data() + target.size)};
  }
  const ConstRows points{batch.points.data, batch.points.rows, 3, batch.points.stride};
  scatter(d.grid, target, points, dfeatures,
          plan_scatter(d.grid, points.rows, properties_.major, kSharedLevel,
                       properties_.multiProcessorCount),
          stream_);
}

// Leaves the gradient in the model, sums and flags in the state.
void CudaBackend::enqueue_gradient(Model& model, DeviceModel& d, const DeviceBatch& batch) {
  if (batch.draw && d.fuses.value_or(false)) return enqueue_decoder(model, d, batch, {});
  if (batch.draw) draw(*batch.draw, batch.points, batch.targets, stream_);
  const ConstRows points{batch.points.data, batch.points.rows, 3, batch.points.stride};
  const FeatureRows features = encode_batch(model, d, points);
  if (d.plan) {
    enqueue_decoder(model, d, batch, features);
  } else {
    const int width = kanbench::width(model.spec().encoder);
    const std::int64_t rows = points.rows;
    auto* dfeatures = reinterpret_cast<float*>(d.dfeatures.reserve(width * rows * 4));
    const ConstRows read{static_cast<const float*>(features.data), rows, width, features.stride};
    const ConstRows targets{batch.targets.data, rows, 1, batch.targets.stride};
    d.general->train(model.parameters().data(), model.gradient().data(), read, targets,
                     batch.objective, {dfeatures, rows, width, rows}, d.sums.reserve(2), stream_);
    reduce_sums(1, d.sums.data(), d.state.data(), stream_);
  }
  enqueue_scatter(model, d, batch, features);
}

// `adam` is that of the step under way but for what does not change from step to step.
void CudaBackend::enqueue_update(Model& model, DeviceModel& d, const Adam& adam) {
  UpdateArguments a;
  a.parameters = model.parameters().data();
  a.gradient = model.gradient().data();
  a.first_moment = model.first_moment().data();
  a.second_moment = model.second_moment().data();
  a.size = model.layout().size;
  a.decoder_begin = model.layout().decoder_begin;
  a.skip_untouched = adam.skip_untouched;
  a.state = d.state.data();
  a.not_finite = &d.state.data()->broken;
  if (d.plan && d.plan->precision != Precision::tf32) {
    a.copy = d.table.data();
    a.copy_type = d.plan->precision;
  }
  cuda::update(a, stream_);
  if (d.plan) pack_fused(*d.plan, a.parameters, d.weights.data(), d.vectors.data(), stream_);
}

void CudaBackend::enqueue_step(Model& model, DeviceModel& d, const DeviceBatch& batch,
                               const Adam& adam) {
  enqueue_gradient(model, d, batch);
  enqueue_update(model, d, adam);
  end_step(largest_scale(d), d.state.data(), stream_);
}

void CudaBackend::upload_steps(DeviceModel& d, std::span<const TrainingStep> steps) {
  StepNumbers numbers[kMostSteps];
  check(steps.size() <= kMostSteps, "more steps than one call takes");
  for (std::size_t i = 0; i < steps.size(); ++i)
    numbers[i] = {steps[i].stream.step,
                  adam_step(steps[i].adam, steps[i].adam.encoder_rate, steps[i].number),
                  adam_step(steps[i].adam, steps[i].adam.decoder_rate, steps[i].number)};
  StepState* state = d.state.data();
  upload(state->steps, numbers, steps.size() * sizeof *numbers);
  begin_steps(state, stream_);
}

// What came of the steps, up to and with the first that broke.
std::vector<BatchSums> CudaBackend::collect(DeviceModel& d, std::size_t steps) {
  StepOutcome outcomes[kMostSteps];
  download(outcomes, d.state.data()->outcomes, steps * sizeof *outcomes);
  std::vector<BatchSums> all;
  for (std::size_t i = 0; i < steps; ++i) {
    all.push_back({outcomes[i].loss, outcomes[i].squared_error, !outcomes[i].broken});
    if (outcomes[i].broken) break;
  }
  return all;
}

BatchSums CudaBackend::gradient(Model& model, ConstRows points, ConstRows targets,
                                const Objective& objective) {
  check(model.training(), "gradient() of a model without room for it");
  if (points.rows == 0) return {};
  DeviceModel& d = prepare(model);
  refresh(model, d);
  start_scaling(d, objective.scale);
  const DeviceBatch batch = given_batch(points, targets, objective);
  if (largest_scale(d) > 0)
    copy(d.before.reserve(model.gradient().size()), model.gradient().data(),
         model.gradient().bytes());
  for (;;) {
    begin_steps(d.state.data(), stream_);
    enqueue_gradient(model, d, batch);
    end_step(largest_scale(d), d.state.data(), stream_);
    StepOutcome outcome;
    download(&outcome, d.state.data()->outcomes, sizeof outcome);
    if (!outcome.skipped || outcome.broken || largest_scale(d) == 0)
      return {outcome.loss, outcome.squared_error, !outcome.broken};
    copy(model.gradient().data(), d.before.data(), d.before.bytes());
  }
}

bool CudaBackend::update(Model& model, const Adam& adam, std::int64_t step) {
  DeviceModel& d = prepare(model);
  const TrainingStep numbers{{}, adam, step};
  upload_steps(d, {&numbers, 1});
  refresh(model, d);
  enqueue_update(model, d, adam);
  unsigned broken = 0;
  download(&broken, &d.state.data()->broken, sizeof broken);
  return broken == 0;
}

BatchSums CudaBackend::step(Model& model, ConstRows points, ConstRows targets,
                            const Objective& objective, const Adam& adam, std::int64_t step) {
  check(model.training(), "step() of a model without room for it");
  if (points.rows == 0) return {};
  DeviceModel& d = prepare(model);
  refresh(model, d);
  start_scaling(d, objective.scale);
  const TrainingStep numbers{{}, adam, step};
  upload_steps(d, {&numbers, 1});
  const DeviceBatch batch = given_batch(points, targets, objective);
  enqueue_step(model, d, batch, adam);
  return collect(d, 1).front();
}

namespace {

std::int64_t bits(double number) {
  std::int64_t word;
  std::memcpy(&word, &number, sizeof word);
  return word;
}
std::int64_t address(const void* pointer) { return reinterpret_cast<std::intptr_t>(pointer); }

// All that a recorded step holds and that a caller may change.
std::vector<std::int64_t> key_of(const Model& model, const DeviceModel& d, const DeviceBatch& b,
                                 const Adam& adam) {
  const DrawArguments& draw = *b.draw;
  std::vector<std::int64_t> key = {address(draw.voxels),
                                   static_cast<std::int64_t>(draw.dtype),
                                   static_cast<std::int64_t>(draw.texture),
                                   static_cast<std::int64_t>(draw.stream.key),
                                   bits(draw.low),
                                   bits(draw.inverse_range),
                                   address(b.points.data),
                                   address(b.targets.data),
                                   b.points.rows,
                                   static_cast<std::int64_t>(b.objective.loss.index()),
                                   bits(b.objective.scale),
                                   adam.skip_untouched,
                                   address(model.gradient().data()),
                                   d.fuses.value_or(false)};
  // Room that grew since is elsewhere.
  for (const void* room :
       {static_cast<const void*>(model.parameters().data()),
        static_cast<const void*>(d.weights.data()), static_cast<const void*>(d.vectors.data()),
        static_cast<const void*>(d.table.data()), static_cast<const void*>(d.features.data()),
        static_cast<const void*>(d.dfeatures.data()), static_cast<const void*>(d.partials.data()),
        static_cast<const void*>(d.sums.data()), static_cast<const void*>(d.fixed.data())})
    key.push_back(address(room));
  for (int i = 0; i < 3; ++i)
    for (std::int64_t number :
         {draw.size[i], draw.origin[i], draw.held[i], bits(draw.scale[i]), bits(draw.offset[i])})
      key.push_back(number);
  return key;
}

}  // namespace

cudaGraphExec_t CudaBackend::record(const std::function<void()>& work) {
  cudaGraph_t graph = nullptr;
  checked(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal));
  try {
    work();
  } catch (...) {
    // Else the stream would go on recording.
    cudaStreamEndCapture(stream_, &graph);
    if (graph) cudaGraphDestroy(graph);
    cudaGetLastError();
    throw;
  }
  checked(cudaStreamEndCapture(stream_, &graph));
  cudaGraphExec_t made = nullptr;
  const cudaError_t status = cudaGraphInstantiate(&made, graph, 0);
  cudaGraphDestroy(graph);
  checked(status);
  return made;
}

// The first step for a key runs as it is enqueued, and makes what room it needs; the next is
// recorded; all others replay it.
void CudaBackend::launch_step(Model& model, DeviceModel& d, const DeviceBatch& batch,
                              const Adam& adam) {
  std::vector<std::int64_t> key = key_of(model, d, batch, adam);
  RecordedStep& recorded = d.recorded;
  if (recorded.key != key) {
    recorded.clear();
    enqueue_step(model, d, batch, adam);
    recorded.key = key_of(model, d, batch, adam);
    return;
  }
  if (!recorded.graph) recorded.graph = record([&] { enqueue_step(model, d, batch, adam); });
  checked(cudaGraphLaunch(recorded.graph, stream_));
}

std::vector<BatchSums> CudaBackend::train(Model& model, const VolumeView& volume, const Box& box,
                                          const Objective& objective,
                                          std::span<const TrainingStep> steps, Rows points,
                                          Rows targets) {
  check(model.training(), "train() of a model without room for it");
  if (steps.empty() || points.rows == 0) return {};
  DeviceModel& d = prepare(model);
  refresh(model, d);
  start_scaling(d, objective.scale);
  const bool textured = texture_ && volume.data == textured_;
  const DeviceBatch batch{points, targets, objective,
                          make_draw(volume, box, steps.front().stream, 0, d.state.data(),
                                    textured ? texture_->object() : 0)};
  upload_steps(d, steps);
  if (!d.fuses) {
    choose(model, d, batch);
    upload_steps(d, steps);
  }
  for (const TrainingStep& step : steps) launch_step(model, d, batch, step.adam);
  return collect(d, steps.size());
}

// Seconds of a gradient as training will replay it, for both ways in turn so that the clock favours
// neither; the gradient is zeroed afterwards.
Tuning CudaBackend::time_ways(Model& model, DeviceModel& d, const DeviceBatch& batch) {
  RecordedStep recorded[2];
  double best[2] = {INFINITY, INFINITY};
  // Both make their room before either is recorded.
  for (bool whole : {false, true}) {
    d.fuses = whole;
    enqueue_gradient(model, d, batch);
  }
  for (bool whole : {false, true}) {
    d.fuses = whole;
    recorded[whole].graph = record([&] { enqueue_gradient(model, d, batch); });
  }
  Event begin, end;
  for (int i = 0; i < 5; ++i)
    for (int way = 0; way < 2; ++way) {
      begin.record(stream_);
      checked(cudaGraphLaunch(recorded[way].graph, stream_));
      end.record(stream_);
      const double seconds = end.seconds_since(begin);
      if (i > 0) best[way] = std::min(best[way], seconds);
    }
  checked(cudaMemsetAsync(model.gradient().data(), 0, model.gradient().bytes(), stream_));
  return {best[0], best[1]};
}

void CudaBackend::choose(Model& model, DeviceModel& d, const DeviceBatch& batch) {
  d.fuses = false;
  if (!d.plan || d.whole.warps == 0 || d.grid.count == 0) return;
  if (settings_.deterministic) {
    d.choice = "a kernel for each stage, as one for all would scatter in no fixed order";
    return;
  }
  const std::string key =
      tuning_key(properties_.name, *d.plan, d.grid, *batch.draw, batch.points.rows);
  const std::optional<Tuning> found = read_tuning(settings_.tuning_file, key);
  const Tuning tuning = found ? *found : time_ways(model, d, batch);
  if (!found) write_tuning(settings_.tuning_file, key, tuning);
  d.fuses = tuning.whole_seconds < tuning.split_seconds;
  d.choice = describe(tuning) + (found ? ", as measured before" : ", as measured");
}

std::string CudaBackend::choices(const Model& model) const {
  if (!model.cache) return "";
  const auto& d = *static_cast<const DeviceModel*>(model.cache.get());
  const std::string path = d.plan ? "fused decoder" : "general decoder";
  return path + " in " + kanbench::name(model.precision()) +
         (d.choice.empty() ? "" : "; " + d.choice);
}

}  // namespace kanbench::cuda
