// The cost of collectives and of steps on many ranks, by latency and bandwidth (Hockney 1994).

#include "kanbench/scaling.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <numeric>

#include "kanbench/error.h"

namespace kanbench {
namespace {

constexpr std::int64_t kOneNode = std::int64_t{1} << 40;
constexpr double kMicro = 1e-6, kGiga = 1e9;
// As the trainer hands them over, and what ranks agree on after each step.
constexpr std::int64_t kBucketFloats = 1 << 20;
constexpr double kAgreementBytes = 40;

Network one_link(const std::string& name, double latency, double bandwidth,
                 const std::string& source) {
  return {name, latency, bandwidth, 1, latency, bandwidth, source};
}

double steps_of_tree(double n) { return std::ceil(std::log2(n)); }

struct Link {
  double latency, bandwidth;
};

// Latency and bandwidth parts of a sum over n.
struct Parts {
  double latency = 0, bandwidth = 0;
};

Parts half_ring(const Link& link, double n, double bytes) {
  if (n <= 1) return {};
  return {(n - 1) * link.latency, (n - 1) / n * bytes / link.bandwidth};
}

Parts full_sum(const Link& link, double n, double bytes) {
  if (n <= 1) return {};
  const Parts ring{2 * (n - 1) * link.latency, 2 * (n - 1) / n * bytes / link.bandwidth};
  const Parts tree{2 * steps_of_tree(n) * link.latency, 2 * bytes / link.bandwidth};
  return ring.latency + ring.bandwidth <= tree.latency + tree.bandwidth ? ring : tree;
}

// Ranks of a full node, and nodes; the last may be less full.
struct Spread {
  double in_node, nodes;
};

Spread spread(const Network& network, std::int64_t ranks) {
  const std::int64_t in_node = std::min(ranks, network.node_ranks);
  return {static_cast<double>(in_node), static_cast<double>((ranks + in_node - 1) / in_node)};
}

Traffic add(const Traffic& a, const Traffic& b) {
  return {a.latency + b.latency, a.within + b.within, a.between + b.between};
}

Traffic times(const Traffic& a, double factor) {
  return {a.latency * factor, a.within * factor, a.between * factor};
}

double bytes_of(std::int64_t floats, Wire wire) {
  return static_cast<double>(floats) * (wire == Wire::fp16 ? 2 : 4);
}

// What is sent together, and when its last part is final.
struct Bucket {
  std::int64_t floats = 0;
  double ready = 0;
};

// The decoder, then the levels, finest first, each taking as long.
std::vector<Bucket> buckets_of(const RankCosts& costs, double decoded, double scatter) {
  std::vector<Bucket> pieces = {{costs.decoder, decoded}};
  const std::size_t levels = costs.levels.size();
  for (std::size_t l = levels; l-- > 0;)
    pieces.push_back({costs.levels[l], decoded + scatter * static_cast<double>(levels - l) /
                                                     static_cast<double>(levels)});
  std::vector<Bucket> buckets;
  Bucket open;
  for (const Bucket& piece : pieces) {
    open = {open.floats + piece.floats, piece.ready};
    if (open.floats < kBucketFloats) continue;
    buckets.push_back(open);
    open = {};
  }
  if (open.floats > 0) buckets.push_back(open);
  return buckets;
}

// Shares out what a step takes beyond its arithmetic as the traffic would take it.
void name_parts(ScaledStep& step, const Traffic& traffic) {
  step.traffic = traffic.seconds();
  const double exposed = std::max(0.0, step.seconds - step.compute - step.imbalance);
  if (step.traffic > 0) {
    step.latency = exposed * traffic.latency / step.traffic;
    step.within = exposed * traffic.within / step.traffic;
    step.between = exposed * traffic.between / step.traffic;
  }
  const std::pair<double, const char*> parts[] = {{step.compute, "compute"},
                                                  {step.imbalance, "imbalance"},
                                                  {step.latency, "latency"},
                                                  {step.within, "bandwidth within nodes"},
                                                  {step.between, "bandwidth between nodes"}};
  step.binding = std::max_element(std::begin(parts), std::end(parts), [](auto& a, auto& b) {
                   return a.first < b.first;
                 })->second;
}

ScaledStep scale_shared(const RankCosts& costs, const ScalingPlan& plan, const Network& network,
                        Scaling scaling, std::int64_t rows, std::int64_t ranks) {
  const double n = static_cast<double>(ranks), all = static_cast<double>(rows);
  const double mine = scaling == Scaling::weak ? all : all / n;
  const double most = std::ceil(mine);
  const double before = costs.sample.at(most) + costs.decode.at(most);
  const double gradient = before + costs.scatter.at(most);
  const double update = plan.sharded ? costs.update / n : costs.update;
  Traffic traffic;
  double sent = 0;
  for (const Bucket& bucket : buckets_of(costs, before, costs.scatter.at(most))) {
    const double bytes = bytes_of(bucket.floats, plan.wire);
    const Traffic one =
        plan.sharded ? scatter_traffic(network, ranks, bytes) : sum_traffic(network, ranks, bytes);
    sent = std::max(sent, plan.overlapped ? bucket.ready : gradient) + one.seconds();
    traffic = add(traffic, one);
  }
  Traffic after = sum_traffic(network, ranks, kAgreementBytes);
  if (plan.sharded)
    after = add(after, scatter_traffic(network, ranks, bytes_of(costs.floats(), Wire::fp32)));
  ScaledStep step;
  step.seconds = std::max(gradient, sent) + update + after.seconds();
  step.imbalance =
      (most - mine) * (costs.sample.per_row + costs.decode.per_row + costs.scatter.per_row);
  step.compute = gradient + update - step.imbalance;
  name_parts(step, add(traffic, after));
  return step;
}

// What training on bricks grown by ghosts takes over training on their cores.
double ghost_factor(const ScalingPlan& plan, double bricks_of_volume, std::int64_t bricks) {
  if (bricks <= 1) return 1;
  const double edge = plan.edge / std::cbrt(bricks_of_volume);
  return std::pow(1 + 2 * plan.ghost / edge, 3);
}

ScaledStep scale_bricks(const RankCosts& costs, const ScalingPlan& plan, const Network& network,
                        Scaling scaling, std::int64_t rows, std::int64_t ranks) {
  const bool weak = scaling == Scaling::weak;
  const std::int64_t bricks = weak || plan.bricks == 0 ? ranks : plan.bricks;
  const double n = static_cast<double>(ranks), all = static_cast<double>(rows);
  const double m = static_cast<double>(bricks);
  const double rounds = static_cast<double>((bricks + ranks - 1) / ranks);
  const double factor = ghost_factor(plan, weak ? 1 : m, bricks);
  Traffic traffic;
  double even = weak ? costs.step.at(all) : costs.step.at(all) / n;
  double longest = even * rounds * n / m;
  if (plan.mode == "hybrid") {
    // Each brick takes its part of a batch by itself.
    const double brick = costs.step.at(weak ? all : all / m);
    even = brick * m / n;
    longest = brick * rounds;
    traffic = add(sum_traffic(network, ranks, kAgreementBytes),
                  times(sum_traffic(network, ranks, plan.shared_bytes), 1.0 / plan.share_every));
    traffic = times(traffic, factor);
  }
  ScaledStep step;
  step.compute = even * factor;
  step.imbalance = std::max(0.0, longest - even) * factor;
  step.seconds = step.compute + step.imbalance + traffic.seconds();
  name_parts(step, traffic);
  return step;
}

}  // namespace

Cost fit_cost(double rows_a, double seconds_a, double rows_b, double seconds_b) {
  const double per_row =
      rows_a == rows_b ? seconds_b / rows_b : (seconds_b - seconds_a) / (rows_b - rows_a);
  if (per_row <= 0) return {seconds_b, 0};
  const double fixed = seconds_b - per_row * rows_b;
  return fixed < 0 ? Cost{0, seconds_b / rows_b} : Cost{fixed, per_row};
}

std::int64_t RankCosts::floats() const {
  return std::accumulate(levels.begin(), levels.end(), decoder);
}

const std::vector<Network>& networks() {
  static const std::vector<Network> all = {
      {"nvlink", 3 * kMicro, 370 * kGiga, 8, 3 * kMicro, 45 * kGiga,
       "8 ranks a node by NVLink 4 (450 GB/s a direction, 370 of it assumed), an NDR port each"},
      {"pcie", 5 * kMicro, 20 * kGiga, 4, 3 * kMicro, 5.6 * kGiga,
       "4 ranks a node by PCIe 4.0 x16 (32 GB/s, 20 of it assumed), an HDR port for all of them"},
      one_link("ib-ndr", 2 * kMicro, 45 * kGiga,
               "InfiniBand NDR, a port a rank (400 Gb/s, nine tenths of it assumed)"),
      one_link("ib-hdr", 2 * kMicro, 22.5 * kGiga,
               "InfiniBand HDR, a port a rank (200 Gb/s, nine tenths of it assumed)"),
      one_link("ethernet-100g", 15 * kMicro, 11 * kGiga, "100 Gb/s Ethernet by TCP, a port a rank"),
      one_link("ethernet-10g", 25 * kMicro, 1.1 * kGiga, "10 Gb/s Ethernet by TCP, a port a rank"),
      {"shared-memory", 1 * kMicro, 5 * kGiga, kOneNode, 1 * kMicro, 5 * kGiga,
       "one machine, copies through its memory, 5 GB/s a rank assumed"}};
  return all;
}

Network parse_network(const std::string& word, const std::string& what) {
  const std::size_t equals = word.find('='), colon = word.find(':');
  if (equals == word.npos) {
    std::vector<std::string> names;
    for (const Network& network : networks()) {
      if (network.name == word) return network;
      names.push_back(network.name);
    }
    throw Error(what + ": unknown network '" + word + "'" + nearest(word, names) + ": known are " +
                join(names) + ", or give NAME=MICROSECONDS:GIGABYTES a second");
  }
  double latency = 0, bandwidth = 0;
  const char *begin = word.data(), *end = begin + word.size();
  bool read = equals > 0 && colon != word.npos && colon > equals;
  if (read) {
    const auto [a, bad_a] = std::from_chars(begin + equals + 1, begin + colon, latency);
    const auto [b, bad_b] = std::from_chars(begin + colon + 1, end, bandwidth);
    read = bad_a == std::errc() && bad_b == std::errc() && a == begin + colon && b == end;
  }
  if (!read || !(latency >= 0 && latency < 1e9) || !(bandwidth > 0 && bandwidth < 1e9))
    throw Error(what + ": '" + word + "' is no NAME=MICROSECONDS:GIGABYTES, as in fast=2:45");
  return one_link(word.substr(0, equals), latency * kMicro, bandwidth * kGiga, "as given");
}

Traffic scatter_traffic(const Network& network, std::int64_t ranks, double bytes) {
  const auto [m, nodes] = spread(network, ranks);
  const Parts inner = half_ring({network.latency, network.bandwidth}, m, bytes);
  const Parts outer = half_ring({network.node_latency, network.node_bandwidth}, nodes, bytes / m);
  return {inner.latency + outer.latency, inner.bandwidth, outer.bandwidth};
}

Traffic sum_traffic(const Network& network, std::int64_t ranks, double bytes) {
  const auto [m, nodes] = spread(network, ranks);
  const Link in{network.latency, network.bandwidth};
  if (nodes == 1) {
    const Parts all = full_sum(in, m, bytes);
    return {all.latency, all.bandwidth, 0};
  }
  const Parts half = half_ring(in, m, bytes);
  const Parts outer = full_sum({network.node_latency, network.node_bandwidth}, nodes, bytes / m);
  return {2 * half.latency + outer.latency, 2 * half.bandwidth, outer.bandwidth};
}

ScaledStep scale_step(const RankCosts& costs, const ScalingPlan& plan, const Network& network,
                      Scaling scaling, std::int64_t rows, std::int64_t ranks) {
  check(ranks > 0 && rows > 0, "a step of no rank or no row");
  const double alone = costs.step.at(static_cast<double>(rows));
  ScaledStep step;
  step.seconds = step.compute = alone;
  step.binding = "compute";
  if (ranks > 1)
    step = plan.mode == "shared" ? scale_shared(costs, plan, network, scaling, rows, ranks)
                                 : scale_bricks(costs, plan, network, scaling, rows, ranks);
  const double n = scaling == Scaling::strong ? static_cast<double>(ranks) : 1;
  step.ranks = ranks;
  step.efficiency = alone / (n * step.seconds);
  return step;
}

}  // namespace kanbench
