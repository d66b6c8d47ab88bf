// Timing: each stage of a step alone, and what this machine can do at most.

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>

#include "cpu/backend.h"
#include "kanbench/parallel.h"

namespace kanbench::cpu {
namespace {

double seconds_of(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// The best of several, at least a fifth of a second in all.
double best_seconds(const std::function<void()>& work) {
  double best = seconds_of(work), total = best;
  for (int i = 0; i < 3 || total < 0.2; ++i) {
    const double took = seconds_of(work);
    best = std::min(best, took);
    total += took;
  }
  return best;
}

double measure_multiply_add(const Kernels& kernels) {
  constexpr std::int64_t kRounds = 10000000;
  const int tasks = threads();
  std::atomic<std::int64_t> operations = 0;
  const double seconds = best_seconds([&] {
    operations = 0;
    parallel(tasks, [&](std::int64_t) {
      operations += static_cast<std::int64_t>(kernels.multiply_add(kRounds));
    });
  });
  return static_cast<double>(operations) / seconds;
}

double measure_bandwidth() {
  constexpr std::int64_t kFloats = std::int64_t{1} << 25, kChunk = 1 << 16;
  Room a_room, b_room;
  float *a = a_room.floats(kFloats), *b = b_room.floats(kFloats);
  const double seconds = best_seconds([&] {
    parallel(kFloats / kChunk, [&](std::int64_t task) {
      for (std::int64_t i = task * kChunk; i < (task + 1) * kChunk; ++i) a[i] += 0.5f * b[i];
    });
  });
  return 3.0 * sizeof(float) * kFloats / seconds;
}

// Random rows of `bytes` read from a table of `table_bytes`, rows a second over all threads.
double measure_random_rows(std::int64_t table_bytes, std::int64_t bytes) {
  constexpr std::int64_t kReads = 1 << 20;
  const auto stride = static_cast<std::int64_t>(sizeof(float)) * ((bytes + 3) / 4);
  const std::int64_t rows = std::max<std::int64_t>(1, table_bytes / stride);
  Room room;
  const float* table = room.floats(rows * stride / 4);
  std::atomic<std::int64_t> sink = 0;
  const double seconds = best_seconds([&] {
    parallel(threads(), [&](std::int64_t task) {
      float sum = 0;
      std::uint64_t state = static_cast<std::uint64_t>(task) + 1;
      for (std::int64_t i = 0; i < kReads; ++i) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        const std::uint64_t row = ((state >> 32) * static_cast<std::uint64_t>(rows)) >> 32;
        sum += table[static_cast<std::int64_t>(row) * stride / 4];
      }
      sink += static_cast<std::int64_t>(sum);
    });
  });
  return static_cast<double>(kReads) * threads() / seconds;
}

// Operations of a decoder's forward pass for one row: products, and what the bases take.
double forward_flops(const ModelSpec& spec) {
  double flops = 0;
  for (const Layer& layer : spec.layers) {
    const double in = layer.in, out = layer.out, n = size(layer.basis);
    flops += 2 * in * out * (n + (layer.base ? 1 : 0));
    // Three exponentials of 14 operations and 3 a Gaussian; silu; mean, variance and scale.
    if (n > 1) flops += in * (3 * 14 + 3 * n);
    if (layer.base) flops += in * 18;
    if (layer.norm) flops += in * 8;
  }
  return flops;
}

double products_flops(const ModelSpec& spec) {
  double flops = 0;
  for (const Layer& layer : spec.layers)
    flops += 2.0 * layer.in * layer.out * (size(layer.basis) + (layer.base ? 1 : 0));
  return flops;
}

struct Top {
  double flops_per_second, bytes_per_second;
};

Stage by_flops(const char* name, double seconds, double flops, double bytes, const Top& top) {
  return {name, seconds, flops, bytes, "flops", flops / seconds / top.flops_per_second};
}
Stage by_bandwidth(const char* name, double seconds, double flops, double bytes, const Top& top) {
  return {name, seconds, flops, bytes, "bandwidth", bytes / seconds / top.bytes_per_second};
}

// Seconds that random rows alone would take for the corners of every table.
double gather_floor(const Layout& layout, std::int64_t rows) {
  double seconds = 0;
  for (std::size_t i = 0; i < layout.tables.size(); ++i) {
    const Slice& slice = layout.slices[i];
    const std::int64_t row = slice.columns * 4;
    seconds += corners(table_level(layout, i).geometry) * static_cast<double>(rows) /
               measure_random_rows(slice.rows * row, row);
  }
  return seconds;
}

// What levels of one kind take for a point: operations, and numbers read or written.
struct LevelWork {
  double flops = 0, numbers = 0;
};

LevelWork encode_work(const Layout& layout, bool tables) {
  LevelWork work;
  for (const Level& level : layout.levels) {
    if (level.has_table() != tables) continue;
    const double corner = corners(level.geometry), features = level.features;
    work.flops += (tables ? 50 : 0) + features * flops_a_number(level.geometry);
    work.numbers += corner * features + features + 3;
  }
  return work;
}

// Scattering also writes the rows that it reads.
LevelWork scatter_work(const Layout& layout) {
  LevelWork work = encode_work(layout, true);
  for (const Level& level : layout.levels)
    if (level.has_table()) work.numbers += corners(level.geometry) * level.features - 3;
  return work;
}

}  // namespace

std::vector<Ceiling> CpuBackend::measure_ceilings() {
  return {{"flops", measure_multiply_add(kernels_), "flop"},
          {"bandwidth", measure_bandwidth(), "byte"}};
}

std::vector<Stage> CpuBackend::profile(Model& model, const VolumeView& volume, std::int64_t rows,
                                       const Loss& loss, const Optimizer& optimizer) {
  if (!model.training()) model.train();
  const Top top{measure_multiply_add(kernels_), measure_bandwidth()};
  const Objective objective{loss, 1.0 / static_cast<double>(rows)};
  const ModelSpec& spec = model.spec();
  const Layout& layout = model.layout();
  const int outputs = spec.outputs();
  Buffer<float> point_block(*this, 3 * rows), targets(*this, outputs * rows);
  Buffer<float> values(*this, outputs * rows);
  const Rows points{point_block.data(), rows, 3, rows};
  const ConstRows read{point_block.data(), rows, 3, rows};
  const ConstRows wanted{targets.data(), rows, outputs, rows};
  const Stream stream = make_stream(1, 0, Purpose::samples);
  const double n = static_cast<double>(rows);
  const double features = width(spec.encoder);
  std::vector<Stage> stages;

  double seconds = best_seconds([&] {
    sample(volume, whole(volume.shape), stream, 0, points, {targets.data(), rows, outputs, rows});
  });
  stages.push_back(by_bandwidth(
      "sample", seconds, n * 60,
      n * (12 + outputs * (4 + 8.0 * static_cast<double>(size_of(volume.dtype)))), top));

  const Tiling t = tile(model, read, tile_rows(spec, rows));
  const LevelWork read_tables = encode_work(layout, true), plain = encode_work(layout, false);
  if (!layout.tables.empty()) {
    const double floor = gather_floor(layout, rows);
    seconds = best_seconds([&] { encode(model, t); });
    stages.push_back({"encode", seconds, n * (read_tables.flops + plain.flops),
                      n * 4 * (read_tables.numbers + plain.numbers), "random rows",
                      floor / seconds});
  } else if (plain.flops > 0) {
    stages.push_back(by_flops("encode", best_seconds([&] { encode(model, t); }), n * plain.flops,
                              n * 4 * plain.numbers, top));
  }
  encode(model, t);
  const double forward_seconds = best_seconds([&] {
    forward(model, t, {values.data(), rows, outputs, rows});
  });
  stages.push_back(by_flops("forward", forward_seconds, n * forward_flops(spec),
                            n * 4 * (features + outputs), top));
  double both = 1e300;
  for (int i = 0; i < 5; ++i) {
    encode(model, t);
    both = std::min(both, seconds_of([&] { train_tiles(model, t, wanted, objective); }));
  }
  stages.push_back(
      by_flops("backward", std::max(both - forward_seconds, 1e-9),
               n * (2 * products_flops(spec) + forward_flops(spec) - products_flops(spec)),
               n * 4 * 2 * features, top));
  if (!layout.tables.empty()) {
    const double floor = gather_floor(layout, rows);
    const LevelWork work = scatter_work(layout);
    seconds = best_seconds([&] { scatter(model, t); });
    stages.push_back(
        {"scatter", seconds, n * work.flops, n * 4 * work.numbers, "random rows", floor / seconds});
  }
  double best = 1e300;
  for (int i = 0; i < 5; ++i) {
    const Tiling again = tile(model, read, t.rows);
    encode(model, again);
    train_tiles(model, again, wanted, objective);
    scatter(model, again);
    best = std::min(best, seconds_of([&] { update(model, optimizer, i + 1); }));
  }
  double touched = 0;
  for (std::size_t i = 0; i < layout.tables.size(); ++i) {
    const Slice& slice = layout.slices[i];
    const double most = corners(table_level(layout, i).geometry) * n;
    touched += static_cast<double>(slice.columns) * std::min(static_cast<double>(slice.rows), most);
  }
  touched += static_cast<double>(layout.size - layout.decoder_begin);
  stages.push_back(by_bandwidth("update", best, touched * 12, touched * 4 * 8, top));
  return stages;
}

}  // namespace kanbench::cpu
