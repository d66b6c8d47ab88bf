#pragma once
// A cluster as a file describes it: its scheduler, its queues and what a job must say there.

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace kanbench {

/// Where jobs wait, and what one of them may ask for.
struct SiteQueue {
  std::string name;
  /// 0: runs compute on processors.
  int gpus_per_node = 0;
  /// Cores that a job asks for, each process or, on whole nodes, not at all; 0: it does not say.
  int cpus_per_process = 0;
  /// Memory of a node; 0: a job does not ask for memory.
  double memory_gb = 0;
  int min_nodes = 1, max_nodes = 1;
  /// Longest walltime.
  int minutes = 0;
  /// Whether a job has its nodes for itself.
  bool whole_nodes = false;
};

/// What one device computes and holds.
struct SiteDevice {
  /// A part of the name that measured times must have been measured on; empty for any of its kind.
  std::string name;
  double memory_gb = 0;
  /// Multiply-adds count twice; bytes from its own memory.
  double flops_per_second = 0, bytes_per_second = 0;
};

struct Site {
  /// The file's name without its ending.
  std::string name;
  /// "slurm" or "pbs".
  std::string scheduler;
  std::string account;
  /// PBS: what stands after `filesystems=`, and in every chunk of `select`.
  std::string filesystems, chunk;
  /// Further lines for the scheduler ("--constraint=a100"), and of shell before the runs.
  std::vector<std::string> directives, before;
  /// What starts the program as several processes; {processes}, {nodes}, {per_node} and {cpus}
  /// stand for numbers.
  std::vector<std::string> launcher;
  std::string program = "kanbench";
  SiteDevice device;
  /// As `perf --network` takes it.
  std::string network = "nvlink";
  /// How long before the walltime's end runs are asked to stop.
  int signal_seconds = 300;
  /// Runs in the queue at a time, 0 for any number; and elements of one array.
  int max_jobs = 0, array_limit = 1000;
  std::vector<SiteQueue> queues;
};

/// The site that the JSON text describes; `source` is what messages begin with, "polaris.json".
/// Throws Error naming the key for one that is unknown, missing, of a wrong type or out of range.
Site parse_site(const std::string& text, const std::string& source);

/// A file, if `word` has a '/' or ends in ".json"; otherwise the site NAME: NAME.json in
/// ./params/sites, or in the params/sites or share/kanbench/sites next to the program or above it.
/// Throws Error listing what there is.
Site load_site(const std::string& word);

/// "1:30:00" as minutes, rounded up. Throws Error naming `what` for another form.
int parse_walltime(const std::string& word, const std::string& what);

}  // namespace kanbench
