#pragma once
// Scaling on paper: what a step of training takes on many ranks, from what its stages take on one
// and what connects them. docs/scaling.md says how far to trust it.

#include <cstdint>
#include <string>
#include <vector>

#include "kanbench/communicator.h"

namespace kanbench {

/// Seconds that a batch takes: fixed, and in proportion to its rows.
struct Cost {
  double fixed = 0, per_row = 0;
  double at(double rows) const { return fixed + per_row * rows; }
};

/// The cost through two measured points, neither part negative; it meets the second exactly.
Cost fit_cost(double rows_a, double seconds_a, double rows_b, double seconds_b);

/// What one rank takes for training steps of one model, and how large the model is.
struct RankCosts {
  /// A whole step of a rank alone, as Backend::train() takes it.
  Cost step;
  /// Of a rank among others: points and targets; from them to the decoder's gradient; the levels'.
  Cost sample, decode, scatter;
  /// Adam on all parameters; does not depend on the batch.
  double update = 0;
  /// Floats of the decoder and of each level, coarsest first.
  std::int64_t decoder = 0;
  std::vector<std::int64_t> levels;
  std::int64_t floats() const;
};

/// What connects ranks. A message of b bytes takes latency + b / bandwidth seconds; bandwidths are
/// bytes a second, one way, of a rank, all ranks sending at once.
struct Network {
  std::string name;
  double latency = 0, bandwidth = 0;
  /// Ranks of a node, and the links between nodes; 1 where each rank's link is all there is.
  std::int64_t node_ranks = 1;
  double node_latency = 0, node_bandwidth = 0;
  /// Where the figures are from.
  std::string source;
};

/// Those known by name: published figures of what the links can do, not measurements of ours.
const std::vector<Network>& networks();
/// One of networks(), or "NAME=MICROSECONDS:GIGABYTES", one link a rank. Throws Error naming `what`
/// and the nearest name.
Network parse_network(const std::string& word, const std::string& what);

/// Seconds of a collective by what they are spent on.
struct Traffic {
  double latency = 0, within = 0, between = 0;
  double seconds() const { return latency + within + between; }
};

/// A sum of `bytes` over `ranks`, with the result everywhere. Within a node, and between nodes, the
/// faster of a ring, 2 (n - 1) latency + 2 (n - 1) / n bytes / bandwidth, and a pipelined double
/// binary tree, 2 ceil(log2 n) latency + 2 bytes / bandwidth (Sanders, Speck and Traeff 2009).
/// Ranks of several nodes first scatter a sum within each, (m - 1) latency + (m - 1) / m bytes /
/// bandwidth, then each sums its m-th part between nodes, then gather within (Thakur, Rabenseifner
/// and Gropp 2005).
Traffic sum_traffic(const Network& network, std::int64_t ranks, double bytes);
/// The first half of it, after which each rank has its share, or the second: a ring's.
Traffic scatter_traffic(const Network& network, std::int64_t ranks, double bytes);

/// How ranks divide the work.
struct ScalingPlan {
  /// "shared", "ensemble" or "hybrid", as Decomposition::mode.
  std::string mode = "shared";
  /// Of shared: whether sums go on beside the rest of the way back, what they are sent as, and
  /// whether each rank updates its share only.
  bool overlapped = true;
  Wire wire = Wire::fp32;
  bool sharded = false;
  /// Of the others: voxels along an axis of the volume (its cube root), voxels a brick is grown by,
  /// and bricks, 0 for one a rank.
  double edge = 256;
  double ghost = 1;
  std::int64_t bricks = 0;
  /// Of a hybrid: steps between averagings, and the bytes of each.
  int share_every = 8;
  double shared_bytes = 0;
};

/// The parts of a step, which sum to it; and the time that traffic would take by itself.
struct ScaledStep {
  std::int64_t ranks = 1;
  /// Seconds for as many samples as one step has.
  double seconds = 0;
  double efficiency = 1;
  double compute = 0, imbalance = 0, latency = 0, within = 0, between = 0;
  double traffic = 0;
  /// The largest of the five: "compute", "imbalance", "latency", "bandwidth within nodes" or
  /// "bandwidth between nodes".
  std::string binding;
};

/// Weak: every rank has a batch of `rows`, and of a volume a brick, of its own; efficiency is what
/// one rank takes over what many take. Strong: `rows` and the volume are those of all ranks
/// together; efficiency is what one rank takes over what many take, times their number.
enum class Scaling { weak, strong };

ScaledStep scale_step(const RankCosts& costs, const ScalingPlan& plan, const Network& network,
                      Scaling scaling, std::int64_t rows, std::int64_t ranks);

}  // namespace kanbench
