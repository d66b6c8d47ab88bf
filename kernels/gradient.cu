// A batch's gradient on the device: decoder and back, then the table's, level by level where others
// wait for it.

#include <algorithm>
#include <cmath>

#include "kanbench/error.h"
#include "kernels/backend.h"
#include "kernels/edges.h"

namespace kanbench::cuda {
namespace {

// A sample's own gradient is near one; times this it is far from both ends of half precision.
constexpr double kHalfScale = 128;
constexpr float kLargestScale = 16777216.0f * 1024;
// Levels of up to so many bytes are summed within a block.
constexpr std::int64_t kSharedLevel = 48 << 10;

}  // namespace

DeviceBatch given_batch(ConstRows points, ConstRows targets, const Objective& objective) {
  return {{const_cast<float*>(points.data), points.rows, 3, points.stride},
          {const_cast<float*>(targets.data), targets.rows, targets.width, targets.stride},
          objective,
          {}};
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
  a.loss = plain(batch.objective.loss);
  a.state = d.state.data();
  const bool whole = features.data == nullptr;
  const FusedMode mode = whole ? FusedMode::train_whole : FusedMode::train;
  const FusedShape& shape = whole ? d.whole : d.train;
  const int blocks = most_blocks(plan, shape, mode);
  a.partials = d.partials.reserve(blocks * plan.partials(shape.warps));
  a.sums = d.sums.reserve(2 * std::int64_t{blocks});
  if (whole) {
    a.draw = batch.draws.front();
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
                                  const FeatureRows& features, const Ready& ready) {
  if (model.layout().tables.empty()) return;
  enqueue_penalty(model, d, batch.objective);
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
  if (d.by_level) return enqueue_tables(model.layout(), d, target, points, dfeatures, ready);
  const ScatterPlan plan = plan_scatter(d.grid, points.rows, properties_.major, kSharedLevel,
                                        properties_.multiProcessorCount);
  if (!ready) return scatter(d.grid, target, points, dfeatures, plan, stream_);
  std::int64_t end = target.size;
  for (int l = d.grid.count - 1; l >= 0; --l) {
    scatter(d.grid, target, points, dfeatures, plan, {l, l + 1}, stream_);
    ready({d.grid.levels[l].offset, end});
    end = d.grid.levels[l].offset;
  }
}

void CudaBackend::enqueue_penalty(Model& model, const DeviceModel& d, const Objective& objective) {
  if (d.moving.count == 0) return;
  const encoder::GridPenalty penalty =
      adaptive_grids(model.spec().encoder)->penalty(objective.penalty);
  penalise_grids(d.moving, penalty, model.parameters().data(), model.gradient().data(), stream_);
}

void CudaBackend::enqueue_tables(const Layout& layout, const DeviceModel& d,
                                 const ScatterTarget& target, ConstRows points,
                                 const FeatureRows& dfeatures, const Ready& ready) {
  std::int64_t end = target.size;
  for (int t = static_cast<int>(layout.tables.size()) - 1; t >= 0; --t) {
    // The last of the grids that move brings all of them.
    if (d.moving.count > 0 && t == layout.first_grid + d.moving.count - 1)
      return_grids(d.moving, target, d.places.data(), points, dfeatures, stream_);
    scatter_table(layout, t, target, points, dfeatures, stream_);
    const std::int64_t begin = layout.slices[static_cast<std::size_t>(t)].offset;
    if (ready) ready({begin, end});
    end = begin;
  }
}

// All but the table's part: the decoder's gradient in the model, the features' beside it, sums and
// flags in the state. Returns how the features lie.
FeatureRows CudaBackend::enqueue_slopes(Model& model, DeviceModel& d, const DeviceBatch& batch) {
  const ConstRows points{batch.points.data, batch.points.rows, 3, batch.points.stride};
  const FeatureRows features = encode_batch(model, d, points);
  if (d.plan) {
    enqueue_decoder(model, d, batch, features);
    return features;
  }
  const int width = kanbench::width(model.spec().encoder);
  const std::int64_t rows = points.rows;
  auto* dfeatures = reinterpret_cast<float*>(d.dfeatures.reserve(width * rows * 4));
  const ConstRows read{static_cast<const float*>(features.data), rows, width, features.stride};
  const ConstRows targets{batch.targets.data, rows, batch.targets.width, batch.targets.stride};
  d.general->train(model.parameters().data(), model.gradient().data(), read, targets,
                   batch.objective, {dfeatures, rows, width, rows}, d.sums.reserve(2), stream_);
  reduce_sums(1, d.sums.data(), d.state.data(), stream_);
  return features;
}

void CudaBackend::enqueue_edges(Model& model, DeviceModel& d, const Objective& objective) {
  if (!objective.edges.wanted()) return;
  const ModelSpec& spec = model.spec();
  add_edge_gradient(spec, model.layout(), objective.edges, model.parameters().data(),
                    model.gradient().data(), d.edges.reserve(edge_room(spec.layers.size())),
                    stream_);
}

// Leaves the gradient in the model, sums and flags in the state.
void CudaBackend::enqueue_gradient(Model& model, DeviceModel& d, const DeviceBatch& batch) {
  if (!batch.draws.empty() && d.fuses.value_or(false)) return enqueue_decoder(model, d, batch, {});
  draw(batch.draws, batch.points, batch.targets, stream_);
  enqueue_scatter(model, d, batch, enqueue_slopes(model, d, batch));
}

// enqueue_slopes(), again at half the scale as long as it overflows half precision: what others are
// told of is final.
FeatureRows CudaBackend::settle_slopes(Model& model, DeviceModel& d, const DeviceBatch& batch) {
  StepState* const state = d.state.data();
  const float largest = largest_scale(d);
  if (largest == 0) {
    begin_steps(state, stream_);
    return enqueue_slopes(model, d, batch);
  }
  const Layout& layout = model.layout();
  float* const decoder = model.gradient().data() + layout.decoder_begin;
  const auto bytes = static_cast<std::size_t>(layout.size - layout.decoder_begin) * sizeof(float);
  copy(d.before.reserve(layout.size - layout.decoder_begin), decoder, bytes);
  for (;;) {
    begin_steps(state, stream_);
    const FeatureRows features = enqueue_slopes(model, d, batch);
    unsigned overflow = 0;
    download(&overflow, &state->overflow, sizeof overflow);
    if (!overflow) return features;
    end_step(largest, state, stream_);
    StepOutcome outcome;
    download(&outcome, state->outcomes, sizeof outcome);
    if (outcome.broken) return features;
    copy(decoder, d.before.data(), bytes);
  }
}

BatchSums CudaBackend::gradient(Model& model, ConstRows points, ConstRows targets,
                                const Objective& objective, const Ready& ready) {
  check(model.training(), "gradient() of a model without room for it");
  check(targets.width == model.spec().outputs(), "targets of another number of outputs");
  const Layout& layout = model.layout();
  const Range decoder{layout.decoder_begin, layout.size}, table{0, layout.decoder_begin};
  if (points.rows == 0) {
    if (objective.edges.wanted()) enqueue_edges(model, prepare(model), objective);
    enqueue_penalty(model, prepare(model), objective);
    // Others send theirs level by level.
    if (ready) ready(decoder);
    for (std::size_t l = layout.tables.size(); ready && l-- > 0;)
      ready({layout.slices[l].offset,
             l + 1 < layout.tables.size() ? layout.slices[l + 1].offset : table.end});
    return {};
  }
  DeviceModel& d = prepare(model);
  refresh(model, d);
  start_scaling(d, objective.scale);
  const DeviceBatch batch = given_batch(points, targets, objective);
  const FeatureRows features = settle_slopes(model, d, batch);
  enqueue_edges(model, d, objective);
  if (ready) ready(decoder);
  enqueue_scatter(model, d, batch, features, ready);
  end_step(largest_scale(d), d.state.data(), stream_);
  StepOutcome outcome;
  download(&outcome, d.state.data()->outcomes, sizeof outcome);
  return {outcome.loss, outcome.squared_error, !outcome.broken};
}

}  // namespace kanbench::cuda
