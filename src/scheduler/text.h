#pragma once
// What both schedulers' forms have in common.

#include <string>
#include <vector>

#include "kanbench/process.h"
#include "kanbench/scheduler.h"

namespace kanbench {

/// "1:30:00".
std::string walltime(int minutes);

std::int64_t megabytes(double gigabytes);

/// Seconds before a job's end at which its runs are asked to stop: the site's, but at most a third
/// of the job.
int signal_lead(const Job& job, const Site& site);

/// The queue that the job waits in.
const SiteQueue& queue_of(const Site& site, const Job& job);

/// The text up to its first line's end.
std::string first_line(const std::string& text);

/// The lines of a table, cut at each separator.
std::vector<std::vector<std::string>> rows_of(const std::string& text, char separator);

/// One line for a message: what a program that failed wrote, or else its exit status.
std::string what_it_said(const ProcessEnd& end);

}  // namespace kanbench
