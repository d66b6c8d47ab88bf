#include "commands/sweep.h"

#include <cmath>
#include <cstdio>
#include <iostream>
#include <map>
#include <optional>
#include <utility>

#include "commands/baselines.h"
#include "commands/progress.h"
#include "kanbench/decomposition.h"
#include "kanbench/error.h"
#include "kanbench/estimate.h"
#include "kanbench/file.h"
#include "kanbench/interruption.h"
#include "kanbench/recipe.h"
#include "kanbench/result.h"
#include "kanbench/slices.h"

namespace kanbench {
namespace {

namespace fs = std::filesystem;
using Table = std::vector<std::vector<std::string>>;

std::string general(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.6g", value);
  return text;
}

// What a run's encoder has: its table's entries, or its name.
std::string table_size(const Run& run) {
  if (run.encoder != "hash_grid" && run.encoder != "identity")
    return run.encoder.size() > 40 ? run.encoder.substr(0, 37) + "..." : run.encoder;
  return run.log2_hashmap_size > 0 ? "2^" + std::to_string(run.log2_hashmap_size) : "none";
}

// The mean of `figure` over the trials that have it.
template <class Figure>
double mean(const Result& result, Figure figure) {
  double sum = 0;
  int trials = 0;
  for (const Trial& trial : result.trials) {
    const double value = figure(trial);
    if (std::isnan(value)) continue;
    sum += value;
    ++trials;
  }
  return trials ? sum / trials : NAN;
}

class Sweep {
 public:
  Sweep(const BenchOptions& options, Console& console) : options_(options), console_(console) {}

  int run() {
    communicator_ = options_.ranks.open(options_.device, backend_, &said_);
    if (communicator_->rank() != 0) console_.silence();
    together(*communicator_, [&] { prepare(); });
    require_same(*communicator_, what_is_asked(), "the command line or the parameter file");
    for (std::size_t i = 0; i < runs_.size() && !interrupted_; ++i) {
      place_ = std::to_string(i + 1) + "/" + std::to_string(runs_.size());
      do_run(runs_[i]);
    }
    if (rows_ && !interrupted_ && !baselines_.empty()) do_baselines();
    console_.clear_status();
    if (!console_.quiet()) summarise();
    return failed_;
  }

 private:
  // Everything that can be wrong with the command line is found before the first run trains.
  void prepare() {
    runs_ = options_.selection.runs();
    options_.selection.missing();
    if (const std::string source = options_.selection.index_source(); !source.empty())
      console_.say("run " + std::to_string(runs_.at(0).index) + ", as " + source + " says");
    keep_ = runs_to_keep(options_.selection.all_runs(), options_.save_mode);
    for (const Run& run : runs_)
      if (!files_.contains(run.dataset))
        files_[run.dataset] = options_.selection.locate(run.dataset);
    prepare_output();
    for (const std::string& word : options_.baselines) baselines_.push_back(parse_baseline(word));
    console_.detail("device " + backend_->name() + ", " + bytes(double(backend_->free_bytes())) +
                    " free");
    if (communicator_->size() > 1)
      console_.detail(std::to_string(communicator_->size()) + " ranks, " + communicator_->name());
    for (const Run& run : runs_) {
      resolve_precision(run.precision, make_spec(run), *backend_,
                        "run " + std::to_string(run.index) + ": precision");
      require_room(run, *backend_, communicator_->size());
    }
    if (!options_.test_epoch) catch_interruption();
  }

  // What must be the same on all ranks.
  std::string what_is_asked() const {
    std::string all;
    for (const Run& run : runs_)
      all += std::to_string(run.index) + " " + run.dataset + " " + to_json(run) + " " +
             std::to_string(run.repeats) + (run.faithful ? " faithful" : "") +
             (run.decomposition.sharded ? " sharded" : "") + "\n";
    const CheckpointInterval& every = options_.checkpoint_every;
    return all + text(options_.selection.missing()) + "\n" + options_.output_directory + "\n" +
           options_.output + "\n" + options_.save_mode + "\n" + options_.slices + "\n" +
           join(options_.baselines) + "\n" + std::to_string(options_.resume) +
           std::to_string(options_.test_epoch) + general(options_.safety_margin) + " " +
           general(every.minutes) + " " + std::to_string(every.epochs);
  }

