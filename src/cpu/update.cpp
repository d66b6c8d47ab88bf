// The table's side of a step: gradients scattered by threads that own a table or a range of its
// rows, and the optimizer. In one go, a table is updated while its gradient is still in the cache.

#include <algorithm>
#include <atomic>
#include <cmath>

#include "cpu/backend.h"
#include "kanbench/error.h"
#include "kanbench/parallel.h"

namespace kanbench::cpu {
namespace {

constexpr std::int64_t kUpdateFloats = 1 << 16;
// Rows of a share are a multiple of this, so that no two shares have a cache line in common.
constexpr std::int64_t kShareRows = 64;

LevelTouch& touch_of(const Model& model, int table) {
  ModelCache& cache = cache_of(model);
  if (cache.touched.empty()) cache.touched.resize(model.layout().tables.size());
  return cache.touched[static_cast<std::size_t>(table)];
}

// Whether a batch touches so little of a level that a list of it is cheaper than a pass over it.
bool worth_listing(const Slice& slice, std::int64_t rows) {
  return 32 * rows < slice.size() / kMaxWidth;
}

void prepare_lists(LevelTouch& touch, const Slice& slice, std::int64_t shares, std::int64_t rows) {
  const std::int64_t lines = ceil_divide(slice.size(), kMaxWidth);
  touch.flags.resize(static_cast<std::size_t>(lines));
  const auto count = static_cast<std::size_t>(shares);
  if (touch.counts.size() < count) {
    touch.counts.resize(count, 0);
    touch.lines.resize(count);
  }
  const std::int64_t per_row = ceil_divide(slice.columns, kMaxWidth) + 1;
  for (std::size_t i = 0; i < count; ++i) {
    const std::int64_t most = std::min(lines, touch.counts[i] + 8 * rows * per_row);
    if (static_cast<std::int64_t>(touch.lines[i].size()) < most)
      touch.lines[i].resize(static_cast<std::size_t>(most));
  }
}

// Takes the list of one share; its flags are cleared here unless it is to be followed.
TouchedLines take_list(LevelTouch& touch, std::size_t share, bool follow) {
  TouchedLines lines{touch.flags.data(), touch.lines[share].data(), touch.counts[share]};
  touch.counts[share] = 0;
  if (!follow)
    for (std::int64_t k = 0; k < lines.count; ++k) lines.flags[lines.lines[k]] = 0;
  return lines;
}

UpdateArguments update_arguments(const Model& model, const UpdateStep& step, std::int64_t at,
                                 std::int64_t count, bool skip) {
  const std::int64_t moment = at - model.share().begin;
  return {model.parameters().data() + at,
          model.first_moment().data() + moment,
          model.second_moment().data() + moment,
          model.gradient().data() + at,
          count,
          step,
          skip};
}

double sum_squares(const float* numbers, std::int64_t count) {
  constexpr int kSums = 8;
  double sums[kSums] = {};
  std::int64_t i = 0;
  for (; i + kSums <= count; i += kSums)
    for (int k = 0; k < kSums; ++k)
      sums[k] += static_cast<double>(numbers[i + k]) * static_cast<double>(numbers[i + k]);
  for (; i < count; ++i)
    sums[0] += static_cast<double>(numbers[i]) * static_cast<double>(numbers[i]);
  double all = 0;
  for (const double sum : sums) all += sum;
  return all;
}

bool keeps_all(const Model& model) { return model.share() == Range{0, model.layout().size}; }

void zero(float* data, std::int64_t count) {
  parallel(ceil_divide(count, kUpdateFloats), [&](std::int64_t i) {
    const std::int64_t at = i * kUpdateFloats;
    std::fill_n(data + at, std::min(kUpdateFloats, count - at), 0.0f);
  });
}

}  // namespace

void CpuBackend::share_table(const Model& model, int table, std::int64_t shares,
                             std::vector<LevelShare>& all) const {
  const Slice& slice = model.layout().slices[static_cast<std::size_t>(table)];
  const std::int64_t each = ceil_divide(ceil_divide(slice.rows, shares), kShareRows) * kShareRows;
  for (std::int64_t i = 0; i * each < slice.rows; ++i)
    all.push_back(
        {table, static_cast<std::size_t>(i), i * each, std::min(each, slice.rows - i * each)});
}

std::vector<LevelShare> CpuBackend::share_tables(const Model& model, std::int64_t rows) const {
  const auto tables = static_cast<std::int64_t>(model.layout().tables.size());
  std::vector<LevelShare> all;
  // The finest levels are the dearest: they go first.
  for (int i = static_cast<int>(tables) - 1; i >= 0; --i) {
    const std::int64_t shares = ceil_divide(threads(), tables);
    LevelTouch& touch = touch_of(model, i);
    const Slice& slice = model.layout().slices[static_cast<std::size_t>(i)];
    touch.listed = touch.listed && worth_listing(slice, rows);
    if (touch.listed) prepare_lists(touch, slice, shares, rows);
    share_table(model, i, shares, all);
  }
  return all;
}

void CpuBackend::scatter_share(Model& model, const Tiling& t, const LevelShare& share) {
  const int level = model.layout().tables[static_cast<std::size_t>(share.table)];
  LevelArguments a = level_arguments(model, level, model.gradient().data(), t, 0, t.tiles);
  a.first_row = static_cast<std::uint32_t>(share.first);
  a.row_count = static_cast<std::uint32_t>(share.rows);
  LevelTouch& touch = touch_of(model, share.table);
  if (!touch.listed) return kernels_.scatter(a, nullptr);
  TouchedLines lines{touch.flags.data(), touch.lines[share.index].data(),
                     touch.counts[share.index]};
  kernels_.scatter(a, &lines);
  touch.counts[share.index] = lines.count;
}

void CpuBackend::scatter(Model& model, const Tiling& t) {
  const std::vector<LevelShare> shares = share_tables(model, t.tiles * t.rows);
  parallel(static_cast<std::int64_t>(shares.size()),
           [&](std::int64_t i) { scatter_share(model, t, shares[static_cast<std::size_t>(i)]); });
}

// As many levels at a time as there are threads, so that none looks at all points for another; but
// at least kRounds rounds, for what comes of one to be sent beside the next.
void CpuBackend::scatter_by_level(Model& model, const Tiling& t, const Ready& ready) {
  constexpr std::int64_t kRounds = 4;
  const Layout& layout = model.layout();
  const auto tables = static_cast<std::int64_t>(layout.tables.size());
  const std::int64_t at_once = std::min<std::int64_t>(threads(), ceil_divide(tables, kRounds));
  std::int64_t end = layout.decoder_begin;
  for (std::int64_t left = tables; left > 0; left -= at_once) {
    const std::int64_t count = std::min(at_once, left);
    std::vector<LevelShare> shares;
    for (std::int64_t i = left - 1; i >= left - count; --i) {
      // The sum over ranks touches every line.
      touch_of(model, static_cast<int>(i)).listed = false;
      share_table(model, static_cast<int>(i), ceil_divide(threads(), count), shares);
    }
    if (t.tiles > 0)
      parallel(static_cast<std::int64_t>(shares.size()), [&](std::int64_t i) {
        scatter_share(model, t, shares[static_cast<std::size_t>(i)]);
      });
    for (std::int64_t i = left - 1; i >= left - count; --i) {
      const std::int64_t begin = layout.slices[static_cast<std::size_t>(i)].offset;
      ready({begin, end});
      end = begin;
    }
  }
}

BatchSums CpuBackend::gradient(Model& model, ConstRows points, ConstRows targets,
                               const Objective& objective, const Ready& ready) {
  check(model.training(), "gradient() of a model without room for it");
  Tiling t;
  BatchSums sums;
  if (points.rows > 0) {
    t = tile(model, points, tile_rows(model.spec(), points.rows));
    encode(model, t);
    penalise(model, objective);
    sums = train_tiles(model, t, targets, objective);
    if (!ready) scatter(model, t);
  }
  add_edge_gradient(model, objective.edges);
  if (ready) {
    const Layout& layout = model.layout();
    ready({layout.decoder_begin, layout.size});
    scatter_by_level(model, t, ready);
  }
  return sums;
}

void CpuBackend::gradient_changed(Model& model) {
  for (int i = 0; i < static_cast<int>(model.layout().tables.size()); ++i)
    touch_of(model, i).listed = false;
}

double CpuBackend::squared_norm(const Model& model) {
  const Range share = model.share();
  std::vector<double> parts(static_cast<std::size_t>(ceil_divide(share.size(), kUpdateFloats)));
  parallel(static_cast<std::int64_t>(parts.size()), [&](std::int64_t i) {
    const std::int64_t at = share.begin + i * kUpdateFloats;
    parts[static_cast<std::size_t>(i)] =
        sum_squares(model.gradient().data() + at, std::min(kUpdateFloats, share.end - at));
  });
  double square = 0;
  for (const double part : parts) square += part;
  return square;
}

// Of the encoder and of the decoder, gradients clipped where they are to be.
std::pair<UpdateStep, UpdateStep> CpuBackend::steps_of(const Model& model,
                                                       const Optimizer& optimizer,
                                                       std::int64_t step) {
  const UpdateRule& rule = rule_of(optimizer);
  std::pair<UpdateStep, UpdateStep> steps{step_of(optimizer, rule.encoder_rate, step),
                                          step_of(optimizer, rule.decoder_rate, step)};
  if (rule.largest_norm > 0) {
    const double scale = rule.gradient_scale;
    const float clip = clip_factor(scale * scale * squared_norm(model), rule.largest_norm);
    steps.first.scale *= clip;
    steps.second.scale *= clip;
  }
  return steps;
}

bool CpuBackend::update(Model& model, const Optimizer& optimizer, std::int64_t step) {
  struct Task {
    UpdateArguments arguments;
    TouchedLines lines;
  };
  std::vector<Task> tasks;
  const Range share = model.share();
  const auto add_range = [&](std::int64_t at, std::int64_t end, const UpdateStep& s, bool skip) {
    at = std::max(at, share.begin);
    end = std::min(end, share.end);
    for (; at < end; at += kUpdateFloats)
      tasks.push_back(
          {update_arguments(model, s, at, std::min(kUpdateFloats, end - at), skip), {}});
  };
  const auto [table, decoder] = steps_of(model, optimizer, step);
  const bool skip = rule_of(optimizer).skip_untouched;
  const Layout& layout = model.layout();
  for (std::size_t i = 0; i < layout.tables.size(); ++i) {
    const Slice& slice = layout.slices[i];
    LevelTouch& touch = touch_of(model, static_cast<int>(i));
    // A list names lines of the whole level.
    const bool follow = touch.listed && skip && keeps_all(model);
    for (std::size_t s = 0; s < touch.counts.size(); ++s) {
      const TouchedLines lines = take_list(touch, s, follow);
      if (follow && lines.count > 0)
        tasks.push_back({update_arguments(model, table, slice.offset, 0, true), lines});
    }
    if (!follow)
      add_range(slice.offset, slice.offset + ceil_divide(slice.size(), kMaxWidth) * kMaxWidth,
                table, skip);
    touch.listed = true;
  }
  add_range(layout.decoder_begin, layout.size, decoder, false);
  std::atomic<bool> finite = true;
  parallel(static_cast<std::int64_t>(tasks.size()), [&](std::int64_t i) {
    const Task& task = tasks[static_cast<std::size_t>(i)];
    const bool fine = task.lines.lines ? kernels_.update_lines(task.arguments, task.lines)
                                       : kernels_.update(task.arguments);
    if (!fine) finite = false;
  });
  zero(model.gradient().data(), share.begin);
  zero(model.gradient().data() + share.end, layout.size - share.end);
  return finite;
}

bool CpuBackend::update_share(Model& model, bool skip, const UpdateStep& step,
                              const LevelShare& share) {
  const Slice& slice = model.layout().slices[static_cast<std::size_t>(share.table)];
  LevelTouch& touch = touch_of(model, share.table);
  if (touch.listed && skip)
    return kernels_.update_lines(update_arguments(model, step, slice.offset, 0, true),
                                 take_list(touch, share.index, true));
  if (share.index < touch.counts.size()) take_list(touch, share.index, false);
  const std::int64_t floats = ceil_divide(share.rows * slice.columns, kMaxWidth) * kMaxWidth;
  return kernels_.update(
      update_arguments(model, step, slice.offset + share.first * slice.columns, floats, skip));
}

BatchSums CpuBackend::step(Model& model, ConstRows points, ConstRows targets,
                           const Objective& objective, const Optimizer& optimizer,
                           std::int64_t step) {
  check(model.training(), "step() of a model without room for it");
  const UpdateRule& rule = rule_of(optimizer);
  if (!keeps_all(model) || points.rows == 0 || rule.largest_norm > 0)
    return Backend::step(model, points, targets, objective, optimizer, step);
  const Tiling t = tile(model, points, tile_rows(model.spec(), points.rows));
  encode(model, t);
  penalise(model, objective);
  BatchSums sums = train_tiles(model, t, targets, objective);
  add_edge_gradient(model, objective.edges);
  const std::vector<LevelShare> shares = share_tables(model, t.tiles * t.rows);
  const auto tables = static_cast<std::int64_t>(shares.size());
  const Layout& layout = model.layout();
  const std::int64_t rest = layout.size - layout.decoder_begin;
  const UpdateStep table = step_of(optimizer, rule.encoder_rate, step);
  const UpdateStep decoder = step_of(optimizer, rule.decoder_rate, step);
  std::atomic<bool> finite = true;
  parallel(tables + ceil_divide(rest, kUpdateFloats), [&](std::int64_t i) {
    bool fine;
    if (i < tables) {
      const LevelShare& share = shares[static_cast<std::size_t>(i)];
      scatter_share(model, t, share);
      fine = update_share(model, rule.skip_untouched, table, share);
    } else {
      const std::int64_t at = (i - tables) * kUpdateFloats;
      fine = kernels_.update(update_arguments(model, decoder, layout.decoder_begin + at,
                                              std::min(kUpdateFloats, rest - at), false));
    }
    if (!fine) finite = false;
  });
  for (int i = 0; i < static_cast<int>(layout.tables.size()); ++i) touch_of(model, i).listed = true;
  sums.finite = finite && std::isfinite(sums.loss);
  return sums;
}

}  // namespace kanbench::cpu
