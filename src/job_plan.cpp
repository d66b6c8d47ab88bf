#include "kanbench/job_plan.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <tuple>

#include "io/quote.h"
#include "kanbench/error.h"

namespace kanbench {
namespace {

constexpr int kStepMinutes = 15, kLeastMinutes = 30;
constexpr double kTimeMargin = 1.5;

// Devices that a job of this queue may have: powers of two within a node and the node's own number,
// then whole nodes. A queue without devices has one process.
std::vector<int> choices_of(const SiteQueue& queue) {
  if (queue.gpus_per_node == 0) return {0};
  std::vector<int> counts;
  if (queue.min_nodes == 1)
    for (int n = 1; n < queue.gpus_per_node; n *= 2) counts.push_back(n);
  for (int nodes = queue.min_nodes; nodes <= queue.max_nodes; nodes *= 2)
    counts.push_back(nodes * queue.gpus_per_node);
  return counts;
}

int nodes_of(int gpus, const SiteQueue& queue) {
  if (queue.gpus_per_node == 0) return queue.min_nodes;
  return (gpus + queue.gpus_per_node - 1) / queue.gpus_per_node;
}

// Whether jobs of this queue may have so many devices, as the user wishes.
bool allows(const SiteQueue& queue, int gpus) {
  if (queue.gpus_per_node == 0) return false;
  const int nodes = nodes_of(gpus, queue);
  return nodes <= queue.max_nodes && nodes >= queue.min_nodes &&
         (nodes == 1 || gpus % queue.gpus_per_node == 0);
}

struct Choice {
  const SiteQueue* queue;
  int gpus;
  bool holds, in_time;
};

std::vector<Choice> choices(const RunNeed& need, const Site& site, const PlanWishes& wishes) {
  std::vector<Choice> all;
  const double memory = site.device.memory_gb * 1e9;
  for (const SiteQueue& queue : site.queues) {
    if (!wishes.queue.empty() && queue.name != wishes.queue) continue;
    std::vector<int> counts = choices_of(queue);
    const int fewest = counts.front();
    if (wishes.gpus > 0)
      counts = allows(queue, wishes.gpus) ? std::vector<int>{wishes.gpus} : std::vector<int>{};
    for (const int gpus : counts) {
      const int ranks = std::max(1, gpus);
      if (wishes.gpus == 0 && ranks > need.most_ranks && gpus != fewest) continue;
      const double room = queue.gpus_per_node > 0 ? memory : queue.memory_gb * 1e9;
      const int wanted = std::max(
          need.least_minutes, wishes.minutes > 0
                                  ? wishes.minutes
                                  : static_cast<int>(std::min(1e6, need.seconds(ranks) / 60 + 1)));
      all.push_back(
          {&queue, gpus, room == 0 || need.device_bytes(ranks) <= room, wanted <= queue.minutes});
    }
  }
  return all;
}

// The first that holds the run and has time for it; else the first that has time, which takes the
// volume in bricks; else the longest that holds it.
Choice choose(const std::vector<Choice>& all) {
  for (const Choice& one : all)
    if (one.holds && one.in_time) return one;
  for (const Choice& one : all)
    if (one.in_time) return one;
  std::optional<Choice> best;
  for (const Choice& one : all)
    if (!best ||
        std::tuple(one.holds, one.queue->minutes) > std::tuple(best->holds, best->queue->minutes))
      best = one;
  return *best;
}

// How many runs of so many devices find room on a node side by side.
std::size_t side_by_side(int gpus, const SiteQueue& queue) {
  if (!queue.whole_nodes || gpus < 1) return 1;
  return static_cast<std::size_t>(std::max(1, queue.gpus_per_node / gpus));
}

auto resources(const Job& job) {
  return std::tuple(job.queue, job.gpus, job.nodes, job.minutes, job.memory_gb, job.safety_margin);
}

}  // namespace

int walltime_minutes(double seconds, int longest) {
  const double minutes = std::min(kTimeMargin * seconds / 60, 1e8);
  const int steps = static_cast<int>(std::ceil(minutes / kStepMinutes));
  return std::min(longest, std::max(kLeastMinutes, steps * kStepMinutes));
}

RunPlan plan_run(const RunNeed& need, const Site& site, const PlanWishes& wishes) {
  const std::vector<Choice> all = choices(need, site, wishes);
  if (all.empty()) {
    std::vector<std::string> names;
    for (const SiteQueue& queue : site.queues) names.push_back(queue.name);
    const bool named = std::find(names.begin(), names.end(), wishes.queue) != names.end();
    if (!wishes.queue.empty() && !named)
      throw Error("--queue " + quote(wishes.queue) + ": site " + site.name + " has none" +
                  nearest(wishes.queue, names) + " (known: " + join(names) + ")");
    throw Error("--gpus " + std::to_string(wishes.gpus) + ": no queue of site " + site.name +
                " that is meant gives a job so many: up to a node's, or those of whole nodes");
  }
  const Choice chosen = choose(all);
  const SiteQueue& queue = *chosen.queue;
  const int ranks = std::max(1, chosen.gpus);
  RunPlan plan{need.index, need.run_id, need.attempt, queue.name, chosen.gpus};
  plan.nodes = nodes_of(chosen.gpus, queue);
  plan.seconds = need.seconds(ranks);
  plan.minutes = std::min(
      queue.minutes, std::max(need.least_minutes,
                              wishes.minutes > 0 ? wishes.minutes
                                                 : walltime_minutes(plan.seconds, queue.minutes)));
  plan.too_long = plan.seconds > 60.0 * plan.minutes;
  plan.in_bricks = !chosen.holds;
  plan.safety_margin = need.safety_margin;
  if (queue.memory_gb > 0) {
    const int per_node = std::max(1, chosen.gpus / plan.nodes);
    const double estimated = need.host_bytes(per_node, queue.gpus_per_node == 0) * 1e-9;
    plan.memory_gb =
        std::min(queue.memory_gb, std::ceil(std::max(estimated, need.least_memory_gb)));
  }
  return plan;
}

std::vector<Job> pack_jobs(const std::vector<RunPlan>& plans, const Site& site) {
  std::vector<Job> jobs;
  for (const RunPlan& plan : plans) {
    Job wanted;
    wanted.scheduler = site.scheduler;
    wanted.queue = plan.queue;
    wanted.gpus = plan.gpus;
    wanted.nodes = plan.nodes;
    wanted.minutes = plan.minutes;
    wanted.memory_gb = plan.memory_gb;
    wanted.safety_margin = plan.safety_margin;
    const auto queue = std::find_if(site.queues.begin(), site.queues.end(),
                                    [&](const SiteQueue& q) { return q.name == plan.queue; });
    check(queue != site.queues.end(), "a plan for a queue that is not there");
    const std::size_t beside = side_by_side(plan.gpus, *queue);
    // The last job that asks for the same.
    auto job = std::find_if(jobs.rbegin(), jobs.rend(), [&](const Job& other) {
      return resources(other) == resources(wanted);
    });
    const bool fits =
        job != jobs.rend() && (job->elements.back().size() < beside ||
                               job->elements.size() < static_cast<std::size_t>(site.array_limit));
    if (!fits) {
      jobs.push_back(wanted);
      job = jobs.rbegin();
    }
    if (job->elements.empty() || job->elements.back().size() >= beside)
      job->elements.emplace_back();
    job->elements.back().push_back({plan.index, plan.run_id, plan.attempt, ""});
  }
  return jobs;
}

std::vector<Job> within_room(std::vector<Job> jobs, std::int64_t room) {
  std::vector<Job> kept;
  for (Job& job : jobs) {
    const auto most = static_cast<std::size_t>(std::max<std::int64_t>(0, room));
    if (job.elements.size() > most) job.elements.resize(most);
    room -= static_cast<std::int64_t>(job.elements.size());
    if (!job.elements.empty()) kept.push_back(std::move(job));
  }
  return kept;
}

}  // namespace kanbench