  void prepare_output() {
    if (!options_.ssd_directory.empty()) require_writable(options_.ssd_directory, "--ssd-dir");
    const fs::path directory = options_.output_directory;
    require_writable(directory, "--output-dir");
    if (options_.test_epoch) return;
    const fs::path csv =
        options_.output.empty() ? directory / "results.csv" : fs::path(options_.output);
    if (!options_.output.empty()) {
      if (csv.extension() != ".csv")
        throw Error("--output " + csv.string() + ": give a file name that ends in .csv");
      require_writable(csv.has_parent_path() ? csv.parent_path() : ".", "--output");
    }
    rows_.emplace(csv);
    if (options_.slices.empty()) return;
    require_png();
    const fs::path slices = options_.slices;
    one_picture_ = slices.extension() == ".png";
    const fs::path parent = slices.has_parent_path() ? slices.parent_path() : ".";
    require_writable(one_picture_ ? parent : slices, "--slices");
  }

  void open(const std::string& dataset) {
    if (volume_ && opened_ == dataset) return;
    volume_.reset();
    const fs::path file = stage(files_.at(dataset));
    volume_.emplace(open_volume(file, *communicator_, options_.selection.missing()));
    require_same(*communicator_, volume_fingerprint(*volume_), file.string());
    signature_ = from_rank_0([&] { return volume_signature(*volume_); });
    opened_ = dataset;
    if (!volume_->filled.empty())
      console_.say(file.string() + ": voxels without a value were filled, " + volume_->filled);
    console_.detail(file.string() + ": " + text(volume_->shape) + " " + name(volume_->dtype) +
                    value_text());
  }

  std::string value_text() const {
    std::string all;
    for (const auto& [low, high] : volume_->ranges())
      all += (all.empty() ? ", values " : "; ") + general(low) + " to " + general(high);
    return all;
  }

  // Of the processes of a machine one copies, and the others find the copy.
  fs::path stage(const fs::path& file) {
    if (options_.ssd_directory.empty()) return file;
    fs::path staged;
    const auto copy = [&] { staged = stage_volume(file, options_.ssd_directory); };
    together(*communicator_, [&] {
      if (communicator_->local_rank() == 0) copy();
    });
    together(*communicator_, copy);
    return staged;
  }

  // What `make` gives on rank 0, on all ranks.
  std::string from_rank_0(const std::function<std::string()>& make) {
    std::string text;
    together(*communicator_, [&] {
      if (communicator_->rank() == 0) text = make();
    });
    broadcast_text(*communicator_, text);
    return text;
  }

  // The run as it is done here: bricks are cut when the volume is known.
  Run settle(const Run& chosen) const {
    Run run = chosen;
    options_.selection.settle(run, *volume_);
    if (options_.test_epoch) {
      run.epochs = run.repeats = 1;
      run.training.train_limit_seconds.reset();
    }
    Decomposition& how = run.decomposition;
    if (how.mode == "shared") return run;
    const std::int64_t ranks = communicator_->size();
    const std::int64_t bricks = how.brick_count > 0 ? how.brick_count : ranks;
    if (how.mode == "hybrid" && bricks < ranks)
      throw Error("--bricks " + std::to_string(bricks) +
                  ": a hybrid needs a brick for each of its " + std::to_string(ranks) +
                  " processes: give more bricks, or start fewer");
    how.bricks = choose_grid(volume_->shape, bricks, "--bricks");
    return run;
  }

