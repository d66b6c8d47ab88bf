#include "kanbench/run_state.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <optional>
#include <set>

#include "kanbench/file.h"
#include "kanbench/result.h"
#include "kanbench/scheduler.h"

namespace kanbench {
namespace {

namespace fs = std::filesystem;
using Phase = ElementState::Phase;

// The row that counts of each run: a finished one, else the one started last.
std::map<std::string, ResultRow> rows_of(const fs::path& output_directory) {
  std::map<std::string, ResultRow> best;
  for (const fs::path& csv : result_files(output_directory))
    for (ResultRow& row : read_result_rows(csv)) {
      const auto [place, is_new] = best.emplace(row.run_id, row);
      const bool done = place->second.status == "finished";
      const bool better = row.status == "finished"
                              ? !done || row.started_at > place->second.started_at
                              : !done && row.started_at > place->second.started_at;
      if (!is_new && better) place->second = std::move(row);
    }
  return best;
}

std::string read_if_there(const fs::path& path) {
  std::error_code absent;
  return fs::is_regular_file(path, absent) ? read_file(path) : "";
}

// The last line of a log that says something; its last kilobytes are enough.
std::string last_line_of(const fs::path& path) {
  constexpr std::size_t kEnough = 4096;
  std::string text = read_if_there(path);
  if (text.size() > kEnough) text.erase(0, text.size() - kEnough);
  const std::size_t end = text.find_last_not_of(" \t\r\n");
  if (end == text.npos) return "";
  text.resize(end + 1);
  const std::size_t begin = text.find_last_of("\r\n");
  std::string line = begin == text.npos ? text : text.substr(begin + 1);
  for (char& c : line)
    if (static_cast<unsigned char>(c) < 0x20) c = ' ';
  return line;
}

// Where in the book a run's last attempt is.
struct Place {
  Job* job = nullptr;
  JobRun* run = nullptr;
  int element = 0;
};

std::map<std::string, Place> places_of(JobBook& book) {
  std::map<std::string, Place> places;
  for (Job& job : book.jobs)
    for (std::size_t e = 0; e < job.elements.size(); ++e)
      for (JobRun& run : job.elements[e]) places[run.run_id] = {&job, &run, static_cast<int>(e)};
  return places;
}

// What the job's script wrote of a run.
struct Traces {
  std::optional<int> exit;
  bool started = false, stopped = false;
  std::string last_line;
};

Traces traces_of(const Place& place, const JobBook& book) {
  const fs::path directory = book.directory_of(place.job->name);
  const std::string stem = "run-" + std::to_string(place.run->index);
  Traces traces;
  const std::string text = read_if_there(directory / (stem + ".exit"));
  int status = 0;
  const auto [stop, failure] = std::from_chars(text.data(), text.data() + text.size(), status);
  if (failure == std::errc() && stop != text.data()) traces.exit = status;
  std::error_code absent;
  traces.started = fs::exists(directory / (stem + ".started"), absent);
  const std::string element = std::to_string(place.element);
  traces.stopped = fs::exists(directory / ("stopped-" + element), absent);
  traces.last_line = last_line_of(directory / (stem + ".log"));
  if (traces.last_line.empty())
    traces.last_line = last_line_of(directory / ("job-" + element + ".log"));
  return traces;
}

// As the program itself puts it, of either kind of memory.
bool complains_of_memory(const std::string& line) {
  return line.find("out of memory") != std::string::npos ||
         line.find("out of device memory") != std::string::npos;
}

// Why a run ended that left no row. A process that is killed while its script goes on was killed
// for memory: whoever kills for time kills both.
std::string why_of(const Traces& traces, const std::string& said) {
  constexpr int kKilled = 128 + 9;
  const std::string memory = "out of memory", time = "timeout";
  if (traces.exit && *traces.exit != 0) {
    if (said == memory || complains_of_memory(traces.last_line)) return memory;
    if (said == time || traces.stopped) return time;
    if (*traces.exit == kKilled) return memory;
    return "exit status " + std::to_string(*traces.exit);
  }
  if (traces.exit) return "exit status 0 without a row";
  if (!said.empty()) return said;
  if (traces.stopped) return time;
  return traces.started ? "ended without an exit status" : "never started";
}

// A job that was being submitted when its submitter ended: it is there by its name or it is not.
void settle(JobBook& book, bool& changed) {
  for (Job& job : book.jobs) {
    if (!job.id.empty()) continue;
    changed = true;
    job.id = open_scheduler(job.scheduler)->find(job.name).value_or("");
  }
  // One that left traces has been there.
  std::erase_if(book.jobs, [&](const Job& job) {
    if (!job.id.empty()) return false;
    std::error_code absent;
    for (const auto& element : job.elements)
      for (const JobRun& run : element)
        if (fs::exists(
                book.directory_of(job.name) / ("run-" + std::to_string(run.index) + ".started"),
                absent))
          return false;
    return true;
  });
}

// What schedulers say of those jobs that something is to be known of.
ElementStates ask(const std::set<const Job*>& jobs) {
  std::map<std::string, std::vector<std::string>> ids;
  for (const Job* job : jobs)
    if (!job->id.empty()) ids[job->scheduler].push_back(job->id);
  ElementStates states;
  for (const auto& [scheduler, some] : ids) states.merge(open_scheduler(scheduler)->look(some));
  return states;
}

std::optional<ElementState> state_of(const ElementStates& states, const Place& place) {
  auto found = states.find({place.job->id, place.element});
  if (found == states.end()) found = states.find({place.job->id, -1});
  if (found == states.end()) return std::nullopt;
  // Of an array that has begun, an element that is not told apart still waits.
  if (found->first.second == -1 && found->second.phase == Phase::running)
    return ElementState{Phase::queued, ""};
  return found->second;
}

void describe(RunState& state, const Place& place) {
  state.job_name = place.job->name;
  state.job_id = place.job->id;
  state.element = place.element;
  state.attempt = place.run->attempt;
  state.minutes = place.job->minutes;
  state.memory_gb = place.job->memory_gb;
  state.safety_margin = place.job->safety_margin;
}

// A run that no finished row has, by its last job.
void judge(RunState& state, const Place& place, const Traces& left,
           const std::optional<ElementState>& said, const ResultRow* row, bool& changed) {
  state.last_line = left.last_line;
  if (said && said->phase != Phase::ended && !left.exit) {
    state.phase = said->phase == Phase::running ? RunPhase::running : RunPhase::queued;
    return;
  }
  if (said && !said->end.empty() && place.run->end.empty()) {
    place.run->end = said->end;
    changed = true;
  }
  state.phase = RunPhase::failed;
  state.why = why_of(left, place.run->end);
  if (!row) return;
  // A row of an earlier attempt does not say how this one ended.
  if (row->status == "interrupted" && left.exit.value_or(0) == 0) {
    state.phase = RunPhase::interrupted;
    state.why.clear();
  } else if (row->status == "failed" && left.exit && *left.exit <= 1) {
    state.why = row->failure;
  }
}

}  // namespace

const char* name(RunPhase phase) {
  constexpr const char* kNames[] = {"finished",    "running", "queued",
                                    "interrupted", "failed",  "missing"};
  return kNames[static_cast<int>(phase)];
}

std::vector<fs::path> result_files(const fs::path& output_directory) {
  std::vector<fs::path> files;
  std::error_code absent;
  for (const fs::directory_entry& entry :
       fs::directory_iterator(output_directory / "parts", absent))
    if (entry.path().extension() == ".jsonl")
      files.push_back(fs::path(entry.path()).replace_extension(".csv"));
  std::sort(files.begin(), files.end());
  files.insert(files.begin(), output_directory / "results.csv");
  return files;
}

std::vector<RunState> run_states(std::span<const BookedRun> runs, JobBook& book,
                                 const fs::path& output_directory, bool* changed) {
  settle(book, *changed);
  const std::map<std::string, Place> places = places_of(book);
  std::map<std::string, ResultRow> rows;
  std::map<std::string, Traces> traces;
  const auto is_finished = [&](const BookedRun& run) {
    const auto row = rows.find(run.run_id);
    return row != rows.end() && row->second.status == "finished";
  };
  const auto read = [&] {
    rows = rows_of(output_directory);
    for (const BookedRun& run : runs)
      if (const auto place = places.find(run.run_id); place != places.end() && !is_finished(run))
        traces[run.run_id] = traces_of(place->second, book);
  };
  read();
  std::set<const Job*> unknown;
  for (const BookedRun& run : runs) {
    const auto place = places.find(run.run_id);
    if (place != places.end() && !is_finished(run) && !traces[run.run_id].exit &&
        place->second.run->end.empty())
      unknown.insert(place->second.job);
  }
  const ElementStates states = ask(unknown);
  // What ended while we looked has left its row and its exit status since.
  if (!unknown.empty()) read();
  std::vector<RunState> all;
  for (const BookedRun& run : runs) {
    RunState& state = all.emplace_back();
    state.run = run;
    const auto row = rows.find(run.run_id);
    const auto place = places.find(run.run_id);
    if (place != places.end()) describe(state, place->second);
    if (is_finished(run)) {
      state.phase = RunPhase::finished;
    } else if (place != places.end()) {
      const bool asked = unknown.contains(place->second.job);
      judge(state, place->second, traces[run.run_id],
            asked ? state_of(states, place->second) : std::nullopt,
            row == rows.end() ? nullptr : &row->second, *changed);
    } else if (row != rows.end()) {
      state.phase = row->second.status == "failed" ? RunPhase::failed : RunPhase::interrupted;
      state.why = row->second.failure;
    }
  }
  return all;
}

}  // namespace kanbench
