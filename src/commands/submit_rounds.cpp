// The rounds of kanbench submit: look, plan, submit what there is room for, wait.

#include <algorithm>
#include <chrono>
#include <ctime>
#include <iostream>
#include <map>
#include <set>
#include <thread>

#include "commands/submit.h"
#include "kanbench/error.h"
#include "kanbench/estimate.h"
#include "kanbench/file.h"
#include "kanbench/job_plan.h"
#include "kanbench/recipe.h"
#include "kanbench/scheduler.h"

namespace kanbench {
namespace {

namespace fs = std::filesystem;
using Table = std::vector<std::vector<std::string>>;

constexpr double kSmallerMargin = 0.6;

class Submission {
 public:
  Submission(const SubmitOptions& options, Console& console)
      : options_(options),
        console_(console),
        output_(fs::absolute(options.bench.output_directory).lexically_normal()),
        site_(load_site(options.site)),
        scheduler_(open_scheduler(site_.scheduler)),
        cpu_(open_cpu()) {
    if (!options.account.empty()) site_.account = options.account;
    if (options.max_jobs >= 0) site_.max_jobs = options.max_jobs;
    wishes_ = {options.gpus, options.queue,
               options.walltime.empty() ? 0 : parse_walltime(options.walltime, "--walltime")};
    if (site_.account.find_first_of(" \t\n\"'") != std::string::npos)
      throw Error("--account '" + site_.account + "': has a space or a quote in it");
    measure_device();
    // Wishes that no queue grants are found before anything is written.
    RunNeed nothing;
    nothing.seconds = nothing.device_bytes = [](int) { return 0.0; };
    nothing.host_bytes = [](int, bool) { return 0.0; };
    plan_run(nothing, site_, wishes_);
    for (const SiteQueue& queue : site_.queues) on_devices_ |= queue.gpus_per_node > 0;
  }

  void run() {
    while (round()) {
      console_.say("waiting for room in the queue, " + std::to_string(site_.max_jobs) +
                   " at a time");
      std::this_thread::sleep_for(std::chrono::duration<double>(options_.wait_seconds));
    }
    if (!console_.quiet()) summarise();
  }

 private:
  // A site of processors need not say what they can do.
  void measure_device() {
    if (site_.device.flops_per_second > 0) return;
    console_.detail(
        "the site says nothing of its device: estimates are of this machine's processor");
    for (const Ceiling& top : cpu_->measure_ceilings()) {
      if (top.name == "flops") site_.device.flops_per_second = top.per_second;
      if (top.name == "bandwidth") site_.device.bytes_per_second = top.per_second;
    }
  }

  // Returns whether there is more to submit.
  bool round() {
    JobBook book(output_, options_.dry_run ? JobBook::Use::seen : JobBook::Use::held);
    const std::vector<ChosenRun> chosen = choose_runs(options_.bench.selection, book);
    bool changed = true;
    states_ = run_states(book.runs, book, output_, &changed);
    if (!options_.dry_run) book.save();
    const std::vector<RunPlan> plans = plan(chosen);
    std::vector<Job> jobs = pack_jobs(plans, site_);
    const std::size_t all = count_elements(jobs);
    if (site_.max_jobs > 0 && !options_.dry_run)
      jobs = within_room(std::move(jobs), site_.max_jobs - in_queue());
    for (Job& job : jobs)
      if (options_.dry_run)
        show(book, job);
      else
        submit(book, job);
    return count_elements(jobs) < all;
  }

  static std::size_t count_elements(const std::vector<Job>& jobs) {
    std::size_t count = 0;
    for (const Job& job : jobs) count += job.elements.size();
    return count;
  }

  std::int64_t in_queue() const {
    std::set<std::pair<std::string, int>> elements;
    for (const RunState& state : states_)
      if (state.phase == RunPhase::queued || state.phase == RunPhase::running)
        elements.insert({state.job_name, state.element});
    return static_cast<std::int64_t>(elements.size());
  }