  void do_run(const Run& chosen) {
    open(chosen.dataset);
    Run run;
    together(*communicator_, [&] { run = settle(chosen); });
    const std::string id = run_id(run, signature_);
    const std::string title =
        "[" + place_ + "] " + run.dataset + " " + run.network_type + " " + table_size(run);
    if (rows_ && options_.resume && skip(id, title)) return;
    console_.detail(title + "  run " + std::to_string(run.index) + ", id " + id);

    BenchmarkSettings settings;
    settings.safety_margin = options_.safety_margin;
    settings.output_directory = options_.output_directory;
    settings.keep = keep_.contains(run.index);
    settings.device_note = options_.device.note(*backend_);
    settings.signature = signature_;
    settings.training_only = options_.test_epoch;
    settings.checkpoint_every = options_.checkpoint_every;
    settings.resume = options_.resume;
    if (rows_ && !options_.slices.empty())
      settings.slices =
          one_picture_ ? fs::path(options_.slices)
                       : fs::path(options_.slices) / (file_stem(run, volume_->name, id) + ".png");
    if (!said_.empty()) console_.say(std::exchange(said_, ""));
    const bool timed = training_option(run, "train_limit_seconds") > 0.0;
    ProgressDisplay display(console_, title, timed ? 0 : run.epochs);
    const std::unique_ptr<RunLog> log = open_log(run, id);
    BenchmarkProgress progress;
    if (communicator_->rank() == 0) progress = display.callbacks();
    if (log) progress = log->wrap(std::move(progress), run);
    try {
      results_.push_back(
          run_benchmark(run, *volume_, *backend_, *communicator_, settings, progress));
    } catch (const std::exception& failure) {
      console_.note(std::string("ended by: ") + failure.what());
      throw;
    }
    full_epochs_.push_back(chosen.epochs);
    if (options_.test_epoch) remember_epoch(results_.back());
    conclude(results_.back(), title, settings);
    if (log) log->conclude(results_.back());
  }

  // Rank 0's alone, begun with what is to be done.
  std::unique_ptr<RunLog> open_log(const Run& run, const std::string& id) {
    std::unique_ptr<RunLog> log;
    together(*communicator_, [&] {
      if (!rows_ || communicator_->rank() != 0) return;
      log = std::make_unique<RunLog>(console_, options_.log,
                                     fs::path(options_.output_directory) / "logs",
                                     file_stem(run, volume_->name, id));
      console_.note("run " + std::to_string(run.index) + " of " + run.dataset + ", id " + id +
                    ", on " + backend_->name() + ", " + std::to_string(communicator_->size()) +
                    (communicator_->size() == 1 ? " process" : " processes"));
      console_.note("configuration " + to_json(run));
    });
    return log;
  }

  // For `submit` to know how long runs take.
  void remember_epoch(const Result& result) {
    const double seconds = mean(result, [](const Trial& t) {
      return t.history.failed || t.history.epochs.empty() ? NAN : t.history.seconds;
    });
    together(*communicator_, [&] {
      if (communicator_->rank() != 0 || !(seconds > 0)) return;
      append_epoch_time(fs::path(options_.output_directory) / "estimates.jsonl",
                        {epoch_key(result.run, signature_), result.device, result.ranks,
                         result.batch_size, seconds});
    });
  }

  void do_baselines() {
    for (const auto& [dataset, file] : files_) {
      open(dataset);
      const Comparison comparison{
          baselines_, *volume_, dataset, signature_, options_.output_directory, options_.resume};
      failed_ += compare(comparison, *rows_, *communicator_, console_, compared_);
    }
  }

  void conclude(const Result& result, const std::string& title, const BenchmarkSettings& settings) {
    interrupted_ = result.status == "interrupted";
    if (result.status == "failed") {
      ++failed_;
      console_.warn(title + ": failed: " + result.failure);
    }
    if (interrupted_)
      console_.warn(title + ": interrupted, a checkpoint is in " +
                    (settings.output_directory / "checkpoints").string() +
                    ": the same command goes on from there");
    if (result.status == "elsewhere")
      return console_.say(title + "  trained; another process measures it and writes its row");
    together(*communicator_, [&] {
      if (!rows_ || communicator_->rank() != 0) return;
      rows_->append(result);
      if (!interrupted_) remove_checkpoints(result, volume_->name, settings);
    });
  }

  bool skip(const std::string& id, const std::string& title) {
    const std::string status = from_rank_0([&] { return rows_->status(id); });
    if (status.empty() || status == "interrupted") return false;
    ++skipped_;
    console_.say(title + "  skipped: " + rows_->csv().string() + " has run " + id + " (" + status +
                 "); --no-resume runs it again");
    return true;
  }

