#include "commands/perf_scaling.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <iostream>
#include <nlohmann/json.hpp>
#include <set>

#include "commands/console.h"
#include "commands/timed_run.h"
#include "kanbench/error.h"

namespace kanbench {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::int64_t kMostRanks = 1 << 20;
// What changed of parameters and both moments, and how many bricks changed it.
constexpr double kHybridBytesPerFloat = 3 * 2 * sizeof(float);

const std::vector<std::string> kDecompositions = {"shared",  "shared-fp16", "unoverlapped",
                                                  "sharded", "ensemble",    "hybrid"};

std::int64_t parse_rank_count(const std::string& word, const std::string& all,
                              const std::string& what) {
  std::int64_t value = 0;
  const auto [stop, failure] = std::from_chars(word.data(), word.data() + word.size(), value);
  if (failure != std::errc() || stop != word.data() + word.size() || value < 1 ||
      value > kMostRanks)
    throw Error(what + ": expected numbers of ranks as 1,2,4 or 1..4096, each from 1 to " +
                std::to_string(kMostRanks) + ", found '" + all + "'");
  return value;
}

double seconds_of(const std::vector<Stage>& stages, const std::string& name) {
  for (const Stage& stage : stages)
    if (stage.name == name) return stage.seconds;
  return 0;
}

// Of a gradient's time the part that scatters into the levels, by the stages timed alone.
double scattered_part(const std::vector<Stage>& stages) {
  const double scatter = seconds_of(stages, "scatter"), fused = seconds_of(stages, "gradient");
  const double all = fused > 0 ? fused
                               : seconds_of(stages, "encode") + seconds_of(stages, "forward") +
                                     seconds_of(stages, "backward") + scatter;
  return std::clamp(scatter / all, 0.0, 1.0);
}

void scale(Cost& cost, double factor) {
  cost.fixed *= factor;
  cost.per_row *= factor;
}

std::string milliseconds(double seconds) { return fixed(seconds * 1e3, 3); }
std::string percent(double share) { return fixed(100 * share, 1) + " %"; }

void print(const OneRank& one, const Run& run, const Backend& backend) {
  const double rows = static_cast<double>(one.rows);
  const RankCosts& c = one.costs;
  std::cout << "\nrun " << run.index << ", " << run.dataset << ", " << run.network_type << ", "
            << one.precision << ", batch " << one.rows << ", "
            << count(static_cast<double>(one.parameters)) << " parameters: one rank, "
            << backend.name() << ", takes " << milliseconds(c.step.at(rows)) << " ms a step\n"
            << "among others: sample " << milliseconds(c.sample.at(rows)) << " ms, decode "
            << milliseconds(c.decode.at(rows)) << " ms, scatter "
            << milliseconds(c.scatter.at(rows)) << " ms, update of all parameters "
            << milliseconds(c.update) << " ms\n";
}

void print(const std::vector<ScaledStep>& weak, const std::vector<ScaledStep>& strong) {
  std::vector<std::vector<std::string>> table = {{"ranks", "weak ms", "efficiency", "bound by",
                                                  "traffic ms", "strong ms", "efficiency",
                                                  "bound by"}};
  for (std::size_t i = 0; i < weak.size(); ++i)
    table.push_back({std::to_string(weak[i].ranks), milliseconds(weak[i].seconds),
                     percent(weak[i].efficiency), weak[i].binding, milliseconds(weak[i].traffic),
                     milliseconds(strong[i].seconds), percent(strong[i].efficiency),
                     strong[i].binding});
  std::cout << format_table(table);
}

}  // namespace

