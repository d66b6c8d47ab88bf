#include "kanbench/estimate.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <sstream>

#include "json_node.h"
#include "kanbench/error.h"
#include "kanbench/file.h"
#include "kanbench/recipe.h"
#include "shared_file.h"

namespace kanbench {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

// Of a device's limits a step reaches such a share: the stages' own, in benchmarks/, lie around it.
constexpr double kShareOfLimits = 0.25;
// What a step takes whatever it computes; a run before and after its steps.
constexpr double kStepSeconds = 50e-6, kStartSeconds = 60;
// Parameters, gradient and moments, and copies of three of them.
constexpr double kBlocks = 7;
constexpr double kHostBytes = 2e9;
// Values that the optimizer reads and writes for a parameter, and those of a parameter and both
// moments that bricks exchange.
constexpr double kUpdateBytes = 4 * 8, kHybridBytes = 3 * 2 * 4;
// Rows that a rank finds work in.
constexpr std::int64_t kLeastRows = 256;

// What a row takes of a stage.
struct Work {
  double flops = 0, bytes = 0;
};

double seconds_of(const Work& work, const SiteDevice& device) {
  return (work.flops / device.flops_per_second + work.bytes / device.bytes_per_second) /
         kShareOfLimits;
}

// From a point to the decoder's input.
Work encoding(const Layout& layout) {
  Work work;
  for (const Level& level : layout.levels) {
    const double corner = corners(level.geometry), features = level.features;
    work.flops += (level.has_table() ? 50 : 0) + features * flops_a_number(level.geometry);
    work.bytes += 4 * (corner * features + features + 3);
  }
  return work;
}

// Once through the layers: products, and three operations a value of a basis.
Work forward(const ModelSpec& spec) {
  Work work;
  for (const Layer& layer : spec.layers) {
    const double in = layer.in, out = layer.out, n = size(layer.basis);
    work.flops += 2 * in * out * (n + (layer.base ? 1 : 0)) + in * (n > 1 ? 42 + 3 * n : 0) +
                  in * (layer.base ? 18 : 0) + in * (layer.norm ? 8 : 0);
    work.bytes += 4 * (in + out);
  }
  return work;
}

Work scattering(const Layout& layout) {
  Work work = encoding(layout);
  for (const Level& level : layout.levels)
    if (level.has_table()) work.bytes += 4.0 * corners(level.geometry) * level.features;
  return work;
}

// Parameters that a batch of `rows` touches.
double touched(const Layout& layout, double rows) {
  double sum = static_cast<double>(layout.size - layout.decoder_begin);
  for (std::size_t i = 0; i < layout.tables.size(); ++i) {
    const Slice& slice = layout.slices[i];
    sum +=
        static_cast<double>(std::max<std::int64_t>(1, slice.columns)) *
        std::min(static_cast<double>(slice.rows), corners(table_level(layout, i).geometry) * rows);
  }
  return sum;
}

ScalingPlan plan_of(const Run& run, const Shape& shape, const Layout& layout) {
  const Decomposition& how = run.decomposition;
  ScalingPlan plan;
  plan.mode = how.mode;
  plan.wire = how.wire == "fp16" ? Wire::fp16 : Wire::fp32;
  plan.sharded = how.sharded;
  plan.edge = std::cbrt(static_cast<double>(shape.count()));
  plan.ghost = how.ghost;
  plan.bricks = how.brick_count;
  plan.share_every = how.share_every;
  std::int64_t shared = layout.size - layout.decoder_begin;
  for (std::size_t i = 0; i < layout.tables.size(); ++i)
    if (resolution(table_level(layout, i).geometry) <=
        static_cast<std::uint32_t>(how.share_resolution))
      shared += layout.slices[i].size();
  plan.shared_bytes = kHybridBytes * static_cast<double>(shared);
  return plan;
}

EpochTime parse_epoch_time(const std::string& line, const std::string& source) {
  const Json json = Json::parse(to_text(parse_json(line, source)));
  try {
    EpochTime time{json.at("key").get<std::string>(), json.at("device").get<std::string>(),
                   json.at("ranks").get<int>(), json.at("batch_size").get<std::int64_t>(),
                   json.at("epoch_seconds").get<double>()};
    if (!(time.seconds > 0) || time.ranks < 1)
      throw Error(source + ": an epoch takes no time there");
    return time;
  } catch (const nlohmann::json::exception&) {
    throw Error(source + ": is no epoch's time: take the line out");
  }
}

}  // namespace

std::string epoch_key(const Run& run, const std::string& volume_signature) {
  Run same = run;
  same.epochs = same.repeats = 1;
  same.seed = 0;
  same.lrate = 1;
  same.lrate_decay = 0;
  same.training.train_limit_seconds.reset();
  return run_id(same, volume_signature);
}

