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

// The best of several, each long enough that the launches' own time is hidden.
double best_seconds(cudaStream_t stream, const std::function<void()>& work) {
  constexpr int kCalls = 8;
  Event begin, end;
  double best = 1e300;
  // Makes room.
  work();
  for (int i = 0; i < 4; ++i) {
    begin.record(stream);
    for (int call = 0; call < kCalls; ++call) work();
    end.record(stream);
    best = std::min(best, end.seconds_since(begin) / kCalls);
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

// What a model's stages work on, a row.
struct Sizes {
  double rows, features, entry_bytes, products;
  /// Tables, the rows that a point reads of them, their numbers, and the largest table's.
  double tables = 0, corners = 0, read = 0, level_numbers = 0;
  /// Numbers of the narrowest table's row.
  int narrowest = 16;
  /// Operations of the numbers that need no table.
  double plain_flops = 0;
};

Sizes measure_sizes(const Model& model, const DeviceModel& d, std::int64_t rows) {
  Sizes s{};
  s.rows = static_cast<double>(rows);
  s.features = width(model.spec().encoder);
  s.entry_bytes = d.plan && d.plan->precision != Precision::tf32 ? 2 : 4;
  const Layout& layout = model.layout();
  for (const Level& level : layout.levels) {
    if (!level.has_table()) {
      s.plain_flops += level.features * flops_a_number(level.geometry);
      continue;
    }
    s.tables += 1;
    s.corners += corners(level.geometry);
    s.read += corners(level.geometry) * level.features;
    s.narrowest = std::min(s.narrowest, level.features);
    s.level_numbers =
        std::max(s.level_numbers,
                 static_cast<double>(layout.slices[static_cast<std::size_t>(level.slice)].size()));
  }
  s.products = s.rows * product_flops(model.spec());
  return s;
}

Stage make_stage(const char* name, double seconds, const Work& work, const std::string& ceiling,
                 double done, double per_second) {
  return {name,       seconds, work.flops,
          work.bytes, ceiling, per_second > 0 ? done / seconds / per_second : 0};
}

Stage make_encode(double seconds, const Sizes& s, const std::vector<Ceiling>& top) {
  const Work work{s.rows * (s.tables * 150 + s.plain_flops),
                  s.rows * (s.read + s.features) * s.entry_bytes};
  if (s.tables == 0)
    return make_stage("encode", seconds, work, "bandwidth", work.bytes, rate(top, "bandwidth"));
  return make_stage("encode", seconds, work, "gather", s.rows * s.corners,
                    rate_by_table(top, "gather", s.level_numbers * s.entry_bytes));
}

Stage make_scatter(double seconds, const Sizes& s, const std::vector<Ceiling>& top) {
  const std::string red = s.narrowest >= 4   ? "red v4.f32"
                          : s.narrowest == 2 ? "red v2.f32"
                                             : "red f32";
  return make_stage("scatter", seconds,
                    {s.rows * s.tables * 125, s.rows * (s.read + s.features) * 4}, red,
                    s.rows * s.corners * std::max(1, s.narrowest / 4),
                    rate_by_table(top, red, s.level_numbers * 4));
}

Stage make_update(double seconds, std::int64_t parameters, const Sizes& s,
                  const std::vector<Ceiling>& top) {
  const double bytes = static_cast<double>(parameters) * (8 * 4 + s.entry_bytes);
  return make_stage("update", seconds, {bytes / 2, bytes}, "bandwidth", bytes,
                    rate(top, "bandwidth"));
}

}  // namespace

// An update leaves zeroes behind and would find them, which is less work: it gets a gradient anew
// each time, and what that takes is not counted.
double CudaBackend::time_update(Model& model, DeviceModel& d, const Optimizer& optimizer) {
  const Buffer<float> kept(*this, model.layout().size);
  const std::vector<float> numbers(static_cast<std::size_t>(kept.size()), 1e-6f);
  upload(kept.data(), numbers.data(), kept.bytes());
  const auto restore = [&] {
    checked(cudaMemcpyAsync(model.gradient().data(), kept.data(), kept.bytes(),
                            cudaMemcpyDeviceToDevice, stream_));
  };
  const double restoring = best_seconds(stream_, restore);
  const double both = best_seconds(stream_, [&] {
    restore();
    enqueue_update(model, d, optimizer);
  });
  return std::max(both - restoring, 1e-9);
}

std::vector<Stage> CudaBackend::profile(Model& model, const VolumeView& volume, std::int64_t rows,
                                        const Loss& loss, const Optimizer& optimizer) {
  if (!model.training()) model.train();
  if (ceilings_.empty()) ceilings_ = measure_ceilings();
  const std::vector<Ceiling>& top = ceilings_;
  DeviceModel& d = prepare(model);
  refresh(model, d);
  const Sizes s = measure_sizes(model, d, rows);
  start_scaling(d, 1 / s.rows);
  const int outputs = model.spec().outputs();
  Buffer<float> point_block(*this, 3 * rows), targets(*this, outputs * rows);
  Buffer<float> values(*this, outputs * rows);
  const DeviceBatch batch{{point_block.data(), rows, 3, rows},
                          {targets.data(), rows, outputs, rows},
                          {loss, 1 / s.rows},
                          {}};
  const ConstRows points{point_block.data(), rows, 3, rows};
  const TrainingStep numbers{make_stream(1, 0, Purpose::samples), optimizer, 1, {}};
  upload_steps(d, {&numbers, 1});
  std::vector<Stage> all;
  const auto time = [&](const std::function<void()>& work) { return best_seconds(stream_, work); };
  const auto by_bandwidth = [&](const char* name, double seconds, double flops, double bytes) {
    all.push_back(
        make_stage(name, seconds, {flops, bytes}, "bandwidth", bytes, rate(top, "bandwidth")));
  };
  const char* product = !d.plan                                ? "flops"
                        : d.plan->precision == Precision::tf32 ? "mma tf32"
                                                               : "mma half";
  const auto by_products = [&](const char* name, double seconds, double products, double bytes) {
    all.push_back(
        make_stage(name, seconds, {products, bytes}, product, products, rate(top, product)));
  };

  by_bandwidth("sample", time([&] {
                 sample(volume, whole(volume.shape), numbers.stream, 0, batch.points,
                        batch.targets);
               }),
               s.rows * 60,
               s.rows * (12 + outputs * (4 + 8.0 * static_cast<double>(size_of(volume.dtype)))));
  FeatureRows encoded;
  const double encoding = time([&] { encoded = encode_batch(model, d, points); });
  if (s.tables > 0 || s.plain_flops > 0) all.push_back(make_encode(encoding, s, top));
  const double feature_bytes = s.rows * s.features * s.entry_bytes;
  by_products("predict", time([&] {
                predict(model, points, {values.data(), rows, outputs, rows});
              }),
              s.products, feature_bytes);
  if (d.plan)
    by_products("decoder", time([&] { enqueue_decoder(model, d, batch, encoded); }), 3 * s.products,
                2 * feature_bytes);
  if (d.plan && s.tables > 0)
    all.push_back(make_scatter(time([&] { enqueue_scatter(model, d, batch, encoded); }), s, top));
  by_products("gradient", time([&] { enqueue_gradient(model, d, batch); }), 3 * s.products, 0);
  all.push_back(make_update(time_update(model, d, optimizer), model.layout().size, s, top));
  checked(cudaStreamSynchronize(stream_));
  return all;
}

}  // namespace kanbench::cuda
