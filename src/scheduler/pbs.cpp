// PBS Professional and OpenPBS: qsub, qselect, and qstat's JSON.

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <sstream>

#include "io/quote.h"
#include "kanbench/error.h"
#include "kanbench/process.h"
#include "kanbench/scheduler.h"
#include "scheduler/text.h"

namespace kanbench {
namespace {

using Json = nlohmann::json;
using Phase = ElementState::Phase;

// qstat's exit status where a job is unknown, or is only known as history: PBSE_UNKJOBID, 15001,
// and PBSE_HISTJOBID, 15139, of which a process returns eight bits.
constexpr int kUnknownJob = 153, kHistoryJob = 35;

// Exit statuses of jobs that PBS itself ended.
std::string end_of(int status) {
  constexpr int kVirtualMemory = -26, kMemory = -27, kWalltime = -29;
  if (status == kWalltime) return "timeout";
  if (status == kMemory || status == kVirtualMemory) return "out of memory";
  return "";
}

ElementState state_of(const Json& job) {
  const std::string letter = job.value("job_state", "Q");
  if (letter == "R" || letter == "E" || letter == "S" || letter == "U" || letter == "B")
    return {Phase::running, ""};
  if (letter != "F" && letter != "X") return {Phase::queued, ""};
  const auto status = job.find("Exit_status");
  const bool known = status != job.end() && status->is_number_integer();
  return {Phase::ended, known ? end_of(status->get<int>()) : ""};
}

// "123[4].server" is element 4 of "123[].server"; "123.server" is a job of one.
std::pair<std::string, int> element_of(const std::string& id) {
  const std::size_t open = id.find('['), close = id.find(']');
  if (open == id.npos || close == id.npos || close < open) return {id, 0};
  const std::string array = id.substr(0, open + 1) + id.substr(close);
  const std::string index = id.substr(open + 1, close - open - 1);
  const bool number =
      !index.empty() && index.size() < 9 && index.find_first_not_of("0123456789") == index.npos;
  return {array, number ? std::stoi(index) : -1};
}

class Pbs : public Scheduler {
 public:
  std::string name() const override { return "pbs"; }
  std::string index_variable() const override { return "PBS_ARRAY_INDEX"; }
  bool signals() const override { return false; }

  std::string directives(const Job& job, const Site& site) const override {
    std::ostringstream out;
    const auto line = [&](const std::string& text) { out << "#PBS " << text << "\n"; };
    line("-N " + job.name);
    line("-q " + job.queue);
    if (!site.account.empty()) line("-A " + site.account);
    line("-l walltime=" + walltime(job.minutes));
    line("-l select=" + select(job, site));
    line("-l place=scatter" + std::string(queue_of(site, job).whole_nodes ? ":excl" : ""));
    if (!site.filesystems.empty()) line("-l filesystems=" + site.filesystems);
    // An array of one is none.
    if (job.elements.size() > 1) line("-J 0-" + std::to_string(job.elements.size() - 1));
    line("-j oe");
    line(job.elements.size() > 1 ? "-o job-^array_index^.log" : "-o job-0.log");
    for (const std::string& more : site.directives) line(more);
    return out.str();
  }

  std::string submit(const Job&, const std::filesystem::path& directory) const override {
    const ProcessEnd end = run_process({"qsub", "script.sh"}, directory);
    const std::string id = first_line(end.out);
    if (end.status != 0 || id.empty() || !std::isdigit(static_cast<unsigned char>(id[0])))
      throw Error("qsub " + (directory / "script.sh").string() + ": " + what_it_said(end));
    return id;
  }

  ElementStates look(std::span<const std::string> ids) const override {
    ElementStates states;
    if (ids.empty()) return states;
    // With history first; a server that keeps none refuses that.
    ProcessEnd end = ask({"-x", "-t"}, ids);
    if (!answers(end)) end = ask({"-t"}, ids);
    if (!answers(end)) throw SystemError("qstat: " + what_it_said(end));
    const Json json = Json::parse(end.out, nullptr, false);
    if (json.is_discarded() && !first_line(end.out).empty())
      throw SystemError("qstat -f -F json: what it wrote is not JSON: " +
                        quote(first_line(end.out)));
    if (!json.is_object() || !json.contains("Jobs")) return states;
    for (const auto& [id, job] : json["Jobs"].items())
      if (job.is_object()) states[element_of(id)] = state_of(job);
    return states;
  }

  std::optional<std::string> find(const std::string& job_name) const override {
    ProcessEnd end = run_process({"qselect", "-x", "-N", job_name});
    if (end.status != 0) end = run_process({"qselect", "-N", job_name});
    if (end.status != 0) throw SystemError("qselect: " + what_it_said(end));
    const std::string id = first_line(end.out);
    if (id.empty()) return std::nullopt;
    return id;
  }

 private:
  static std::string select(const Job& job, const Site& site) {
    const SiteQueue& queue = queue_of(site, job);
    const int per_node = std::max(1, job.gpus / job.nodes);
    std::string chunk = std::to_string(job.nodes);
    if (queue.cpus_per_process > 0 && !queue.whole_nodes)
      chunk += ":ncpus=" + std::to_string(queue.cpus_per_process * per_node);
    if (queue.gpus_per_node > 0 && !queue.whole_nodes)
      chunk += ":ngpus=" + std::to_string(per_node);
    if (job.gpus > 1) chunk += ":mpiprocs=" + std::to_string(per_node);
    if (job.memory_gb > 0 && !queue.whole_nodes)
      chunk += ":mem=" + std::to_string(megabytes(job.memory_gb)) + "mb";
    return chunk + (site.chunk.empty() ? "" : ":" + site.chunk);
  }

  static ProcessEnd ask(std::vector<std::string> how, std::span<const std::string> ids) {
    std::vector<std::string> words = {"qstat"};
    words.insert(words.end(), how.begin(), how.end());
    words.insert(words.end(), {"-f", "-F", "json"});
    words.insert(words.end(), ids.begin(), ids.end());
    return run_process(words);
  }
  static bool answers(const ProcessEnd& end) {
    return end.status == 0 || end.status == kUnknownJob || end.status == kHistoryJob;
  }
};

}  // namespace

std::unique_ptr<Scheduler> open_pbs() { return std::make_unique<Pbs>(); }

}  // namespace kanbench
