#pragma once
// The seam between submitted runs and a cluster's scheduler, which is told what to do by its own
// programs and asked in forms made for programs.

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "kanbench/job_book.h"
#include "kanbench/site.h"

namespace kanbench {

/// What a scheduler says of an element of a job's array.
struct ElementState {
  enum class Phase { queued, running, ended };
  Phase phase = Phase::queued;
  /// Of one that ended: "timeout", "out of memory", "cancelled", "node failure", "preempted", or
  /// empty where the scheduler knows no more than its exit status.
  std::string end;
};

/// States by the job's id and the element's index; -1 stands for a whole array whose elements are
/// not told apart yet. What the scheduler has forgotten is not there.
using ElementStates = std::map<std::pair<std::string, int>, ElementState>;

class Scheduler {
 public:
  virtual ~Scheduler() = default;
  /// "slurm" or "pbs".
  virtual std::string name() const = 0;
  /// The lines at a script's head that ask for what `job` needs at `site`.
  virtual std::string directives(const Job& job, const Site& site) const = 0;
  /// The shell variable with an element's index.
  virtual std::string index_variable() const = 0;
  /// Whether it sends SIGUSR1 to the script before the time is over; otherwise the script does.
  virtual bool signals() const = 0;
  /// Submits the script of `job` in `directory`; returns the job's id. Throws Error with what the
  /// scheduler said against it.
  virtual std::string submit(const Job& job, const std::filesystem::path& directory) const = 0;
  /// Throws SystemError where the scheduler does not answer.
  virtual ElementStates look(std::span<const std::string> ids) const = 0;
  /// The id of the user's job of that name, if there is one.
  virtual std::optional<std::string> find(const std::string& job_name) const = 0;
};

std::unique_ptr<Scheduler> open_slurm();
std::unique_ptr<Scheduler> open_pbs();
/// By its name.
std::unique_ptr<Scheduler> open_scheduler(const std::string& name);

/// What a job's script starts.
struct JobWords {
  /// The program and its words but for --run-index and --output.
  std::vector<std::string> program;
  /// Where it starts, the job's files, and result files of runs, all absolute.
  std::filesystem::path here, directory, parts;
};

/// The script of `job`, a bash script: it starts the runs of an element side by side, each on its
/// devices, asks them to stop in time, and writes how each ended.
std::string job_script(const Scheduler& scheduler, const Job& job, const Site& site,
                       const JobWords& words);

/// The runs of each element, a line each.
std::string runs_file(const Job& job);

/// The result file of a run of a job.
std::filesystem::path part_of(const std::filesystem::path& parts, const std::string& job_name,
                              std::int64_t run_index);

}  // namespace kanbench
