// kanbench submit: the options, and how those of bench are handed on.

#include "commands/submit.h"

#include <algorithm>
#include <limits>

#include "commands/commands.h"
#include "kanbench/benchmark.h"
#include "kanbench/error.h"
#include "kanbench/io.h"

namespace kanbench {
namespace {

namespace fs = std::filesystem;

// The option's words as they were given.
std::vector<std::string> words_of(const CLI::Option& option) {
  const std::string name = "--" + option.get_lnames().front();
  if (option.get_type_size() == 0 || option.get_expected_min() == 0) {
    const bool plain = option.results().empty() || option.results().front() == "true";
    return {plain ? name : name + "=" + option.results().front()};
  }
  return {name, join(option.results(), ",")};
}

// The files that a volume is in, as one: their bytes, and when the last was written.
void look_at(const fs::path& volume, BookedVolume& booked) {
  const fs::path header = split_volume_path(volume).file;
  std::vector<fs::path> files = {header};
  for (const fs::path& data : data_files(volume)) files.push_back(header.parent_path() / data);
  for (const fs::path& file : files) {
    booked.file_bytes += fs::file_size(file);
    booked.modified = std::max(booked.modified,
                               std::int64_t{fs::last_write_time(file).time_since_epoch().count()});
  }
}

BookedVolume book_volume(JobBook& book, const fs::path& file, const Missing& missing) {
  BookedVolume booked;
  // What is filled is other bytes.
  booked.path = fs::absolute(file).lexically_normal().string() + " " + text(missing);
  booked.modified = std::numeric_limits<std::int64_t>::min();
  look_at(file, booked);
  for (const BookedVolume& known : book.volumes)
    if (known.path == booked.path && known.file_bytes == booked.file_bytes &&
        known.modified == booked.modified)
      return known;
  std::erase_if(book.volumes, [&](const BookedVolume& old) { return old.path == booked.path; });
  const Volume volume = open_volume(file, missing);
  booked.signature = volume_signature(volume);
  booked.shape = volume.shape;
  booked.components = volume.components;
  booked.data_bytes = static_cast<std::int64_t>(volume.bytes());
  return book.volumes.emplace_back(booked);
}

void enter(JobBook& book, const BookedRun& run) {
  for (BookedRun& known : book.runs)
    if (known.run_id == run.run_id) {
      known = run;
      return;
    }
  book.runs.push_back(run);
}

void attach_cluster(CLI::App& app, SubmitOptions& options) {
  const std::string group = "Cluster";
  add_option(app, "--site", options.site, "NAME|FILE",
             "The cluster: NAME.json in ./params/sites or in that of the program, or a\n"
             "file; required")
      ->required()
      ->group(group);
  add_option(app, "--queue", options.queue, "NAME",
             "The queue or partition (default: the site's first that a run fits)")
      ->group(group);
  add_option(app, "--account", options.account, "NAME", "Whom the time is charged to")
      ->group(group);
  add_option(app, "--gpus", options.gpus, "N",
             "GPUs of each run (default: as many as memory and walltime ask for)")
      ->check(whole_number(1, 1 << 20))
      ->group(group);
  add_option(app, "--walltime", options.walltime, "H:MM:SS",
             "Walltime of each job (default: as estimated, in steps of 15 minutes)")
      ->group(group);
  add_option(app, "--max-jobs", options.max_jobs, "N",
             "Most elements of arrays in the queue at a time, 0 for any number (default:\n"
             "the site's)")
      ->check(whole_number(0, 1000000))
      ->group(group);
  add_option(app, "--wait", options.wait_seconds, "SECONDS",
             "Between two looks at a full queue (default 60)")
      ->check(number(0.01, 86400))
      ->group(group);
  app.add_flag("--retry-failed", options.retry_failed,
               "Submit failed runs again: after out of memory with a smaller\n"
               "--safety-margin and more memory, after a timeout with twice the walltime")
      ->group(group);
  app.add_flag("--dry-run", options.dry_run,
               "Print what would be submitted, and the scripts; submit and write nothing")
      ->group(group);
}

constexpr const char* kFooter =
    "Each run that has no finished row yet, and is not in the queue, becomes an element of a job\n"
    "array; runs that ask for the same share one. Interrupted runs go on from their checkpoints.\n"
    "The other options are those of bench, and are handed on to it.\n"
    "\n"
    "Files: OUTPUT_DIR/jobs/jobs.json, what was submitted; jobs/NAME, a job's script, logs and "
    "exit\n"
    "statuses; parts/*.csv, a result file a run, which `kanbench collect` puts together;\n"
    "estimates.jsonl, epochs that `kanbench bench --test-epoch` has timed\n"
    "\n"
    "Examples:\n"
    "  kanbench submit -p params/params.json -d nucleon --site slurm -o out --dry-run\n"
    "  kanbench submit -p sweep.json --site polaris --account PROJECT -o out --max-jobs 20\n"
    "  kanbench submit -p sweep.json --site ./mine.json -o out --retry-failed";

}  // namespace

std::vector<std::string> attach_chosen(CLI::App& app, BenchOptions& options) {
  std::vector<std::string> own = {"params", "output-dir", "run-index",
                                  "quiet",  "verbose",    "safety-margin"};
  for (const CLI::Option* option : app.get_options())
    for (const std::string& name : option->get_lnames()) own.push_back(name);
  attach_bench_options(app, options);
  for (const char* name : {"--output", "--resume", "--no-resume", "--list", "--test-epoch"})
    app.remove_option(app.get_option(name));
  std::vector<std::string> handed_on;
  for (const CLI::Option* option : app.get_options()) {
    if (option->get_lnames().empty()) continue;
    const std::string name = option->get_lnames().front();
    if (std::find(own.begin(), own.end(), name) == own.end()) handed_on.push_back("--" + name);
  }
  return handed_on;
}

std::vector<ChosenRun> choose_runs(const RunSelection& selection, JobBook& book) {
  std::vector<ChosenRun> chosen;
  const Missing missing = selection.missing();
  for (const Run& run : selection.runs()) {
    if (run.decomposition.mode != "shared" && run.decomposition.brick_count == 0)
      throw Error("run " + std::to_string(run.index) + ": decomposition " + run.decomposition.mode +
                  " without a number of bricks has as many as processes, which is not known "
                  "before a job is: give --bricks N");
    ChosenRun one{run, {}, book_volume(book, selection.locate(run.dataset), missing)};
    selection.settle(one.run, run.dataset, one.volume.components);
    one.booked = {run_id(one.run, one.volume.signature), run.index, run.dataset, run.network_type};
    enter(book, one.booked);
    chosen.push_back(std::move(one));
  }
  return chosen;
}

void attach_submit(CLI::App& app) {
  const auto options = std::make_shared<SubmitOptions>();
  attach_cluster(app, *options);
  const std::vector<std::string> names = attach_chosen(app, options->bench);
  app.footer(kFooter);
  app.callback([options, names, &app] {
    for (const std::string& name : names)
      if (const CLI::Option* option = app.get_option(name); option->count() > 0)
        for (const std::string& word : words_of(*option)) options->words.push_back(word);
    const BenchOptions& bench = options->bench;
    Console console(bench.quiet     ? Verbosity::quiet
                    : bench.verbose ? Verbosity::verbose
                                    : Verbosity::normal);
    submit_runs(*options, console);
  });
}

}  // namespace kanbench
