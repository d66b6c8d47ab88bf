#pragma once
// From what runs take to jobs: devices, nodes, walltime, memory, and which runs share an array.

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "kanbench/job_book.h"
#include "kanbench/site.h"

namespace kanbench {

/// What a run takes, as a function of its ranks.
struct RunNeed {
  std::int64_t index = 0;
  std::string run_id;
  int attempt = 1;
  std::function<double(int ranks)> seconds, device_bytes;
  /// Of a node where so many ranks of the run are there.
  std::function<double(int ranks, bool on_processors)> host_bytes;
  int most_ranks = 1;
  double safety_margin = 0.8;
  /// What an earlier attempt asked for and what was not enough: at least that much, twice.
  int least_minutes = 0;
  double least_memory_gb = 0;
};

/// What is wanted of every run, where it is not for the estimate to say.
struct PlanWishes {
  /// 0: as many as memory and time ask for.
  int gpus = 0;
  /// Empty: the site's first queue that the run fits.
  std::string queue;
  /// 0: as estimated.
  int minutes = 0;
};

/// What a run asks for.
struct RunPlan {
  std::int64_t index = 0;
  std::string run_id;
  int attempt = 1;
  std::string queue;
  int gpus = 0, nodes = 1, minutes = 0;
  double memory_gb = 0, safety_margin = 0;
  /// The estimate, and whether it is more than the walltime; whether its volume does not fit the
  /// devices and is trained on in bricks.
  double seconds = 0;
  bool too_long = false, in_bricks = false;
};

/// The walltime for so many seconds: half as long again, in steps of 15 minutes, at least 30, at
/// most the queue's.
int walltime_minutes(double seconds, int longest);

/// The least devices by which the run fits memory and walltime, in the first queue where it does;
/// else the least by which it fits the walltime alone; else, in the queue with the longest one,
/// those that memory asks for. Throws Error where no queue has what the wishes say.
RunPlan plan_run(const RunNeed& need, const Site& site, const PlanWishes& wishes);

/// Jobs of runs that ask for the same, in their order, of at most `array_limit` elements; where a
/// job has its nodes for itself an element has as many runs as find devices there. Names and ids
/// are left empty.
std::vector<Job> pack_jobs(const std::vector<RunPlan>& plans, const Site& site);

/// The same jobs with at most `room` elements in all; the last may be cut short.
std::vector<Job> within_room(std::vector<Job> jobs, std::int64_t room);

}  // namespace kanbench