  // Each run once a command: one that fails at once is not submitted for ever.
  bool wanted(const RunState& state) const {
    if (submitted_.contains(state.run.run_id)) return false;
    switch (state.phase) {
      case RunPhase::missing:
      case RunPhase::interrupted:
        return true;
      case RunPhase::failed:
        return options_.retry_failed;
      default:
        return false;
    }
  }

  std::vector<RunPlan> plan(const std::vector<ChosenRun>& chosen) {
    std::map<std::string, const RunState*> states;
    for (const RunState& state : states_) states[state.run.run_id] = &state;
    const auto times = read_epoch_times(output_ / "estimates.jsonl");
    std::vector<RunPlan> plans;
    std::set<std::string> seen;
    chosen_ = {};
    for (const ChosenRun& one : chosen) {
      const RunState& state = *states.at(one.booked.run_id);
      ++chosen_[state.phase];
      // Two entries of a file may say the same: the first does it.
      if (!wanted(state) || !seen.insert(one.booked.run_id).second) continue;
      plans.push_back(plan_one(one, state, times));
    }
    return plans;
  }

  const EpochTime* find_time(const ChosenRun& one, const std::vector<EpochTime>& times) const {
    const std::string key = epoch_key(one.run, one.volume.signature);
    const EpochTime* found = nullptr;
    for (const EpochTime& time : times)
      if (time.key == key && time.device.starts_with("cuda") == on_devices_ &&
          time.device.find(site_.device.name) != std::string::npos)
        found = &time;
    return found;
  }

  RunPlan plan_one(const ChosenRun& one, const RunState& state,
                   const std::vector<EpochTime>& times) {
    RunNeed need;
    need.safety_margin = options_.bench.safety_margin;
    if (state.attempt > 0) {
      need.safety_margin = std::min(need.safety_margin, state.safety_margin);
      need.least_memory_gb = state.memory_gb;
    }
    if (state.phase == RunPhase::failed && state.out_of_memory()) {
      need.safety_margin *= kSmallerMargin;
      need.least_memory_gb *= 2;
    }
    if (state.phase == RunPhase::failed && state.timed_out())
      need.least_minutes = 2 * state.minutes;
    const RunEstimate estimate({one.run, one.volume.shape, one.volume.data_bytes,
                                cpu_->bytes_per_row(make_spec(one.run)), site_.device,
                                parse_network(site_.network, "network"), need.safety_margin,
                                find_time(one, times)});
    need.index = one.run.index;
    need.run_id = one.booked.run_id;
    need.attempt = state.attempt + 1;
    need.most_ranks = estimate.most_ranks();
    need.seconds = [&](int ranks) { return estimate.seconds(ranks); };
    need.device_bytes = [&](int ranks) { return estimate.device_bytes(ranks); };
    need.host_bytes = [&](int ranks, bool processors) {
      return estimate.host_bytes(ranks, processors);
    };
    const RunPlan plan = plan_run(need, site_, wishes_);
    remember(one, plan, estimate.measured());
    return plan;
  }

  void remember(const ChosenRun& one, const RunPlan& plan, bool measured) {
    const std::string which = "run " + std::to_string(plan.index);
    rows_[plan.run_id] = {std::to_string(plan.index),
                          one.run.dataset,
                          one.run.network_type,
                          duration(plan.seconds),
                          measured ? "measured" : "model",
                          std::to_string(plan.gpus),
                          std::to_string(plan.nodes),
                          duration(60.0 * plan.minutes),
                          plan.memory_gb > 0 ? fixed(plan.memory_gb, 0) : "",
                          plan.queue,
                          std::to_string(plan.attempt)};
    if (!said_.insert(plan.run_id).second) return;
    if (plan.too_long)
      console_.warn(which + ": would take " + duration(plan.seconds) +
                    ", longer than its walltime of " + duration(60.0 * plan.minutes) +
                    ": it stops with a checkpoint, and submitting again goes on from there");
    if (plan.in_bricks)
      console_.warn(which + (plan.gpus > 0
                                 ? ": does not fit the memory of " + plan.queue +
                                       " as a whole: its volume is trained on in bricks"
                                 : ": may need more memory than a node of " + plan.queue + " has"));
  }

