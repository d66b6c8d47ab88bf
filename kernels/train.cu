// Steps on the device: update; many of them as one recorded graph; and the choice, by measuring,
// between one kernel for draw, encode, decoder and scatter, and one for each.

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kanbench/error.h"
#include "kernels/backend.h"
#include "kernels/fused_points.h"
#include "kernels/tuning.h"
#include "kernels/update.h"

namespace kanbench::cuda {

void RecordedStep::clear() {
  if (graph) cudaGraphExecDestroy(graph);
  graph = nullptr;
  key.clear();
}

// `optimizer` is that of the step under way but for what changes from step to step.
void CudaBackend::enqueue_update(Model& model, DeviceModel& d, const Optimizer& optimizer) {
  const UpdateRule& rule = rule_of(optimizer);
  UpdateArguments a;
  a.parameters = model.parameters().data();
  a.gradient = model.gradient().data();
  a.first_moment = model.first_moment().data();
  a.second_moment = model.second_moment().data();
  a.share = model.share();
  a.decoder_begin = model.layout().decoder_begin;
  a.kind = static_cast<int>(optimizer.index());
  a.clips = rule.largest_norm > 0;
  a.tables_end = tables_end(model.layout());
  a.skip_untouched = rule.skip_untouched;
  a.state = d.state.data();
  a.not_finite = &d.state.data()->broken;
  if (d.plan && d.plan->precision != Precision::tf32) {
    a.copy = d.table.data();
    a.copy_type = d.plan->precision;
  }
  if (a.clips)
    measure_norm(a.gradient + a.share.begin, a.share.size(), rule.gradient_scale, rule.largest_norm,
                 d.norms.reserve(kNormRoom), d.state.data(), stream_);
  cuda::update(a, stream_);
  const auto zero = [&](std::int64_t begin, std::int64_t end) {
    if (begin < end)
      checked(cudaMemsetAsync(a.gradient + begin, 0,
                              static_cast<std::size_t>(end - begin) * sizeof(float), stream_));
  };
  zero(0, a.share.begin);
  zero(a.share.end, model.layout().size);
  if (d.plan) pack_fused(*d.plan, a.parameters, d.weights.data(), d.vectors.data(), stream_);
}

void CudaBackend::enqueue_step(Model& model, DeviceModel& d, const DeviceBatch& batch,
                               const Optimizer& optimizer) {
  enqueue_gradient(model, d, batch);
  enqueue_edges(model, d, batch.objective);
  enqueue_update(model, d, optimizer);
  end_step(largest_scale(d), d.state.data(), stream_);
}

void CudaBackend::upload_steps(DeviceModel& d, std::span<const TrainingStep> steps) {
  StepNumbers numbers[kMostSteps];
  check(steps.size() <= kMostSteps, "more steps than one call takes");
  for (std::size_t i = 0; i < steps.size(); ++i) {
    const TrainingStep& step = steps[i];
    const UpdateRule& rule = rule_of(step.optimizer);
    numbers[i] = {step.stream.step, step_of(step.optimizer, rule.encoder_rate, step.number),
                  step_of(step.optimizer, rule.decoder_rate, step.number)};
  }
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

double CudaBackend::squared_norm(const Model& model) {
  DeviceModel& d = prepare(model);
  const Range share = model.share();
  measure_norm(model.gradient().data() + share.begin, share.size(), 1, 0,
               d.norms.reserve(kNormRoom), d.state.data(), stream_);
  double square = 0;
  download(&square, &d.state.data()->squared_norm, sizeof square);
  return square;
}

bool CudaBackend::update(Model& model, const Optimizer& optimizer, std::int64_t step) {
  DeviceModel& d = prepare(model);
  const TrainingStep numbers{{}, optimizer, step, {}};
  upload_steps(d, {&numbers, 1});
  refresh(model, d);
  enqueue_update(model, d, optimizer);
  unsigned broken = 0;
  download(&broken, &d.state.data()->broken, sizeof broken);
  return broken == 0;
}

BatchSums CudaBackend::step(Model& model, ConstRows points, ConstRows targets,
                            const Objective& objective, const Optimizer& optimizer,
                            std::int64_t step) {
  check(model.training(), "step() of a model without room for it");
  check(targets.width == model.spec().outputs(), "targets of another number of outputs");
  if (points.rows == 0) return Backend::step(model, points, targets, objective, optimizer, step);
  DeviceModel& d = prepare(model);
  refresh(model, d);
  start_scaling(d, objective.scale);
  const TrainingStep numbers{{}, optimizer, step, {}};
  upload_steps(d, {&numbers, 1});
  const DeviceBatch batch = given_batch(points, targets, objective);
  enqueue_step(model, d, batch, optimizer);
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
                                 const Optimizer& optimizer) {
  const UpdateRule& rule = rule_of(optimizer);
  const DrawArguments& draw = b.draws.front();
  std::vector<std::int64_t> key = {static_cast<std::int64_t>(draw.dtype),
                                   static_cast<std::int64_t>(draw.texture),
                                   static_cast<std::int64_t>(draw.stream.key),
                                   address(draw.guide.ends),
                                   address(b.points.data),
                                   address(b.targets.data),
                                   b.points.rows,
                                   b.targets.stride,
                                   plain(b.objective.loss).kind,
                                   bits(plain(b.objective.loss).number),
                                   bits(b.objective.scale),
                                   bits(b.objective.edges.l1),
                                   bits(b.objective.edges.entropy),
                                   bits(b.objective.penalty),
                                   static_cast<std::int64_t>(optimizer.index()),
                                   rule.skip_untouched,
                                   bits(rule.largest_norm),
                                   bits(rule.gradient_scale),
                                   address(model.gradient().data()),
                                   d.fuses.value_or(false)};
  // Room that grew since is elsewhere.
  for (const void* room :
       {static_cast<const void*>(model.parameters().data()),
        static_cast<const void*>(d.weights.data()), static_cast<const void*>(d.vectors.data()),
        static_cast<const void*>(d.table.data()), static_cast<const void*>(d.features.data()),
        static_cast<const void*>(d.dfeatures.data()), static_cast<const void*>(d.partials.data()),
        static_cast<const void*>(d.sums.data()), static_cast<const void*>(d.norms.data()),
        static_cast<const void*>(d.edges.data()), static_cast<const void*>(d.fixed.data()),
        static_cast<const void*>(d.places.data())})
    key.push_back(address(room));
  // Components differ in these.
  for (const DrawArguments& one : b.draws)
    for (const std::int64_t number : {address(one.voxels), bits(one.low), bits(one.inverse_range)})
      key.push_back(number);
  for (int i = 0; i < 3; ++i)
    for (std::int64_t number : {std::int64_t{draw.guide.bricks[i]}, draw.size[i], draw.origin[i],
                                draw.held[i], bits(draw.scale[i]), bits(draw.offset[i])})
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
                              const Optimizer& optimizer) {
  std::vector<std::int64_t> key = key_of(model, d, batch, optimizer);
  RecordedStep& recorded = d.recorded;
  if (recorded.key != key) {
    recorded.clear();
    enqueue_step(model, d, batch, optimizer);
    recorded.key = key_of(model, d, batch, optimizer);
    return;
  }
  if (!recorded.graph) recorded.graph = record([&] { enqueue_step(model, d, batch, optimizer); });
  checked(cudaGraphLaunch(recorded.graph, stream_));
}

double CudaBackend::shape(Model& model, ConstRows points, ConstRows targets,
                          const GeometryStep& step, const SumNumbers& sum) {
  check(model.training(), "shape() of a model without room for it");
  DeviceModel& d = prepare(model);
  if (d.moving.count == 0) return 0;
  const int outputs = model.spec().outputs();
  Buffer<float> values(*this, outputs * std::max<std::int64_t>(1, points.rows));
  const Rows found{values.data(), points.rows, outputs, points.rows};
  predict(model, points, found);
  const ShapeArguments arguments{points,
                                 {found.data, found.rows, outputs, found.stride},
                                 targets,
                                 model.parameters().data(),
                                 model.first_moment().data(),
                                 model.second_moment().data(),
                                 model.share(),
                                 geometry_adam(step)};
  return shape_grids(d.moving, arguments, sum, d.shaping, stream_);
}

// A recording holds steps whose grids stay; the others are taken one by one.
std::vector<BatchSums> CudaBackend::train(Model& model, const VolumeView& volume, const Box& box,
                                          const Objective& objective,
                                          std::span<const TrainingStep> steps, Rows points,
                                          Rows targets) {
  const auto stays = [](const TrainingStep& step) { return step.geometry.rate == 0; };
  std::vector<BatchSums> all;
  for (std::size_t i = 0; i < steps.size() && (all.empty() || all.back().finite);) {
    const auto first = steps.begin() + static_cast<std::ptrdiff_t>(i);
    const auto end = std::find_if_not(first, steps.end(), stays);
    const auto part = stays(*first) ? std::span(first, end) : std::span(first, 1);
    const std::vector<BatchSums> sums =
        stays(*first) ? train_recorded(model, volume, box, objective, part, points, targets)
                      : Backend::train(model, volume, box, objective, part, points, targets);
    if (sums.empty()) break;
    all.insert(all.end(), sums.begin(), sums.end());
    i += part.size();
  }
  return all;
}

std::vector<BatchSums> CudaBackend::train_recorded(Model& model, const VolumeView& volume,
                                                   const Box& box, const Objective& objective,
                                                   std::span<const TrainingStep> steps, Rows points,
                                                   Rows targets) {
  check(model.training(), "train() of a model without room for it");
  check(targets.width == volume.components && targets.width == model.spec().outputs(),
        "targets of another number of outputs");
  if (steps.empty() || points.rows == 0) return {};
  DeviceModel& d = prepare(model);
  refresh(model, d);
  start_scaling(d, objective.scale);
  const DeviceBatch batch{
      points, targets, objective,
      make_draws(volume, box, steps.front().stream, 0, d.state.data(), texture_of(volume))};
  upload_steps(d, steps);
  if (!d.fuses) {
    choose(model, d, batch);
    upload_steps(d, steps);
  }
  for (const TrainingStep& step : steps) launch_step(model, d, batch, step.optimizer);
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
      tuning_key(properties_.name, *d.plan, d.grid, batch.draws.front(), batch.points.rows);
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
