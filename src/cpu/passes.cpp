// The phases of a step up to the features' gradient: tiles, encoding, decoder forward and back,
// reduction of the decoder's gradient.

#include <algorithm>

#include "cpu/backend.h"
#include "kanbench/error.h"
#include "kanbench/parallel.h"

namespace kanbench::cpu {
namespace {

// Tiles that a thread encodes at a time: a few hundred microseconds of work.
constexpr std::int64_t kEncodeTiles = 32;
constexpr std::int64_t kPredictRows = 1 << 16;

}  // namespace

void place_levels(const Model& model) {
  const Layout& layout = model.layout();
  std::vector<Geometry>& levels = cache_of(model).levels;
  if (!levels.empty() && layout.transforms < 0) return;
  levels.clear();
  for (const Level& level : layout.levels)
    levels.push_back(placed(layout, level, model.parameters().data()));
}

LevelArguments level_arguments(const Model& model, int l, float* block, const Tiling& tiling,
                               std::int64_t first_tile, std::int64_t tiles) {
  const Layout& layout = model.layout();
  const Level& level = layout.levels[static_cast<std::size_t>(l)];
  const int rows = tiling.rows;
  LevelArguments a;
  a.kind = static_cast<int>(level.geometry.index());
  const Geometry& geometry = cache_of(model).levels[static_cast<std::size_t>(l)];
  a.geometry = std::visit([](const auto& g) -> const void* { return &g; }, geometry);
  a.features = level.features;
  const Slice* slice =
      level.has_table() ? &layout.slices[static_cast<std::size_t>(level.slice)] : nullptr;
  a.table = slice ? block + slice->offset : nullptr;
  a.rows_there = slice ? slice->rows : 0;
  a.points = tiling.points + first_tile * 3 * rows;
  a.values = tiling.features + (first_tile * tiling.width + level.first) * rows;
  a.tiles = tiles;
  a.point_tile = 3 * rows;
  a.feature_tile = tiling.width * rows;
  a.rows = rows;
  return a;
}

Tiling CpuBackend::tile(const Model& model, ConstRows points, int rows) {
  check(points.width == 3, "points that are not in three dimensions");
  Tiling t;
  t.rows = rows;
  t.tiles = ceil_divide(points.rows, rows);
  t.width = width(model.spec().encoder);
  place_levels(model);
  t.points = floats(points_, t.tiles * 3 * rows);
  t.features = floats(features_, t.tiles * t.width * rows);
  parallel(ceil_divide(t.tiles, kEncodeTiles), [&](std::int64_t task) {
    const std::int64_t end = std::min(t.tiles, (task + 1) * kEncodeTiles);
    for (std::int64_t i = task * kEncodeTiles; i < end; ++i) {
      const std::int64_t valid = std::min<std::int64_t>(rows, points.rows - i * rows);
      for (int d = 0; d < 3; ++d) {
        float* to = t.points + (i * 3 + d) * rows;
        std::copy_n(points.data + d * points.stride + i * rows, valid, to);
        std::fill(to + valid, to + rows, 0.0f);
      }
    }
  });
  return t;
}

void CpuBackend::encode(const Model& model, const Tiling& t) {
  const auto levels = static_cast<std::int64_t>(model.layout().levels.size());
  const std::int64_t blocks = ceil_divide(t.tiles, kEncodeTiles);
  parallel(levels * blocks, [&](std::int64_t task) {
    const std::int64_t first = task % blocks * kEncodeTiles;
    kernels_.encode(level_arguments(model, static_cast<int>(task / blocks),
                                    model.parameters().data(), t, first,
                                    std::min(kEncodeTiles, t.tiles - first)));
  });
}

void CpuBackend::forward(const Model& model, const Tiling& t, Rows values) {
  const DecoderPlan& plan = plan_for(model, t.rows);
  constexpr std::int64_t kTiles = 8;
  parallel(ceil_divide(t.tiles, kTiles), [&](std::int64_t task) {
    float* scratch = scratch_floats(plan.scratch + std::int64_t{plan.outputs} * t.rows);
    float* results = scratch + plan.scratch;
    const std::int64_t end = std::min(t.tiles, (task + 1) * kTiles);
    for (std::int64_t i = task * kTiles; i < end; ++i) {
      TileArguments a{};
      a.plan = &plan;
      a.parameters = model.parameters().data();
      a.features = t.features + i * t.width * t.rows;
      a.scratch = scratch;
      a.values = results;
      kernels_.forward(a);
      const std::int64_t first = i * t.rows;
      for (int o = 0; o < plan.outputs; ++o)
        std::copy_n(results + std::int64_t{o} * t.rows,
                    std::min<std::int64_t>(t.rows, values.rows - first),
                    values.data + o * values.stride + first);
    }
  });
}

void CpuBackend::predict(const Model& model, ConstRows points, Rows values) {
  check(values.width == model.spec().outputs(), "room for another number of outputs");
  for (std::int64_t first = 0; first < points.rows; first += kPredictRows) {
    const std::int64_t rows = std::min(kPredictRows, points.rows - first);
    const Tiling t =
        tile(model, {points.data + first, rows, 3, points.stride}, tile_rows(model.spec(), rows));
    encode(model, t);
    forward(model, t, {values.data + first, rows, values.width, values.stride});
  }
}

namespace {

// The tile's targets in room of their own, zeros past its rows.
void pad_targets(TileArguments& a, float* padded) {
  const int rows = a.plan->rows;
  for (int o = 0; o < a.plan->outputs; ++o) {
    float* to = padded + std::int64_t{o} * rows;
    std::copy_n(a.targets + o * a.target_stride, a.valid, to);
    std::fill(to + a.valid, to + rows, 0.0f);
  }
  a.targets = padded;
  a.target_stride = rows;
}

}  // namespace

BatchSums CpuBackend::train_tiles(Model& model, const Tiling& t, ConstRows targets,
                                  const Objective& objective) {
  const DecoderPlan& plan = plan_for(model, t.rows);
  check(targets.width == plan.outputs, "targets of another number of outputs");
  // The cut depends on the batch alone, so that sums do not depend on who adds them.
  const std::int64_t per_chunk = ceil_divide(t.tiles, std::min(kMaxChunks, t.tiles));
  const std::int64_t chunks = ceil_divide(t.tiles, per_chunk);
  float* sums = floats(sums_, chunks * plan.sums);
  std::vector<BatchSums> losses(static_cast<std::size_t>(chunks));
  parallel(chunks, [&](std::int64_t chunk) {
    float* scratch = scratch_floats(plan.scratch + std::int64_t{plan.outputs} * t.rows);
    float* padded = scratch + plan.scratch;
    BatchSums& total = losses[static_cast<std::size_t>(chunk)];
    TileArguments a{};
    a.plan = &plan;
    a.parameters = model.parameters().data();
    a.scratch = scratch;
    a.skip_input = model.layout().tables.empty();
    a.loss = plain(objective.loss);
    a.scale = static_cast<float>(objective.scale / plan.outputs);
    a.sums = sums + chunk * plan.sums;
    a.loss_sum = &total.loss;
    a.squared_sum = &total.squared_error;
    std::fill_n(a.sums, plan.sums, 0.0f);
    const std::int64_t end = std::min(t.tiles, (chunk + 1) * per_chunk);
    for (std::int64_t i = chunk * per_chunk; i < end; ++i) {
      const std::int64_t first = i * t.rows;
      a.valid = static_cast<int>(std::min<std::int64_t>(t.rows, targets.rows - first));
      a.features = t.features + i * t.width * t.rows;
      a.targets = targets.data + first;
      a.target_stride = targets.stride;
      if (a.valid < t.rows) pad_targets(a, padded);
      kernels_.train(a);
    }
  });
  reduce(model, plan, static_cast<int>(chunks));
  BatchSums total;
  for (const BatchSums& part : losses) {
    total.loss += part.loss;
    total.squared_error += part.squared_error;
  }
  total.loss /= plan.outputs;
  total.squared_error /= plan.outputs;
  return total;
}

namespace {

// One tensor of the decoder's gradient within the chunks' sums: `rows` x `columns` of the block at
// `to`, where number (o, k) is at from + k * stride + o, or, by lanes, the sum of the lanes there.
struct Reduction {
  std::int64_t to, from, rows, columns, stride;
  bool lanes;
};

void add_tensor(std::vector<Reduction>& all, std::int64_t to, std::int64_t from, std::int64_t rows,
                std::int64_t columns, std::int64_t stride, bool lanes) {
  if (to >= 0) all.push_back({to, from, rows, columns, stride, lanes});
}

std::vector<Reduction> list_reductions(const DecoderPlan& plan) {
  std::vector<Reduction> all;
  for (int l = 0; l < plan.count; ++l) {
    const LayerPlan& p = plan.layers[l];
    const std::int64_t k = std::int64_t{p.in} * p.size;
    // Edges sum their lanes themselves.
    add_tensor(all, p.weight, p.dweight, p.out, k, p.columns, p.out == 1 && !p.edges);
    add_tensor(all, p.scale, p.dscale, p.out, p.in, p.columns, false);
    add_tensor(all, p.shift, p.dshift, p.out, p.in, p.columns, false);
    add_tensor(all, p.base_weight, p.dbase, p.base_out, p.in, p.base_columns, p.base_out == 1);
    add_tensor(all, p.share, p.dshare, 1, 1, kMaxWidth, true);
    add_tensor(all, p.inner, p.dinner, 1, inner_count(p), kMaxWidth, true);
    add_tensor(all, p.bias, p.dbias, 1, p.out, kMaxWidth, true);
    add_tensor(all, p.norm_weight, p.dnorm_weight, 1, p.in, kMaxWidth, true);
    add_tensor(all, p.norm_bias, p.dnorm_bias, 1, p.in, kMaxWidth, true);
  }
  return all;
}

// Coefficients k ... k_end - 1 of one tensor over all chunks, in the chunks' order.
void reduce_columns(const Reduction& r, const float* sums, std::int64_t chunk_floats, int chunks,
                    std::int64_t k, std::int64_t k_end, float* block) {
  constexpr std::int64_t kRow = 4096;
  float total[kRow];
  for (; k < k_end; ++k) {
    const float* row = sums + r.from + k * r.stride;
    for (std::int64_t first = 0; first < r.stride; first += kRow) {
      const std::int64_t count = std::min(kRow, r.stride - first);
      std::fill_n(total, count, 0.0f);
      for (int c = 0; c < chunks; ++c)
        for (std::int64_t i = 0; i < count; ++i) total[i] += row[c * chunk_floats + first + i];
      if (r.lanes) {
        float sum = 0;
        for (std::int64_t i = 0; i < count; ++i) sum += total[i];
        block[r.to + k] += sum;
      } else {
        for (std::int64_t o = first; o < std::min(r.rows, first + count); ++o)
          block[r.to + o * r.columns + k] += total[o - first];
      }
    }
  }
}

}  // namespace

void CpuBackend::reduce(Model& model, const DecoderPlan& plan, int chunks) {
  constexpr std::int64_t kColumns = 64;
  const std::vector<Reduction> all = list_reductions(plan);
  std::vector<std::pair<const Reduction*, std::int64_t>> tasks;
  for (const Reduction& r : all)
    for (std::int64_t k = 0; k < r.columns; k += kColumns) tasks.emplace_back(&r, k);
  const float* sums = sums_.floats(0);
  parallel(static_cast<std::int64_t>(tasks.size()), [&](std::int64_t i) {
    const auto& [r, k] = tasks[static_cast<std::size_t>(i)];
    reduce_columns(*r, sums, plan.sums, chunks, k, std::min(r->columns, k + kColumns),
                   model.gradient().data());
  });
}

}  // namespace kanbench::cpu
