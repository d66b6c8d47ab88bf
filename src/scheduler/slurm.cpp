// Slurm: sbatch, squeue with a format of ours, and sacct where jobs are accounted for.

#include <algorithm>
#include <set>
#include <sstream>

#include "io/quote.h"
#include "kanbench/error.h"
#include "kanbench/process.h"
#include "kanbench/scheduler.h"
#include "scheduler/text.h"

namespace kanbench {
namespace {

using Phase = ElementState::Phase;

// The first word of a state: sacct has "CANCELLED by 1000".
ElementState state_of(const std::string& text) {
  const std::string word = text.substr(0, text.find_first_of(" +"));
  for (const char* waiting : {"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD",
                              "RESV_DEL_HOLD", "SPECIAL_EXIT"})
    if (word == waiting) return {Phase::queued, ""};
  for (const char* busy :
       {"RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "SIGNALING", "RESIZING", "STAGE_OUT"})
    if (word == busy) return {Phase::running, ""};
  if (word == "TIMEOUT" || word == "DEADLINE") return {Phase::ended, "timeout"};
  if (word == "OUT_OF_MEMORY") return {Phase::ended, "out of memory"};
  if (word == "CANCELLED" || word == "REVOKED") return {Phase::ended, "cancelled"};
  if (word == "NODE_FAIL" || word == "BOOT_FAIL") return {Phase::ended, "node failure"};
  if (word == "PREEMPTED") return {Phase::ended, "preempted"};
  return {Phase::ended, ""};
}

class Slurm : public Scheduler {
 public:
  std::string name() const override { return "slurm"; }
  std::string index_variable() const override { return "SLURM_ARRAY_TASK_ID"; }
  bool signals() const override { return true; }

  std::string directives(const Job& job, const Site& site) const override {
    const SiteQueue& queue = queue_of(site, job);
    const int processes = std::max(1, job.gpus), per_node = processes / job.nodes;
    const bool shared = !queue.whole_nodes;
    std::ostringstream out;
    const auto line = [&](const std::string& text) { out << "#SBATCH " << text << "\n"; };
    line("--job-name=" + job.name);
    line("--partition=" + queue.name);
    if (!site.account.empty()) line("--account=" + site.account);
    line("--time=" + walltime(job.minutes));
    line("--nodes=" + std::to_string(job.nodes));
    line("--ntasks-per-node=" + std::to_string(std::max(1, per_node)));
    if (queue.whole_nodes) line("--exclusive");
    if (queue.gpus_per_node > 0)
      line("--gpus-per-node=" +
           std::to_string(shared ? std::max(1, per_node) : queue.gpus_per_node));
    if (queue.cpus_per_process > 0 && shared)
      line("--cpus-per-task=" + std::to_string(queue.cpus_per_process));
    if (job.memory_gb > 0)
      line("--mem=" + (shared ? std::to_string(megabytes(job.memory_gb)) + "M" : "0"));
    line("--signal=B:USR1@" + std::to_string(signal_lead(job, site)));
    if (job.elements.size() > 1) line("--array=0-" + std::to_string(job.elements.size() - 1));
    // Beside the script, wherever that is; %a is 4294967294 without an array.
    line(job.elements.size() > 1 ? "--output=job-%a.log" : "--output=job-0.log");
    for (const std::string& more : site.directives) line(more);
    return out.str();
  }

  std::string submit(const Job&, const std::filesystem::path& directory) const override {
    const ProcessEnd end = run_process({"sbatch", "--parsable", "script.sh"}, directory);
    // "123" or "123;cluster".
    const std::string id = first_line(end.out).substr(0, first_line(end.out).find(';'));
    if (end.status != 0 || id.empty() || id.find_first_not_of("0123456789") != id.npos)
      throw Error("sbatch " + (directory / "script.sh").string() + ": " + what_it_said(end));
    return id;
  }

  ElementStates look(std::span<const std::string> ids) const override {
    ElementStates states;
    if (ids.empty()) return states;
    const std::set<std::string> wanted(ids.begin(), ids.end());
    const ProcessEnd end =
        run_process({"squeue", "--noheader", "--array", "--me", "--states=all", "-o", "%F|%K|%T"});
    if (end.status != 0) throw SystemError("squeue: " + what_it_said(end));
    for (const auto& fields : rows_of(end.out, '|'))
      if (fields.size() == 3 && wanted.contains(fields[0]))
        states[{fields[0], index_of(fields[1])}] = state_of(fields[2]);
    add_accounted(wanted, states);
    return states;
  }

  std::optional<std::string> find(const std::string& job_name) const override {
    const ProcessEnd end = run_process(
        {"squeue", "--noheader", "--me", "--states=all", "--name=" + job_name, "-o", "%F"});
    if (end.status != 0) throw SystemError("squeue: " + what_it_said(end));
    const std::string id = first_line(end.out);
    if (id.empty()) return std::nullopt;
    return id;
  }

 private:
  // "N/A" of a job that is no array.
  static int index_of(const std::string& text) {
    const bool number = !text.empty() && text.find_first_not_of("0123456789") == text.npos;
    return number && text.size() < 9 ? std::stoi(text) : 0;
  }

  // What squeue has forgotten, where jobs are accounted for; elsewhere sacct fails and nobody
  // knows.
  static void add_accounted(const std::set<std::string>& wanted, ElementStates& states) {
    std::string forgotten;
    for (const std::string& id : wanted) {
      const auto known = states.lower_bound({id, -1});
      if (known == states.end() || known->first.first != id)
        forgotten += (forgotten.empty() ? "" : ",") + id;
    }
    if (forgotten.empty()) return;
    const ProcessEnd end = run_process({"sacct", "--parsable2", "--noheader", "--allocations", "-o",
                                        "JobID,State", "-j", forgotten});
    if (end.status != 0) return;
    for (const auto& fields : rows_of(end.out, '|')) {
      if (fields.size() != 2) continue;
      const std::size_t cut = fields[0].find('_');
      const std::string index = cut == fields[0].npos ? "0" : fields[0].substr(cut + 1);
      // "123_[4-7]" are those that wait.
      const bool many = !index.empty() && index[0] == '[';
      states[{fields[0].substr(0, cut), many ? -1 : index_of(index)}] = state_of(fields[1]);
    }
  }
};

}  // namespace

std::unique_ptr<Scheduler> open_slurm() { return std::make_unique<Slurm>(); }

}  // namespace kanbench