  void summarise() const {
    if (options_.test_epoch) {
      std::cout << format_table(epoch_table());
      return;
    }
    if (!results_.empty()) std::cout << format_table(result_table());
    if (!compared_.empty()) std::cout << format_baselines(compared_);
    if (!results_.empty()) std::cout << "SSIM: " << results_.back().ssim_variant << "\n";
    if (skipped_ > 0) std::cout << skipped_ << " of " << runs_.size() << " runs were done before\n";
    std::cout << "rows: " << rows_->csv().string()
              << ", histories: " << rows_->json_lines().string() << "\n";
    bool models = false;
    for (const Result& result : results_) models |= !result.model_file.empty();
    const fs::path directory = options_.output_directory;
    if (models)
      std::cout << "models: " << (directory / "models_saved").string()
                << ", reconstructions: " << (directory / "reconstructions_saved").string() << "\n";
    if (!options_.slices.empty() && !results_.empty())
      std::cout << "slices: " << options_.slices << "\n";
  }

  Table result_table() const {
    Table rows = {{"dataset", "network", "table", "parameters", "ratio", "PSNR dB", "SSIM",
                   "SSIM 3-D", "train s", "samples/s", "status"}};
    for (const Result& r : results_) {
      const double ratio = mean(r, [&](const Trial& t) {
        return t.inr_bytes > 0 ? double(r.data_bytes) / double(t.inr_bytes) : NAN;
      });
      rows.push_back({r.run.dataset, r.run.network_type, table_size(r.run),
                      std::to_string(r.n_parameters), fixed(ratio, 2),
                      fixed(mean(r, [](const Trial& t) { return t.metrics.psnr; }), 2),
                      fixed(mean(r, [](const Trial& t) { return t.metrics.ssim; }), 4),
                      fixed(mean(r, [](const Trial& t) { return t.metrics.ssim_3d; }), 4),
                      fixed(mean(r, [](const Trial& t) { return t.history.seconds; }), 1),
                      count(mean(r, [](const Trial& t) { return t.history.samples_per_second(); })),
                      r.status});
    }
    return rows;
  }

  Table epoch_table() const {
    Table rows = {
        {"dataset", "network", "table", "batch", "s/epoch", "samples/s", "epochs", "all epochs"}};
    for (std::size_t i = 0; i < results_.size(); ++i) {
      const Result& r = results_[i];
      const double seconds = mean(r, [](const Trial& t) { return t.history.seconds; });
      rows.push_back({r.run.dataset, r.run.network_type, table_size(r.run),
                      std::to_string(r.batch_size), fixed(seconds, 3),
                      count(mean(r, [](const Trial& t) { return t.history.samples_per_second(); })),
                      std::to_string(full_epochs_[i]), duration(seconds * full_epochs_[i])});
    }
    return rows;
  }

  const BenchOptions& options_;
  Console& console_;
  std::vector<Run> runs_;
  std::set<std::int64_t> keep_;
  std::map<std::string, fs::path> files_;
  // The communicator's blocks lie in the backend's memory.
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Communicator> communicator_;
  std::optional<ResultFile> rows_;
  std::optional<Volume> volume_;
  std::string opened_, signature_, place_, said_;
  std::vector<Result> results_;
  std::vector<Baseline> baselines_;
  std::vector<BaselineResult> compared_;
  std::vector<int> full_epochs_;
  bool one_picture_ = false;
  bool interrupted_ = false;
  int skipped_ = 0, failed_ = 0;
};

}  // namespace

void list_runs(const BenchOptions& options) {
  Table rows = {{"index", "dataset", "network", "table", "base", "levels", "features", "scale",
                 "neurons", "hidden", "lrate", "epochs", "parameters"}};
  for (const Run& r : options.selection.runs())
    rows.push_back(
        {std::to_string(r.index), r.dataset, r.network_type, table_size(r),
         std::to_string(r.base_resolution), std::to_string(r.n_levels),
         std::to_string(r.n_features_per_level), general(r.per_level_scale),
         std::to_string(r.n_neurons), std::to_string(r.n_hidden_layers), general(r.lrate),
         std::to_string(r.epochs),
         std::to_string(make_layout(make_spec(r), "run " + std::to_string(r.index)).parameters)});
  std::cout << format_table(rows);
}

int run_sweep(const BenchOptions& options, Console& console) {
  return Sweep(options, console).run();
}

}  // namespace kanbench