void ScalingOptions::attach(CLI::App& app) {
  const std::string group = "Many processes";
  app.add_flag("--scaling", wanted, "Say what steps would take on many ranks")
      ->option_text(" ")
      ->group(group);
  app.add_flag("--measured", measured,
               "With --scaling: measure steps on the ranks that were started, and\n"
               "print them beside the model's")
      ->option_text(" ")
      ->group(group);
  add_option(app, "--ranks", ranks, "N..M", "How many (default 1..4096; also 1,2,7)")->group(group);
  add_option(app, "--network", networks, "NAME",
             "What connects them, separated by commas: nvlink, "
             "pcie, ib-ndr,\nib-hdr, ethernet-100g, ethernet-10g, shared-memory, or\n"
             "NAME=MICROSECONDS:GIGABYTES a second and rank (default\nnvlink,ib-ndr,ethernet-10g)")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->group(group);
  add_option(app, "--decomposition", decompositions,
             "shared|shared-fp16|unoverlapped|sharded|ensemble|hybrid",
             "What they do together, separated by commas (default\n"
             "shared,sharded,ensemble,hybrid)")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->check(one_of(kDecompositions))
      ->group(group);
  add_option(app, "--step-ms", step_ms, "MS",
             "Take every stage as so much faster that one rank's step takes this long:\n"
             "for a device that is not at hand")
      ->check(number(1e-6, 1e9))
      ->group(group);
  launched.attach(app, group);
  for (const char* option : {"--measured", "--ranks", "--network", "--decomposition", "--step-ms"})
    app.get_option(option)->needs("--scaling");
  for (const char* option : {"--communicator", "--timeout"})
    app.get_option(option)->needs("--measured");
}

void ScalingOptions::check() const {
  if (measured && step_ms > 0)
    throw Error("--step-ms is for a device that is not at hand, --measured for this one: give one");
  parse_ranks(ranks, "--ranks");
  for (const std::string& network : networks) parse_network(network, "--network");
}

std::vector<std::int64_t> parse_ranks(const std::string& word, const std::string& what) {
  std::set<std::int64_t> all;
  for (std::size_t at = 0; at <= word.size();) {
    const std::size_t end = std::min(word.find(',', at), word.size());
    const std::string item = word.substr(at, end - at);
    at = end + 1;
    const std::size_t dots = item.find("..");
    const std::int64_t first = parse_rank_count(item.substr(0, dots), word, what);
    const std::int64_t last =
        dots == item.npos ? first : parse_rank_count(item.substr(dots + 2), word, what);
    if (first > last) parse_rank_count("", word, what);
    all.insert({first, last});
    for (std::int64_t power = 1; power < last; power *= 2)
      if (power > first) all.insert(power);
  }
  return {all.begin(), all.end()};
}

OneRank measure_one_rank(const Run& run, const Volume& volume, Backend& backend, double seconds) {
  OneRank one;
  TimedRun::Steps large;
  double scattered = 0;
  {
    TimedRun timed(run, volume, backend);
    large = timed.steps(seconds);
    scattered = scattered_part(timed.stages());
    one.rows = timed.rows();
    one.precision = name(timed.model().precision());
    const Layout& layout = timed.model().layout();
    one.parameters = layout.parameters;
    one.costs.decoder = layout.size - layout.decoder_begin;
    for (std::size_t l = 0; l < layout.tables.size(); ++l)
      one.costs.levels.push_back(layout.slices[l].size());
  }
  TimedRun timed(run, volume, backend, std::max<std::int64_t>(1, one.rows / 8));
  const TimedRun::Steps small = timed.steps(seconds);
  const auto fit = [&](double TimedRun::Steps::*stage) {
    return fit_cost(static_cast<double>(timed.rows()), small.*stage, static_cast<double>(one.rows),
                    large.*stage);
  };
  one.costs.step = fit(&TimedRun::Steps::alone);
  one.costs.sample = fit(&TimedRun::Steps::sample);
  const Cost gradient = fit(&TimedRun::Steps::gradient);
  one.costs.decode = one.costs.scatter = gradient;
  scale(one.costs.decode, 1 - scattered);
  scale(one.costs.scatter, scattered);
  one.costs.update = large.update;
  return one;
}

