// Each stage of a step on the device, timed alone.

#include <algorithm>
#include <functional>

#include "kernels/backend.h"
#include "kernels/update.h"

namespace kanbench::cuda {
namespace {

struct Work {
  double flops = 0, bytes = 0;
};

double best_seconds(cudaStream_t stream, const std::function<void()>& work) {
  Event begin, end;
  double best = 1e300;
  for (int i = 0; i < 6; ++i) {
    begin.record(stream);
    work();
    end.record(stream);
    const double seconds = end.seconds_since(begin);
    // The first makes room.
    if (i > 0) best = std::min(best, seconds);
  }
  return best;
}

double rate(const std::vector<Ceiling>& all, const std::string& name) {
  for (const Ceiling& c : all)
    if (c.name == name) return c.per_second;
  return 0;
}

// The rate of the smallest table that was measured and is not smaller than `bytes`.
double rate_by_table(const std::vector<Ceiling>& all, const std::string& name, double bytes) {
  double found = 0;
  for (double megabytes : {1.0, 4.0, 16.0, 64.0}) {
    const double one = rate(all, name + " " + std::to_string(static_cast<int>(megabytes)) + " MB");
    if (one > 0) found = one;
    if (found > 0 && megabytes * 1048576 >= bytes) break;
  }
  return found;
}

// Products of one row, forward; back there are twice as many.
double product_flops(const ModelSpec& spec) {
  double flops = 0;
  for (const Layer& layer : spec.layers)
    flops += 2.0 * layer.in * layer.out * (size(layer.basis) + (layer.base ? 1 : 0));
  return flops;
}

Stage make_stage(const char* name, double seconds, const Work& work, const std::string& ceiling,
                 double done, double per_second) {
  return {name,       seconds, work.flops,
          work.bytes, ceiling, per_second > 0 ? done / seconds / per_second : 0};
}

}  // namespace

std::vector<Stage> CudaBackend::profile(Model& model, const VolumeView& volume, std::int64_t rows,
                                        const Loss& loss, const Adam& adam) {
  if (!model.training()) model.train();
  if (ceilings_.empty()) ceilings_ = measure_ceilings();
  const std::vector<Ceiling>& top = ceilings_;
  DeviceModel& d = prepare(model);
  refresh(model, d);
  const double n = static_cast<double>(rows);
  start_scaling(d, 1 / n);
  Buffer<float> point_block(*this, 3 * rows), targets(*this, rows), values(*this, rows);
  const Stream stream = make_stream(1, 0, Purpose::samples);
  const DeviceBatch batch{
      {point_block.data(), rows, 3, rows}, {targets.data(), rows, 1, rows}, {loss, 1 / n}, {}};
  const ConstRows points{point_block.data(), rows, 3, rows};
  const ModelSpec& spec = model.spec();
  const double features = width(spec.encoder), levels = d.grid.count;
  const double entry = d.plan && d.plan->precision != Precision::tf32 ? 2 : 4;
  double level_bytes = 0;
  for (int l = 0; l < d.grid.count; ++l)
    level_bytes = std::max(level_bytes,
                           static_cast<double>(d.grid.levels[l].level.entries) * d.grid.features);
  std::vector<Stage> all;
  const TrainingStep numbers{stream, adam, 1};
  upload_steps(d, {&numbers, 1});

  double seconds = best_seconds(stream_, [&] {
    sample(volume, whole(volume.shape), stream, 0, batch.points, batch.targets);
  });
  const double sampled = n * (16 + 8.0 * static_cast<double>(size_of(volume.dtype)));
  all.push_back(make_stage("sample", seconds, {n * 60, sampled}, "bandwidth", sampled,
                           rate(top, "bandwidth")));

  FeatureRows encoded;
  seconds = best_seconds(stream_, [&] { encoded = encode_batch(model, d, points); });
  const double sectors = n * levels * 8;
  if (levels > 0)
    all.push_back(make_stage("encode", seconds, {n * levels * 150, n * features * 9 * entry},
                             "gather", sectors, rate_by_table(top, "gather", level_bytes * entry)));

  const double products = n * product_flops(spec);
  seconds = best_seconds(stream_, [&] { predict(model, points, {values.data(), rows, 1, rows}); });
  const char* product = !d.plan                                ? "flops"
                        : d.plan->precision == Precision::tf32 ? "mma tf32"
                                                               : "mma half";
  all.push_back(make_stage("predict", seconds, {products, n * features * entry}, product, products,
                           rate(top, product)));
  // Without what goes before and after: the decoder there and back.
  const bool fuses = d.fuses.value_or(false);
  d.fuses = false;
  if (d.plan) {
    seconds = best_seconds(stream_, [&] { enqueue_decoder(model, d, batch, encoded); });
    all.push_back(make_stage("decoder", seconds, {3 * products, 2 * n * features * entry}, product,
                             3 * products, rate(top, product)));
    if (levels > 0) {
      seconds = best_seconds(stream_, [&] { enqueue_scatter(model, d, batch, encoded); });
      const std::string red = d.grid.features >= 4   ? "red v4.f32"
                              : d.grid.features == 2 ? "red v2.f32"
                                                     : "red f32";
      all.push_back(make_stage("scatter", seconds, {n * levels * 125, n * features * 9 * 4}, red,
                               n * levels * 8 * std::max(1, d.grid.features / 4),
                               rate_by_table(top, red, level_bytes * 4)));
    }
  }
  seconds = best_seconds(stream_, [&] { enqueue_gradient(model, d, batch); });
  all.push_back(make_stage("gradient", seconds, {3 * products, 0}, product, 3 * products,
                           rate(top, product)));
  seconds = best_seconds(stream_, [&] { enqueue_update(model, d, adam); });
  const double updated = static_cast<double>(model.layout().size) * (7 * 4 + entry);
  all.push_back(make_stage("update", seconds, {updated / 2, updated}, "bandwidth", updated,
                           rate(top, "bandwidth")));
  d.fuses = fuses;
  checked(cudaStreamSynchronize(stream_));
  return all;
}

}  // namespace kanbench::cuda