  JobWords words_of(const fs::path& directory, const Job& job) const {
    std::vector<std::string> words = {site_.program, "bench"};
    words.insert(words.end(), options_.words.begin(), options_.words.end());
    words.insert(words.end(), {"--params", (directory / "params.json").string(), "--output-dir",
                               output_.string(), "--safety-margin", scientific(job.safety_margin)});
    return {words, fs::current_path(), directory, output_ / "parts"};
  }

  // In a dry run names go on as if the jobs had been submitted.
  void show(JobBook& book, Job job) {
    job.name = book.next_name();
    const fs::path directory = book.directory_of(job.name);
    std::cout << "# " << (directory / "script.sh").string() << "\n"
              << job_script(*scheduler_, job, site_, words_of(directory, job)) << "\n# "
              << (directory / "runs.txt").string() << "\n"
              << runs_file(job) << "\n";
    note_submitted(job);
    book.jobs.push_back(std::move(job));
  }

  static void write(const fs::path& path, const std::string& text) {
    AtomicFile file(path);
    file.write(text);
    file.commit();
  }

  void submit(JobBook& book, Job job) {
    job.name = book.next_name();
    job.submitted_at = static_cast<std::int64_t>(std::time(nullptr));
    const fs::path directory = book.directory_of(job.name);
    require_writable(directory, "--output-dir");
    require_writable(output_ / "parts", "--output-dir");
    write(directory / "params.json", read_file(options_.bench.selection.params()));
    write(directory / "runs.txt", runs_file(job));
    write(directory / "script.sh", job_script(*scheduler_, job, site_, words_of(directory, job)));
    // Entered before it is submitted: whoever dies in between leaves a name to look for.
    book.jobs.push_back(job);
    book.save();
    try {
      book.jobs.back().id = scheduler_->submit(job, directory);
    } catch (...) {
      book.jobs.pop_back();
      book.save();
      std::error_code ignored;
      fs::remove_all(directory, ignored);
      throw;
    }
    book.save();
    console_.say("submitted " + book.jobs.back().id + ": " + std::to_string(job.elements.size()) +
                 (job.elements.size() == 1 ? " element, " : " elements, ") + job.queue + ", " +
                 duration(60.0 * job.minutes));
    note_submitted(job);
  }

  void note_submitted(const Job& job) {
    ++jobs_;
    for (const auto& element : job.elements)
      for (const JobRun& run : element) {
        submitted_.insert(run.run_id);
        table_.push_back(rows_.at(run.run_id));
      }
  }

  void summarise() const {
    if (!table_.empty()) {
      Table table = {{"run", "dataset", "network", "estimate", "by", "GPUs", "nodes", "walltime",
                      "GB", "queue", "attempt"}};
      table.insert(table.end(), table_.begin(), table_.end());
      std::cout << format_table(table);
    }
    std::string others;
    for (const RunPhase phase : {RunPhase::finished, RunPhase::running, RunPhase::queued})
      if (const auto count = chosen_.find(phase); count != chosen_.end())
        others += ", " + std::to_string(count->second) + " " + name(phase);
    const auto failed = chosen_.find(RunPhase::failed);
    if (failed != chosen_.end() && !options_.retry_failed)
      others += ", " + std::to_string(failed->second) + " failed (--retry-failed)";
    std::cout << submitted_.size() << (submitted_.size() == 1 ? " run " : " runs ")
              << (options_.dry_run ? "to submit" : "submitted") << " in " << jobs_
              << (jobs_ == 1 ? " job" : " jobs") << others << "\n";
  }

  const SubmitOptions& options_;
  Console& console_;
  fs::path output_;
  Site site_;
  std::unique_ptr<Scheduler> scheduler_;
  std::unique_ptr<Backend> cpu_;
  PlanWishes wishes_;
  bool on_devices_ = false;
  std::vector<RunState> states_;
  std::map<RunPhase, int> chosen_;
  std::map<std::string, std::vector<std::string>> rows_;
  std::set<std::string> submitted_, said_;
  Table table_;
  int jobs_ = 0;
};

}  // namespace

void submit_runs(const SubmitOptions& options, Console& console) {
  Submission(options, console).run();
}

}  // namespace kanbench
