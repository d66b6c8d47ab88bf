#include "kanbench/job_plan.h"

#include "kanbench/error.h"
#include "support.h"

namespace kanbench::test {
namespace {

constexpr double kHour = 3600;

Site make_site(std::vector<SiteQueue> queues) {
  Site site;
  site.name = "here";
  site.scheduler = "slurm";
  site.device = {"", 40, 1e13, 1e12};
  site.queues = std::move(queues);
  return site;
}

SiteQueue gpus(const std::string& name, int per_node, int nodes, int minutes) {
  SiteQueue queue;
  queue.name = name;
  queue.gpus_per_node = per_node;
  queue.max_nodes = nodes;
  queue.minutes = minutes;
  return queue;
}

// Takes `seconds` on one device and half of it on twice as many, and holds `bytes` between them.
RunNeed make_need(double seconds, double bytes, std::int64_t index = 0) {
  RunNeed need;
  need.index = index;
  need.run_id = "id" + std::to_string(index);
  need.most_ranks = 1024;
  need.seconds = [=](int ranks) { return seconds / ranks; };
  need.device_bytes = [=](int ranks) { return bytes / ranks; };
  need.host_bytes = [](int ranks, bool) { return 3.2e9 * ranks; };
  return need;
}

TEST(JobPlan, RoundsWalltimesUpToQuartersOfAnHour) {
  EXPECT_EQ(walltime_minutes(0, 1000), 30);
  EXPECT_EQ(walltime_minutes(20 * 60, 1000), 30);
  // Half as long again: 30 minutes and a second.
  EXPECT_EQ(walltime_minutes(20 * 60 + 1, 1000), 45);
  EXPECT_EQ(walltime_minutes(60 * 60, 1000), 90);
  EXPECT_EQ(walltime_minutes(61 * 60, 1000), 105);
  EXPECT_EQ(walltime_minutes(61 * 60, 100), 100);
  EXPECT_EQ(walltime_minutes(1, 10), 10);
  EXPECT_EQ(walltime_minutes(1e300, 600), 600);
}

TEST(JobPlan, TakesTheLeastDevicesThatHoldTheRunInTime) {
  const Site site = make_site({gpus("q", 4, 4, 60)});
  EXPECT_EQ(plan_run(make_need(0.5 * kHour, 1e9), site, {}).gpus, 1);
  EXPECT_EQ(plan_run(make_need(0.5 * kHour, 70e9), site, {}).gpus, 2);
  EXPECT_EQ(plan_run(make_need(3 * kHour, 1e9), site, {}).gpus, 4);
  const RunPlan two_nodes = plan_run(make_need(6 * kHour, 1e9), site, {});
  EXPECT_EQ(two_nodes.gpus, 8);
  EXPECT_EQ(two_nodes.nodes, 2);
  EXPECT_EQ(two_nodes.minutes, 60);
  EXPECT_FALSE(two_nodes.too_long);
}

TEST(JobPlan, SaysWhatDoesNotFit) {
  const Site site = make_site({gpus("q", 4, 4, 60)});
  RunNeed alone = make_need(3 * kHour, 1e9);
  alone.most_ranks = 1;
  const RunPlan plan = plan_run(alone, site, {});
  EXPECT_EQ(plan.gpus, 1);
  EXPECT_EQ(plan.minutes, 60);
  EXPECT_TRUE(plan.too_long);
  EXPECT_FALSE(plan.in_bricks);
  const RunPlan large = plan_run(make_need(0.1 * kHour, 1e13), site, {});
  EXPECT_TRUE(large.in_bricks);
  EXPECT_FALSE(large.too_long);
}

TEST(JobPlan, TakesTheFirstQueueThatTheRunFits) {
  const Site site = make_site({gpus("short", 4, 1, 60), gpus("long", 4, 1, 600)});
  EXPECT_EQ(plan_run(make_need(0.5 * kHour, 1e9), site, {}).queue, "short");
  RunNeed need = make_need(5 * kHour, 1e9);
  need.most_ranks = 1;
  EXPECT_EQ(plan_run(need, site, {}).queue, "long");
  need = make_need(50 * kHour, 1e9);
  need.most_ranks = 1;
  const RunPlan plan = plan_run(need, site, {});
  EXPECT_EQ(plan.queue, "long");
  EXPECT_TRUE(plan.too_long);
  EXPECT_EQ(plan_run(need, site, {0, "short", 0}).queue, "short");
}

TEST(JobPlan, DoesAsItIsWished) {
  const Site site = make_site({gpus("q", 4, 2, 60)});
  const RunPlan plan = plan_run(make_need(kHour / 10, 1e9), site, {8, "", 45});
  EXPECT_EQ(plan.gpus, 8);
  EXPECT_EQ(plan.nodes, 2);
  EXPECT_EQ(plan.minutes, 45);
  for (const int count : {5, 16}) {
    const std::string said = message_of<Error>([&] {
      plan_run(make_need(1, 1), site, {count, "", 0});
    });
    EXPECT_NE(said.find("--gpus " + std::to_string(count)), std::string::npos) << said;
  }
  EXPECT_NE(message_of<Error>([&] {
              plan_run(make_need(1, 1), site, {0, "r", 0});
            }).find("did you mean 'q'"),
            std::string::npos);
}

TEST(JobPlan, RespectsTheLeastNodesOfAQueue) {
  SiteQueue queue = gpus("prod", 4, 100, 600);
  queue.min_nodes = 10;
  const RunPlan plan = plan_run(make_need(kHour, 1e9), make_site({queue}), {});
  EXPECT_EQ(plan.nodes, 10);
  EXPECT_EQ(plan.gpus, 40);
  RunNeed alone = make_need(kHour, 1e9);
  alone.most_ranks = 1;
  EXPECT_EQ(plan_run(alone, make_site({queue}), {}).nodes, 10);
}

TEST(JobPlan, AsksForMoreAfterTooLittle) {
  SiteQueue queue = gpus("q", 4, 1, 600);
  queue.memory_gb = 100;
  const Site site = make_site({queue});
  RunNeed need = make_need(kHour / 10, 1e9);
  EXPECT_EQ(plan_run(need, site, {}).memory_gb, 4);
  need.least_memory_gb = 8;
  need.least_minutes = 60;
  EXPECT_EQ(plan_run(need, site, {}).memory_gb, 8);
  EXPECT_EQ(plan_run(need, site, {}).minutes, 60);
  need.least_memory_gb = need.least_minutes = 100000;
  EXPECT_EQ(plan_run(need, site, {}).memory_gb, 100);
  EXPECT_EQ(plan_run(need, site, {}).minutes, 600);
}

std::vector<RunPlan> plans_of(const Site& site, const std::vector<double>& hours) {
  std::vector<RunPlan> plans;
  for (const double one : hours)
    plans.push_back(plan_run(make_need(one * kHour, 1e9, static_cast<std::int64_t>(plans.size())),
                             site, {1, "", 0}));
  return plans;
}

TEST(JobPlan, RunsThatAskForTheSameShareAnArray) {
  const Site site = make_site({gpus("q", 4, 1, 6000)});
  const std::vector<Job> jobs = pack_jobs(plans_of(site, {0.1, 4, 0.2, 4, 0.3}), site);
  ASSERT_EQ(jobs.size(), 2u);
  ASSERT_EQ(jobs[0].elements.size(), 3u);
  EXPECT_EQ(jobs[0].elements[1][0].index, 2);
  EXPECT_EQ(jobs[0].elements[2][0].run_id, "id4");
  ASSERT_EQ(jobs[1].elements.size(), 2u);
  EXPECT_EQ(jobs[1].minutes, 360);
}

TEST(JobPlan, ArraysHaveAsManyElementsAsTheyMay) {
  Site site = make_site({gpus("q", 4, 1, 600)});
  site.array_limit = 2;
  const std::vector<Job> jobs = pack_jobs(plans_of(site, {.1, .1, .1, .1, .1}), site);
  ASSERT_EQ(jobs.size(), 3u);
  EXPECT_EQ(jobs[2].elements.size(), 1u);
  EXPECT_EQ(jobs[2].elements[0][0].index, 4);
}

TEST(JobPlan, WholeNodesAreSharedByRuns) {
  SiteQueue queue = gpus("q", 4, 1, 600);
  queue.whole_nodes = true;
  const Site site = make_site({queue});
  const std::vector<Job> jobs = pack_jobs(plans_of(site, {.1, .1, .1, .1, .1, .1}), site);
  ASSERT_EQ(jobs.size(), 1u);
  ASSERT_EQ(jobs[0].elements.size(), 2u);
  EXPECT_EQ(jobs[0].elements[0].size(), 4u);
  EXPECT_EQ(jobs[0].elements[1].size(), 2u);
}

TEST(JobPlan, CutsJobsToTheRoomThereIs) {
  Site site = make_site({gpus("q", 4, 1, 6000)});
  const std::vector<Job> jobs = pack_jobs(plans_of(site, {.1, .1, .1, 4, 4}), site);
  const auto kept = within_room(jobs, 4);
  ASSERT_EQ(kept.size(), 2u);
  EXPECT_EQ(kept[0].elements.size(), 3u);
  EXPECT_EQ(kept[1].elements.size(), 1u);
  EXPECT_EQ(within_room(jobs, 2).size(), 1u);
  EXPECT_TRUE(within_room(jobs, 0).empty());
  EXPECT_TRUE(within_room(jobs, -3).empty());
}

}  // namespace
}  // namespace kanbench::test
