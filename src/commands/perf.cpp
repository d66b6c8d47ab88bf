// kanbench perf: how fast the runs of a parameter file train and predict, stage by stage, and how
// near that is to what the machine can do.

#include <filesystem>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>

#include "commands/commands.h"
#include "commands/console.h"
#include "commands/options.h"
#include "commands/perf_scaling.h"
#include "commands/selection.h"
#include "commands/timed_run.h"
#include "kanbench/error.h"
#include "kanbench/file.h"
#include "kanbench/io.h"

namespace kanbench {
namespace {

struct PerfOptions {
  RunSelection selection;
  DeviceOptions device;
  ScalingOptions scaling;
  std::string json;
  double seconds = 1;
};

/// One run, timed.
struct Timing {
  Run run;
  std::int64_t batch_size = 0;
  std::string precision, choices;
  double training = 0, inference = 0, decoding = 0;
  std::vector<Stage> stages;
};

Timing time_run(const Run& run, const Volume& volume, Backend& backend, double seconds) {
  TimedRun timed(run, volume, backend);
  Timing timing{run, timed.rows(), name(timed.model().precision()), "", 0, 0, 0, {}};
  timing.training = timed.training_rate(seconds);
  timing.choices = backend.choices(timed.model());
  timing.inference = timed.inference_rate(seconds);
  timing.decoding = timed.decoding_rate(seconds);
  timing.stages = timed.stages();
  return timing;
}

nlohmann::ordered_json to_json(const Timing& t, const std::string& device) {
  nlohmann::ordered_json stages = nlohmann::json::array();
  for (const Stage& s : t.stages)
    stages.push_back({{"name", s.name},
                      {"seconds", s.seconds},
                      {"flops", s.flops},
                      {"bytes", s.bytes},
                      {"ceiling", s.ceiling},
                      {"fraction_of_ceiling", s.fraction_of_ceiling}});
  return {{"run_index", t.run.index},
          {"dataset", t.run.dataset},
          {"network_type", t.run.network_type},
          {"device", device},
          {"precision", t.precision},
          {"choices", t.choices},
          {"batch_size", t.batch_size},
          {"training_samples_per_second", t.training},
          {"inference_samples_per_second", t.inference},
          {"decoded_voxels_per_second", t.decoding},
          {"stages", stages}};
}

void print(const Timing& t) {
  std::cout << "\nrun " << t.run.index << ", " << t.run.network_type << ", " << t.precision
            << ", batch " << t.batch_size << ": training " << count(t.training)
            << " samples/s, inference " << count(t.inference) << " samples/s, decoding "
            << count(t.decoding) << " voxels/s\n";
  if (!t.choices.empty()) std::cout << t.choices << "\n";
  std::vector<std::vector<std::string>> table = {
      {"stage", "ms", "ns/sample", "GFLOP/s", "GB/s", "of ceiling", "ceiling"}};
  for (const Stage& s : t.stages)
    table.push_back({s.name, fixed(s.seconds * 1e3, 3),
                     fixed(s.seconds * 1e9 / static_cast<double>(t.batch_size), 1),
                     fixed(s.flops / s.seconds * 1e-9, 1), fixed(s.bytes / s.seconds * 1e-9, 1),
                     fixed(100 * s.fraction_of_ceiling, 0) + " %", s.ceiling});
  std::cout << format_table(table) << std::flush;
}

// What is timed, and on what.
class Perf {
 public:
  explicit Perf(const PerfOptions& options) : options_(options) {}

  void run() {
    options_.scaling.check();
    const Launch launch = read_launch();
    // Of several processes the first times what one of them has, and the others leave it alone.
    if (!options_.scaling.measured && launch.rank != 0) return;
    communicator_ = open(launch);
    together(*communicator_, [&] { prepare(); });
    shown_ = communicator_->rank() == 0;
    if (!said_.empty() && shown_) Console(Verbosity::normal).say(said_);
    nlohmann::ordered_json report = {{"machine", {{"device", backend_->name()}}}};
    if (!options_.scaling.wanted) report["machine"]["ceilings"] = measure_ceilings();
    for (const Run& run : runs_) {
      const char* list = options_.scaling.wanted ? "scaling" : "results";
      report[list].push_back(do_run(run, volumes_.at(run.dataset)));
    }
    if (options_.json.empty()) return;
    together(*communicator_, [&] {
      if (!shown_) return;
      AtomicFile file(options_.json);
      file.write(report.dump(2) + "\n");
      file.commit();
    });
  }