void append_epoch_time(const fs::path& file, const EpochTime& time) {
  const Json json{{"key", time.key},
                  {"device", time.device},
                  {"ranks", time.ranks},
                  {"batch_size", time.batch_size},
                  {"epoch_seconds", time.seconds}};
  append_whole(file, json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n");
}

std::vector<EpochTime> read_epoch_times(const fs::path& file) {
  std::vector<EpochTime> times;
  if (!fs::exists(file)) return times;
  std::istringstream in(read_file(file));
  std::size_t number = 0;
  for (std::string line; std::getline(in, line);) {
    ++number;
    if (!line.empty())
      times.push_back(parse_epoch_time(line, file.string() + ": line " + std::to_string(number)));
  }
  return times;
}

RunEstimate::RunEstimate(const EstimateInput& in) : network_(in.network) {
  const ModelSpec spec = make_spec(in.run);
  const Layout layout = make_layout(spec, "run " + std::to_string(in.run.index));
  plan_ = plan_of(in.run, in.shape, layout);
  row_bytes_ = static_cast<double>(in.row_bytes);
  data_bytes_ = static_cast<double>(in.data_bytes);
  model_bytes_ = kBlocks * sizeof(float) * static_cast<double>(layout.size);
  const double memory = in.device.memory_gb > 0 ? in.device.memory_gb * 1e9 : 1e15;
  rows_ = in.run.batch_size > 0
              ? in.run.batch_size
              : choose_batch_size(in.shape.count(), in.row_bytes,
                                  static_cast<std::size_t>(std::max(0.0, memory - model_bytes_)),
                                  in.safety_margin, 1);
  const auto voxels = static_cast<double>(in.shape.count());
  const double voxel_bytes = data_bytes_ / voxels;
  const auto rate = [&](Work work) { return seconds_of(work, in.device); };
  Work there = forward(spec), decode = encoding(layout);
  decode.flops += 3 * there.flops;
  decode.bytes += 3 * there.bytes;
  costs_.sample = {0, rate({60, 16 + 8 * voxel_bytes})};
  costs_.decode = {kStepSeconds, rate(decode)};
  costs_.scatter = {0, rate(scattering(layout))};
  costs_.update = rate({0, kUpdateBytes * touched(layout, static_cast<double>(rows_))});
  costs_.step = {kStepSeconds + costs_.update,
                 costs_.sample.per_row + costs_.decode.per_row + costs_.scatter.per_row};
  costs_.decoder = layout.size - layout.decoder_begin;
  for (std::size_t i = 0; i < layout.tables.size(); ++i)
    costs_.levels.push_back(layout.slices[i].size());
  const double repeats = in.run.repeats;
  const auto an_epoch = static_cast<double>(steps_per_epoch(in.shape.count(), rows_));
  steps_ = an_epoch * in.run.epochs * repeats;
  limit_seconds_ = training_option(in.run, "train_limit_seconds").value_or(0) * repeats;
  // Decoding and measuring every voxel.
  const Work encode = encoding(layout);
  after_ = repeats * voxels * rate({encode.flops + there.flops + 300, encode.bytes + there.bytes});
  if (plan_.mode != "shared")
    most_ranks_ = static_cast<int>(plan_.bricks > 0 ? plan_.bricks : 1 << 20);
  else if (in.run.training.optimizer != "lbfgs")
    most_ranks_ = static_cast<int>(std::max<std::int64_t>(1, rows_ / kLeastRows));
  if (!in.measured) return;
  measured_ = true;
  factor_ = in.measured->seconds * in.run.epochs * repeats / training_seconds(in.measured->ranks);
}

double RunEstimate::training_seconds(int ranks) const {
  return steps_ * scale_step(costs_, plan_, network_, Scaling::strong, rows_, ranks).seconds;
}

double RunEstimate::seconds(int ranks) const {
  const double training = limit_seconds_ > 0 ? limit_seconds_ : factor_ * training_seconds(ranks);
  return kStartSeconds + training + factor_ * after_ / ranks;
}

double RunEstimate::device_bytes(int ranks) const {
  const double models = plan_.mode == "hybrid" && plan_.bricks > 0
                            ? std::ceil(static_cast<double>(plan_.bricks) / ranks)
                            : 1;
  return (models * model_bytes_ + data_bytes_ / ranks +
          static_cast<double>(rows_) * row_bytes_ / ranks) *
         17 / 16;
}

double RunEstimate::host_bytes(int ranks, bool on_processors) const {
  return kHostBytes + data_bytes_ + (on_processors ? device_bytes(ranks) : ranks * model_bytes_);
}

}  // namespace kanbench
