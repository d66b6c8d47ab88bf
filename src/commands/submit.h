#pragma once
// What kanbench submit is asked for, and what it shares with kanbench status.

#include <string>
#include <vector>

#include "commands/sweep.h"
#include "kanbench/job_book.h"
#include "kanbench/run_state.h"

namespace kanbench {

/// What the command line of `submit` says; `bench` is what its jobs are told.
struct SubmitOptions {
  BenchOptions bench;
  /// The bench options that were given, but for those that each job gets of its own.
  std::vector<std::string> words;
  std::string site, queue, account, walltime;
  int gpus = 0, max_jobs = -1;
  double wait_seconds = 60;
  bool dry_run = false, retry_failed = false;
};

/// Submits until every run is finished or in the queue.
void submit_runs(const SubmitOptions& options, Console& console);

/// A chosen run as the book has it, and its volume.
struct ChosenRun {
  Run run;
  BookedRun booked;
  BookedVolume volume;
};

/// The runs that the options choose, entered in the book. Volumes are read where the book does not
/// know them as they are.
std::vector<ChosenRun> choose_runs(const RunSelection& selection, JobBook& book);

/// The options that choose runs, of a command that does not do them itself; takes away those of
/// `bench` that would mean nothing. Returns the names of those that are to be handed on to jobs.
std::vector<std::string> attach_chosen(CLI::App& app, BenchOptions& options);

}  // namespace kanbench
