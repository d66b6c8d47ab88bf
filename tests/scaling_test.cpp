// Laws that the model of many ranks must keep, against formulas worked out by hand.

#include "kanbench/scaling.h"

#include <gtest/gtest.h>

#include <cmath>

#include "kanbench/error.h"
#include "support.h"

namespace kanbench {
namespace {

constexpr std::int64_t kRows = 1 << 16;
constexpr std::int64_t kMegafloats = 1 << 20;

RankCosts some_costs() {
  RankCosts costs;
  costs.step = {1e-4, 9e-8};
  costs.sample = {0, 1e-8};
  costs.decode = {1e-4, 5e-8};
  costs.scatter = {0, 4e-8};
  costs.update = 1e-3;
  costs.decoder = 10000;
  costs.levels = {4096, 32768, kMegafloats, kMegafloats, 2 * kMegafloats};
  return costs;
}

Network flat(double latency, double bandwidth) {
  return {"flat", latency, bandwidth, 1, latency, bandwidth, ""};
}

std::vector<ScalingPlan> all_plans() {
  std::vector<ScalingPlan> plans;
  for (const bool overlapped : {true, false})
    for (const Wire wire : {Wire::fp32, Wire::fp16})
      for (const bool sharded : {true, false}) {
        ScalingPlan plan;
        plan.overlapped = overlapped;
        plan.wire = wire;
        plan.sharded = sharded;
        plans.push_back(plan);
      }
  ScalingPlan ensemble;
  ensemble.mode = "ensemble";
  plans.push_back(ensemble);
  ScalingPlan hybrid;
  hybrid.mode = "hybrid";
  hybrid.shared_bytes = 1e6;
  plans.push_back(hybrid);
  return plans;
}

double parts_of(const ScaledStep& step) {
  return step.compute + step.imbalance + step.latency + step.within + step.between;
}

TEST(Scaling, OneRankIsOneRank) {
  const RankCosts costs = some_costs();
  for (const ScalingPlan& plan : all_plans())
    for (const Network& network : networks())
      for (const Scaling scaling : {Scaling::weak, Scaling::strong}) {
        const ScaledStep step = scale_step(costs, plan, network, scaling, kRows, 1);
        EXPECT_EQ(step.efficiency, 1);
        EXPECT_EQ(step.seconds, costs.step.at(kRows));
        EXPECT_EQ(step.traffic, 0);
        EXPECT_EQ(step.binding, "compute");
      }
}

TEST(Scaling, PartsMakeUpTheStep) {
  for (const ScalingPlan& plan : all_plans())
    for (const Network& network : networks())
      for (const Scaling scaling : {Scaling::weak, Scaling::strong})
        for (const std::int64_t ranks : {1, 2, 3, 7, 8, 9, 64, 1000, 4096}) {
          const ScaledStep step = scale_step(some_costs(), plan, network, scaling, kRows, ranks);
          EXPECT_NEAR(parts_of(step), step.seconds, 1e-12 + 1e-9 * step.seconds);
          EXPECT_GE(std::min({step.imbalance, step.latency, step.within, step.between}), 0);
          EXPECT_GT(step.compute, 0);
          EXPECT_LE(step.latency + step.within + step.between, step.traffic * (1 + 1e-9));
        }
}

// Far from anything else a step is its traffic.
TEST(Scaling, BandwidthBindsAsTheFormulaSays) {
  RankCosts costs = some_costs();
  costs.step = {0, 1e-15};
  costs.sample = costs.decode = costs.scatter = {};
  costs.update = 0;
  ScalingPlan plan;
  for (const std::int64_t n : {2, 5, 64}) {
    const double bytes = 4 * static_cast<double>(costs.floats());
    const double expected = 2 * (double(n) - 1) / double(n) * bytes / 1e9;
    const ScaledStep step = scale_step(costs, plan, flat(0, 1e9), Scaling::weak, kRows, n);
    // Beside the sum, five numbers that ranks agree on.
    EXPECT_NEAR(step.seconds, expected, expected * 1e-4) << n;
    EXPECT_EQ(step.binding, "bandwidth between nodes");
    plan.sharded = true;
    const ScaledStep halves = scale_step(costs, plan, flat(0, 1e9), Scaling::weak, kRows, n);
    EXPECT_NEAR(halves.seconds, expected, expected * 1e-4) << n;
    plan.sharded = false;
  }
}

TEST(Scaling, ASumIsARingOrATree) {
  const Network link = flat(1e-6, 1e9);
  // Large: the ring's bandwidth. Small: the tree's depth.
  EXPECT_NEAR(sum_traffic(link, 16, 1e9).between, 2 * 15.0 / 16, 1e-9);
  EXPECT_NEAR(sum_traffic(link, 16, 1e9).latency, 30e-6, 1e-12);
  EXPECT_NEAR(sum_traffic(link, 1000, 8).latency, 20e-6, 1e-12);
  EXPECT_NEAR(sum_traffic(link, 1000, 8).between, 16e-9, 1e-15);
  EXPECT_NEAR(scatter_traffic(link, 16, 1e9).between, 15.0 / 16, 1e-9);
  EXPECT_EQ(sum_traffic(link, 1, 1e9).seconds(), 0);
  EXPECT_EQ(scatter_traffic(link, 1, 1e9).seconds(), 0);
}

// A network of one node need not say what is between nodes.
TEST(Scaling, OneNodeHasNothingBetween) {
  const Network node{"node", 1e-6, 1e9, 16, 0, 0, ""};
  EXPECT_NEAR(scatter_traffic(node, 4, 1e9).seconds(), 0.75 + 3e-6, 1e-9);
  for (const ScalingPlan& plan : all_plans())
    EXPECT_TRUE(
        std::isfinite(scale_step(some_costs(), plan, node, Scaling::weak, kRows, 16).seconds));
}

TEST(Scaling, NodesSumWithinAndBetween) {
  const Network nodes{"nodes", 0, 1e10, 8, 0, 1e9, ""};
  const Traffic inside = sum_traffic(nodes, 8, 1e9);
  EXPECT_NEAR(inside.within, 2 * 7.0 / 8 * 0.1, 1e-12);
  EXPECT_EQ(inside.between, 0);
  const Traffic across = sum_traffic(nodes, 32, 1e9);
  EXPECT_NEAR(across.within, 2 * 7.0 / 8 * 0.1, 1e-12);
  // Each rank sums an eighth with those of three other nodes.
  EXPECT_NEAR(across.between, 2 * 3.0 / 4 / 8, 1e-12);
  EXPECT_NEAR(scatter_traffic(nodes, 32, 1e9).seconds(), across.seconds() / 2, 1e-12);
}

TEST(Scaling, MoreRanksAreNeverMoreEfficient) {
  for (const ScalingPlan& plan : all_plans())
    for (const Network& network : networks())
      for (const Scaling scaling : {Scaling::weak, Scaling::strong}) {
        double before = 1;
        for (std::int64_t ranks = 2; ranks <= 4096; ranks *= 2) {
          const ScaledStep step = scale_step(some_costs(), plan, network, scaling, kRows, ranks);
          // The first step to many ranks may gain by a sharded update, which divides by n.
          if (!plan.sharded) {
            EXPECT_LE(step.efficiency, before * (1 + 1e-9)) << network.name << ranks;
          }
          EXPECT_GT(step.efficiency, 0);
          before = step.efficiency;
        }
      }
}

TEST(Scaling, OverlapNeverCosts) {
  double most = 0;
  for (ScalingPlan plan : all_plans())
    for (const Network& network : networks())
      for (const std::int64_t ranks : {2, 8, 64, 4096}) {
        plan.overlapped = false;
        const double apart =
            scale_step(some_costs(), plan, network, Scaling::weak, kRows, ranks).seconds;
        plan.overlapped = true;
        const double beside =
            scale_step(some_costs(), plan, network, Scaling::weak, kRows, ranks).seconds;
        EXPECT_LE(beside, apart * (1 + 1e-12));
        most = std::max(most, apart / beside);
      }
  EXPECT_GT(most, 1.05);
}

// The decoder and the finest level wait for the last of them; the rest of the way back hides all
// of a fast network's traffic but the last bucket's.
TEST(Scaling, OverlapHidesAllButTheLastBucket) {
  RankCosts costs = some_costs();
  const Network link = flat(0, 1e10);
  const ScaledStep step = scale_step(costs, {}, link, Scaling::weak, kRows, 2);
  const double floats = static_cast<double>(costs.levels[0] + costs.levels[1]);
  const double last = 4 * floats / 1e10;
  const double arithmetic =
      costs.sample.at(kRows) + costs.decode.at(kRows) + costs.scatter.at(kRows) + costs.update;
  EXPECT_NEAR(step.compute, arithmetic, 1e-12);
  EXPECT_NEAR(step.seconds - arithmetic, last, 0.05 * last);
}

TEST(Scaling, Fp16HalvesTheTraffic) {
  ScalingPlan whole, half;
  half.wire = Wire::fp16;
  const Network link = flat(0, 1e6);
  const double agreement = sum_traffic(link, 4, 40).seconds();
  const ScaledStep a = scale_step(some_costs(), whole, link, Scaling::weak, kRows, 4);
  const ScaledStep b = scale_step(some_costs(), half, link, Scaling::weak, kRows, 4);
  EXPECT_NEAR(a.traffic - agreement, 2 * (b.traffic - agreement), 1e-9 * a.traffic);
}

TEST(Scaling, ShardingDividesTheUpdate) {
  ScalingPlan whole, sharded;
  sharded.sharded = true;
  const Network link = flat(0, 1e15);
  const ScaledStep a = scale_step(some_costs(), whole, link, Scaling::weak, kRows, 4);
  const ScaledStep b = scale_step(some_costs(), sharded, link, Scaling::weak, kRows, 4);
  EXPECT_NEAR(a.compute - b.compute, 0.75 * some_costs().update, 1e-12);
}

TEST(Scaling, EnsemblesStayAsTheyAre) {
  ScalingPlan plan;
  plan.mode = "ensemble";
  plan.edge = 256;
  plan.ghost = 1;
  const Network slow = flat(1, 1);
  for (const std::int64_t ranks : {2, 64, 4096}) {
    const ScaledStep step = scale_step(some_costs(), plan, slow, Scaling::weak, kRows, ranks);
    EXPECT_NEAR(step.efficiency, 1 / std::pow(1 + 2.0 / 256, 3), 1e-12);
    EXPECT_EQ(step.traffic, 0);
    EXPECT_EQ(step.binding, "compute");
  }
}

// 10 bricks on 4 ranks take three rounds, of which two and a half are needed.
TEST(Scaling, AListOfBricksHasATail) {
  ScalingPlan plan;
  plan.mode = "ensemble";
  plan.ghost = 0;
  plan.bricks = 10;
  const ScaledStep step = scale_step(some_costs(), plan, flat(0, 1), Scaling::strong, kRows, 4);
  EXPECT_NEAR(step.efficiency, 2.5 / 3, 1e-12);
  EXPECT_NEAR(step.imbalance, step.seconds / 6, 1e-12);
  const ScaledStep idle = scale_step(some_costs(), plan, flat(0, 1), Scaling::strong, kRows, 40);
  EXPECT_NEAR(idle.efficiency, 0.25, 1e-12);
  EXPECT_EQ(idle.binding, "imbalance");
}

TEST(Scaling, HybridsSpreadTheirTrafficOverSteps) {
  ScalingPlan plan;
  plan.mode = "hybrid";
  plan.ghost = 0;
  plan.shared_bytes = 1e6;
  const Network link = flat(0, 1e9);
  const double agreement = sum_traffic(link, 16, 40).seconds();
  plan.share_every = 1;
  const double often = scale_step(some_costs(), plan, link, Scaling::weak, kRows, 16).traffic;
  plan.share_every = 8;
  const double seldom = scale_step(some_costs(), plan, link, Scaling::weak, kRows, 16).traffic;
  EXPECT_NEAR(often - agreement, 2 * 15.0 / 16 * 1e-3, 1e-12);
  EXPECT_NEAR(often - agreement, 8 * (seldom - agreement), 1e-12);
}

// 100 rows on 7 ranks: some draw 15.
TEST(Scaling, RowsAreWhole) {
  RankCosts costs = some_costs();
  costs.decode.fixed = 0;
  const ScaledStep step = scale_step(costs, {}, flat(0, 1e15), Scaling::strong, 100, 7);
  EXPECT_NEAR(step.imbalance, (15 - 100.0 / 7) * 1e-7, 1e-15);
}

TEST(Scaling, CostsGoThroughBothPoints) {
  const Cost cost = fit_cost(100, 2, 300, 4);
  EXPECT_DOUBLE_EQ(cost.at(100), 2);
  EXPECT_DOUBLE_EQ(cost.at(300), 4);
  // Noise must not make either part negative.
  EXPECT_DOUBLE_EQ(fit_cost(100, 5, 300, 4).at(10), 4);
  const Cost steep = fit_cost(100, 1, 200, 4);
  EXPECT_EQ(steep.fixed, 0);
  EXPECT_DOUBLE_EQ(steep.at(200), 4);
  EXPECT_DOUBLE_EQ(fit_cost(200, 4, 200, 4).at(200), 4);
}

TEST(Networks, AreFoundOrGiven) {
  for (const Network& network : networks()) {
    EXPECT_EQ(parse_network(network.name, "--network").bandwidth, network.bandwidth);
    EXPECT_FALSE(network.source.empty());
    EXPECT_GT(network.node_bandwidth, 0);
  }
  const Network own = parse_network("mine=2.5:12", "--network");
  EXPECT_EQ(own.name, "mine");
  EXPECT_DOUBLE_EQ(own.latency, 2.5e-6);
  EXPECT_DOUBLE_EQ(own.node_bandwidth, 12e9);
  EXPECT_EQ(own.node_ranks, 1);
}

TEST(Networks, AreRefusedInOneLine) {
  const auto said = [](const std::string& word) {
    return test::message_of<Error>([&] { parse_network(word, "--network"); });
  };
  EXPECT_EQ(said("ib-ndt"),
            "--network: unknown network 'ib-ndt', did you mean 'ib-ndr'?: known are nvlink, pcie, "
            "ib-ndr, ib-hdr, ethernet-100g, ethernet-10g, shared-memory, or give "
            "NAME=MICROSECONDS:GIGABYTES a second");
  for (const char* word : {"a=", "a=1", "a=1:", "a=:1", "a=1:0", "a=-1:1", "a=1:1x", "=1:1",
                           "a=nan:1", "a=1:inf", "a:1=2", "a=1:-3", "a=1e300:1"})
    EXPECT_NE(said(word).find("is no NAME=MICROSECONDS:GIGABYTES"), std::string::npos) << word;
}

}  // namespace
}  // namespace kanbench
