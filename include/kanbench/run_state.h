#pragma once
// How far the runs of a sweep are: from result files, the job book, what jobs wrote about
// themselves, and the scheduler.

#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "kanbench/job_book.h"

namespace kanbench {

/// `interrupted`: asked to stop in time, to be gone on with.
enum class RunPhase { finished, running, queued, interrupted, failed, missing };
const char* name(RunPhase phase);

struct RunState {
  BookedRun run;
  RunPhase phase = RunPhase::missing;
  /// Of a failed one: "out of memory", "timeout", "exit status 3", or what the row says.
  std::string why;
  /// Of its log.
  std::string last_line;
  /// Of the last job that has it: which, the element, the attempt, and what it asked for.
  std::string job_name, job_id;
  int element = 0, attempt = 0, minutes = 0;
  double memory_gb = 0, safety_margin = 0;

  bool out_of_memory() const { return why == "out of memory"; }
  bool timed_out() const { return why == "timeout"; }
};

/// Every result file of an output directory: results.csv and those of jobs in `parts`.
std::vector<std::filesystem::path> result_files(const std::filesystem::path& output_directory);

/// The states of `runs`. Asks a scheduler of jobs whose end is not known otherwise, and notes in
/// the book what it may forget; `book` is to be saved if `*changed` is true then.
std::vector<RunState> run_states(std::span<const BookedRun> runs, JobBook& book,
                                 const std::filesystem::path& output_directory, bool* changed);

}  // namespace kanbench