ScalingPlan plan_of(const std::string& word, const Run& run, const Volume& volume) {
  ScalingPlan plan;
  plan.mode = word == "ensemble" || word == "hybrid" ? word : "shared";
  plan.overlapped = word != "unoverlapped";
  plan.wire = word == "shared-fp16" ? Wire::fp16 : Wire::fp32;
  plan.sharded = word == "sharded";
  plan.edge = std::cbrt(static_cast<double>(volume.shape.count()));
  plan.ghost = run.decomposition.ghost;
  plan.bricks = run.decomposition.brick_count;
  plan.share_every = run.decomposition.share_every;
  const Layout layout = make_layout(make_spec(run));
  std::int64_t shared = layout.size - layout.decoder_begin;
  for (std::size_t l = 0; l < layout.tables.size(); ++l)
    if (resolution(table_level(layout, l).geometry) <=
        static_cast<std::uint32_t>(run.decomposition.share_resolution))
      shared += layout.slices[l].size();
  plan.shared_bytes = kHybridBytesPerFloat * static_cast<double>(shared);
  return plan;
}

Json report_scaling(const Run& run, const Volume& volume, Backend& backend, double seconds,
                    const ScalingOptions& options) {
  OneRank one = measure_one_rank(run, volume, backend, seconds);
  RankCosts& costs = one.costs;
  if (options.step_ms > 0) {
    const double factor = options.step_ms * 1e-3 / costs.step.at(static_cast<double>(one.rows));
    for (Cost* cost : {&costs.step, &costs.sample, &costs.decode, &costs.scatter})
      scale(*cost, factor);
    costs.update *= factor;
  }
  print(one, run, backend);
  if (options.step_ms > 0)
    std::cout << "these times are assumed: what was measured, brought to --step-ms\n";
  Json tables = Json::array();
  for (const std::string& word : options.decompositions) {
    const ScalingPlan plan = plan_of(word, run, volume);
    for (const std::string& network_word : options.networks) {
      const Network network = parse_network(network_word, "--network");
      std::vector<ScaledStep> weak, strong;
      Json rows = Json::array();
      for (const std::int64_t ranks : parse_ranks(options.ranks, "--ranks")) {
        weak.push_back(scale_step(costs, plan, network, Scaling::weak, one.rows, ranks));
        strong.push_back(scale_step(costs, plan, network, Scaling::strong, one.rows, ranks));
        rows.push_back(
            {{"ranks", ranks}, {"weak", to_json(weak.back())}, {"strong", to_json(strong.back())}});
      }
      const bool alone = plan.mode == "ensemble";
      std::cout << "\n"
                << word
                << (alone ? ", whatever connects the ranks"
                          : ", " + network.name + ": " + network.source)
                << "\n";
      print(weak, strong);
      tables.push_back({{"decomposition", word}, {"network", network.name}, {"rows", rows}});
      if (alone) break;
    }
  }
  return {
      {"run_index", run.index},   {"dataset", run.dataset},   {"network_type", run.network_type},
      {"device", backend.name()}, {"one_rank", to_json(one)}, {"assumed_step_ms", options.step_ms},
      {"tables", tables}};
}

Json to_json(const OneRank& one) {
  const double rows = static_cast<double>(one.rows);
  const RankCosts& c = one.costs;
  return {{"batch_size", one.rows},
          {"parameters", one.parameters},
          {"precision", one.precision},
          {"step_seconds", c.step.at(rows)},
          {"sample_seconds", c.sample.at(rows)},
          {"decode_seconds", c.decode.at(rows)},
          {"scatter_seconds", c.scatter.at(rows)},
          {"update_seconds", c.update}};
}

Json to_json(const ScaledStep& step) {
  return {{"seconds", step.seconds},
          {"efficiency", step.efficiency},
          {"bound_by", step.binding},
          {"compute_seconds", step.compute},
          {"imbalance_seconds", step.imbalance},
          {"latency_seconds", step.latency},
          {"within_seconds", step.within},
          {"between_seconds", step.between},
          {"traffic_seconds", step.traffic}};
}

}  // namespace kanbench
