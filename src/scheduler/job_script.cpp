// The script of a job. Its text is the same for every scheduler but for the head; names and paths
// stand in it as words of the shell.

#include <algorithm>
#include <cmath>
#include <sstream>

#include "kanbench/error.h"
#include "kanbench/process.h"
#include "kanbench/scheduler.h"
#include "scheduler/text.h"

namespace kanbench {
namespace {

namespace fs = std::filesystem;

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : " ") + shell_word(word);
  return text;
}

// The launcher's words with numbers in the places of their names.
std::vector<std::string> launcher_of(const Job& job, const Site& site) {
  if (job.gpus < 2) return {};
  const int per_node = job.gpus / job.nodes;
  const std::pair<std::string, int> values[] = {{"{processes}", job.gpus},
                                                {"{nodes}", job.nodes},
                                                {"{per_node}", per_node},
                                                {"{cpus}", queue_of(site, job).cpus_per_process}};
  std::vector<std::string> words = site.launcher;
  for (std::string& word : words)
    for (const auto& [name, value] : values)
      for (std::size_t at; (at = word.find(name)) != word.npos;)
        word.replace(at, name.size(), std::to_string(value));
  return words;
}

constexpr const char* kBefore = R"(
# The runs of this element: its line of runs.txt.
read -r -a runs < <(sed -n "$((index + 1))p" "$job/runs.txt")
if [ ${#runs[@]} -eq 0 ]; then
  echo "no line $((index + 1)) in $job/runs.txt" >&2
  exit 1
fi

pids=()
signalled=0
# Runs that are asked to stop leave checkpoints.
stop() {
  signalled=1
  : >"$job/stopped-$index"
  if [ ${#pids[@]} -gt 0 ]; then kill -USR1 "${pids[@]}" 2>/dev/null; fi
}
trap stop USR1 TERM
)";

constexpr const char* kAfter = R"(
# A signal ends `wait` before its process has ended; one that was waited for already gives 127.
worst=0
for slot in "${!runs[@]}"; do
  status=
  while :; do
    signalled=0
    wait "${pids[slot]}"
    now=$?
    if [ $now -eq 127 ] && [ -n "$status" ]; then break; fi
    status=$now
    if [ $signalled -eq 0 ]; then break; fi
  done
  echo "$status" >"$job/run-${runs[slot]}.exit"
  if [ "$status" -gt "$worst" ]; then worst=$status; fi
done
)";

}  // namespace

std::string walltime(int minutes) {
  const std::string rest = std::to_string(minutes % 60);
  return std::to_string(minutes / 60) + ":" + (rest.size() < 2 ? "0" : "") + rest + ":00";
}

std::int64_t megabytes(double gigabytes) {
  return static_cast<std::int64_t>(std::ceil(gigabytes * 1000));
}

int signal_lead(const Job& job, const Site& site) {
  return std::min(site.signal_seconds, job.minutes * 60 / 3);
}

const SiteQueue& queue_of(const Site& site, const Job& job) {
  for (const SiteQueue& queue : site.queues)
    if (queue.name == job.queue) return queue;
  throw Error("site " + site.name + " has no queue '" + job.queue + "'");
}

std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }

std::vector<std::vector<std::string>> rows_of(const std::string& text, char separator) {
  std::vector<std::vector<std::string>> rows;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) {
    if (line.empty()) continue;
    std::istringstream fields(line);
    rows.emplace_back();
    for (std::string field; std::getline(fields, field, separator);) rows.back().push_back(field);
  }
  return rows;
}

std::string what_it_said(const ProcessEnd& end) {
  std::string text = first_line(end.error.empty() ? end.out : end.error);
  std::replace_if(
      text.begin(), text.end(), [](unsigned char c) { return c < 0x20; }, ' ');
  return text.empty() ? "ended with status " + std::to_string(end.status) : text;
}

std::unique_ptr<Scheduler> open_scheduler(const std::string& name) {
  if (name == "slurm") return open_slurm();
  if (name == "pbs") return open_pbs();
  throw Error("unknown scheduler '" + name + "': known are slurm, pbs");
}

fs::path part_of(const fs::path& parts, const std::string& job_name, std::int64_t run_index) {
  return parts / (job_name + "-" + std::to_string(run_index) + ".csv");
}

std::string runs_file(const Job& job) {
  std::string text;
  for (const auto& element : job.elements) {
    std::string line;
    for (const JobRun& run : element) line += (line.empty() ? "" : " ") + std::to_string(run.index);
    text += line + "\n";
  }
  return text;
}

std::string job_script(const Scheduler& scheduler, const Job& job, const Site& site,
                       const JobWords& words) {
  std::ostringstream out;
  out << "#!/bin/bash\n" << scheduler.directives(job, site) << "\n";
  out << "job=" << shell_word(words.directory.string()) << "\n"
      << "parts=" << shell_word(words.parts.string()) << "\n"
      << "index=${" << scheduler.index_variable() << ":-0}\n"
      << "cd " << shell_word(words.here.string()) << " || exit 1\n";
  for (const std::string& line : site.before) out << line << "\n";
  out << kBefore;
  if (!scheduler.signals()) {
    const int seconds = job.minutes * 60 - signal_lead(job, site);
    out << "(trap 'kill $! 2>/dev/null; exit' TERM; sleep " << seconds
        << " & wait $!; kill -USR1 $$) \\\n  >/dev/null 2>&1 &\n"
        << "timer=$!\n";
  }
  const std::vector<std::string> launcher = launcher_of(job, site);
  const bool slots = std::any_of(job.elements.begin(), job.elements.end(),
                                 [](const auto& runs) { return runs.size() > 1; });
  out << "\nfor slot in \"${!runs[@]}\"; do\n"
      << "  run=${runs[slot]}\n"
      << "  rm -f \"$job/run-$run.exit\"\n"
      << "  date +%s >\"$job/run-$run.started\"\n";
  if (slots) {
    const int gpus = std::max(1, job.gpus);
    out << "  CUDA_VISIBLE_DEVICES=$(seq -s, $((slot * " << gpus << ")) $((slot * " << gpus << " + "
        << gpus - 1 << ")))\n"
        << "  export CUDA_VISIBLE_DEVICES\n";
  }
  out << "  " << (launcher.empty() ? "" : joined(launcher) + " ") << joined(words.program)
      << " \\\n    --run-index \"$run\" --output \"$parts/" << job.name << "-$run.csv\""
      << " \\\n    >\"$job/run-$run.log\" 2>&1 </dev/null &\n"
      << "  pids+=($!)\n"
      << "done\n"
      << kAfter;
  if (!scheduler.signals()) out << "kill \"$timer\" 2>/dev/null\n";
  out << "exit \"$worst\"\n";
  return out.str();
}

}  // namespace kanbench