 private:
  std::unique_ptr<Communicator> open(const Launch& launch) {
    if (options_.scaling.measured)
      return options_.scaling.launched.open(options_.device, backend_, &said_);
    backend_ = options_.device.open(&said_, launch.local_rank, launch.local_size);
    return open_single();
  }

  void prepare() {
    runs_ = options_.selection.runs();
    if (!options_.json.empty()) require_apart(options_.json, options_.selection.params(), "--json");
    const std::filesystem::path json = options_.json;
    if (!json.empty())
      require_writable(json.has_parent_path() ? json.parent_path() : ".", "--json");
    for (Run& run : runs_) {
      if (!volumes_.contains(run.dataset))
        volumes_.emplace(run.dataset, open_volume(options_.selection.locate(run.dataset),
                                                  options_.selection.missing()));
      const Volume& volume = volumes_.at(run.dataset);
      options_.selection.settle(run, volume);
      if (volume.components > 1 && options_.scaling.wanted)
        throw Error("--scaling: " + volume.name + " has " + std::to_string(volume.components) +
                    " numbers a voxel: it is for volumes of one");
      require_room(run, *backend_);
      resolve_precision(run.precision, make_spec(run), *backend_,
                        "run " + std::to_string(run.index) + ": precision");
    }
  }

  nlohmann::ordered_json measure_ceilings() const {
    nlohmann::ordered_json ceilings = nlohmann::json::array();
    std::cout << backend_->name() << ": measured ceilings\n";
    for (const Ceiling& top : backend_->measure_ceilings()) {
      std::cout << "  " << top.name << " " << count(top.per_second) << " " << top.unit << "/s\n";
      ceilings.push_back({{"name", top.name}, {"per_second", top.per_second}, {"unit", top.unit}});
    }
    return ceilings;
  }

  nlohmann::ordered_json do_run(const Run& run, const Volume& volume) {
    const ScalingOptions& scaling = options_.scaling;
    if (scaling.measured)
      return report_measured(run, volume, *backend_, *communicator_, options_.seconds, scaling);
    if (scaling.wanted) return report_scaling(run, volume, *backend_, options_.seconds, scaling);
    const Timing timing = time_run(run, volume, *backend_, options_.seconds);
    print(timing);
    return to_json(timing, backend_->name());
  }

  const PerfOptions& options_;
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Communicator> communicator_;
  std::vector<Run> runs_;
  std::map<std::string, Volume> volumes_;
  std::string said_;
  bool shown_ = true;
};

constexpr const char* kFooter =
    "Every stage of a training step is timed alone, best of several: sample (points and targets),\n"
    "encode, forward, backward, scatter (gradients into the table), update (Adam). A CUDA device\n"
    "has predict, decoder (there and back) and gradient (all before the update) instead. A\n"
    "stage's ceiling is what this machine was measured to do at most: multiply-adds in registers\n"
    "(flops) or tensor cores (mma), streaming through memory (bandwidth), reading rows of a table\n"
    "of that size at random (random rows, gather), or adding to them (red). A stage that works\n"
    "from cache can pass the bandwidth of memory.\n"
    "\n"
    "--scaling goes on from there to what a step takes on many ranks. Weak: every rank has such a\n"
    "batch; strong: all together have. What binds a step is what most of it goes to. Networks are\n"
    "assumptions, printed with each table. Started as several processes, the first does all this\n"
    "with its share of the cores, and the others end; with --measured all take part.\n"
    "\n"
    "Examples:\n"
    "  kanbench perf --params params/params.json --dataset nucleon --batch-size 65536\n"
    "  kanbench perf --params params/params.json --dataset nucleon --scaling --ranks 1..64\n"
    "  mpirun -n 2 kanbench perf --params params/params.json --dataset nucleon --scaling "
    "--measured";

}  // namespace

void attach_perf(CLI::App& app) {
  const auto options = std::make_shared<PerfOptions>();
  options->selection.attach(app);
  options->device.attach(app);
  options->scaling.attach(app);
  add_option(app, "--json", options->json, "FILE", "Write all figures there, too");
  add_option(app, "--seconds", options->seconds, "N",
             "Seconds for each of training, inference and decoding (default 1)")
      ->check(number(0.01, 3600));
  app.footer(kFooter);
  app.callback([options] { Perf(*options).run(); });
}

}  // namespace kanbench
