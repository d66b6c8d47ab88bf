// kanbench status: how far a sweep is.

#include <unistd.h>

#include <iostream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "commands/commands.h"
#include "commands/submit.h"
#include "kanbench/error.h"
#include "kanbench/file.h"

namespace kanbench {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

struct StatusOptions {
  BenchOptions bench;
  bool json = false;
};

// Held where it may be written, so that what schedulers forget is kept; else only looked at.
JobBook open_book(const fs::path& directory) {
  if (::access((directory / "jobs").c_str(), W_OK) == 0) return {directory, JobBook::Use::held};
  return {directory, JobBook::Use::seen};
}

std::vector<RunState> look(const StatusOptions& options) {
  const fs::path directory = options.bench.output_directory;
  std::error_code absent;
  if (!fs::is_directory(directory, absent))
    throw Error("--output-dir " + directory.string() + ": there is no such directory");
  JobBook book = open_book(directory);
  std::vector<BookedRun> runs = book.runs;
  if (!options.bench.selection.params().empty()) {
    runs.clear();
    std::set<std::string> seen;
    for (const ChosenRun& one : choose_runs(options.bench.selection, book))
      if (seen.insert(one.booked.run_id).second) runs.push_back(one.booked);
  } else if (runs.empty()) {
    throw Error("--output-dir " + directory.string() +
                ": nothing was submitted for it: name the runs with --params");
  }
  bool changed = false;
  std::vector<RunState> states = run_states(runs, book, fs::absolute(directory), &changed);
  if (changed && book.is_held()) book.save();
  return states;
}

Json to_json(const RunState& state) {
  return {{"run_index", state.run.index}, {"run_id", state.run.run_id},
          {"dataset", state.run.dataset}, {"network_type", state.run.network_type},
          {"state", name(state.phase)},   {"why", state.why},
          {"last_line", state.last_line}, {"job", state.job_id},
          {"element", state.element},     {"attempt", state.attempt}};
}

void print(const std::vector<RunState>& states) {
  std::vector<std::vector<std::string>> table = {
      {"run", "id", "dataset", "network", "state", "job", "attempt", "why"}};
  std::map<RunPhase, int> counts;
  for (const RunState& state : states) {
    ++counts[state.phase];
    const bool failed = state.phase == RunPhase::failed;
    std::string why = failed ? state.why : "";
    if (failed && !state.last_line.empty()) why += ": " + state.last_line;
    table.push_back({std::to_string(state.run.index), state.run.run_id, state.run.dataset,
                     state.run.network_type, name(state.phase),
                     state.job_id.empty() ? "" : state.job_id + "/" + std::to_string(state.element),
                     state.attempt > 0 ? std::to_string(state.attempt) : "", why});
  }
  std::cout << format_table(table);
  std::string sum;
  for (const auto& [phase, count] : counts)
    sum += (sum.empty() ? "" : ", ") + std::to_string(count) + " " + name(phase);
  std::cout << states.size() << (states.size() == 1 ? " run: " : " runs: ") << sum << "\n";
}

constexpr const char* kFooter =
    "Without --params, the runs that were ever submitted for the output directory; with it, those\n"
    "that it and the options of bench choose, given as they were given to submit.\n"
    "\n"
    "States: finished; running; queued; interrupted (asked to stop in time, `submit` goes on with\n"
    "it); failed, and why; missing\n"
    "\n"
    "Examples:\n"
    "  kanbench status -o out\n"
    "  kanbench status -o out -p params/params.json -d nucleon --json";

}  // namespace

void attach_status(CLI::App& app) {
  const auto options = std::make_shared<StatusOptions>();
  attach_chosen(app, options->bench);
  app.get_option("--params")->required(false);
  app.add_flag("--json", options->json, "Print an object a run, in a list, instead of a table")
      ->group("Results");
  app.footer(kFooter);
  app.callback([options] {
    const std::vector<RunState> states = look(*options);
    if (!options->json) return print(states);
    Json list = Json::array();
    for (const RunState& state : states) list.push_back(to_json(state));
    std::cout << list.dump(2, ' ', false, Json::error_handler_t::replace) << "\n";
  });
}

}  // namespace kanbench
