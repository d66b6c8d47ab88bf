// kanbench perf: how fast the runs of a parameter file train and predict, stage by stage, and how
// near that is to what the machine can do.

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <functional>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>

#include "commands/commands.h"
#include "commands/console.h"
#include "commands/options.h"
#include "commands/selection.h"
#include "kanbench/benchmark.h"
#include "kanbench/error.h"
#include "kanbench/file.h"
#include "kanbench/io.h"
#include "kanbench/recipe.h"

namespace kanbench {
namespace {

struct PerfOptions {
  RunSelection selection;
  DeviceOptions device;
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

// Calls a second, best of five turns that share `seconds`: what the code can do, not what else the
// machine was doing. `finish` waits for what was begun.
double best_rate(double seconds, const std::function<void()>& work,
                 const std::function<void()>& finish) {
  using Clock = std::chrono::steady_clock;
  work();
  finish();
  double best = 0;
  for (int turn = 0; turn < 5; ++turn) {
    const Clock::time_point start = Clock::now();
    double took = 0;
    std::int64_t calls = 0;
    for (; took < seconds / 5; ++calls) {
      work();
      took = std::chrono::duration<double>(Clock::now() - start).count();
    }
    finish();
    took = std::chrono::duration<double>(Clock::now() - start).count();
    best = std::max(best, static_cast<double>(calls) / took);
  }
  return best;
}

// Slices of the volume that make about so many voxels.
Lattice some_slices(const Shape& shape, std::int64_t voxels) {
  Box box = whole(shape);
  box.high[2] = std::clamp<std::int64_t>(voxels / (shape.x * shape.y), 1, shape.z);
  return {shape, box};
}

// Times training, inference and decoding of one run on a volume that the device holds.
class Timer {
 public:
  Timer(const Run& run, const Volume& volume, Backend& backend, double seconds)
      : run_(run),
        volume_(volume),
        backend_(backend),
        seconds_(seconds),
        spec_(make_spec(run)),
        rows_(batch_size()),
        training_(make_training(run, rows_, run.seed)),
        model_(backend, spec_, resolve_precision(run.precision, spec_, backend)),
        points_(backend, 3 * rows_),
        values_(backend, rows_) {
    training_.adam.encoder_rate = static_cast<float>(training_.lrate);
    training_.adam.decoder_rate = static_cast<float>(training_.lrate * training_.decoder_rate);
    model_.upload(draw_parameters(spec_, make_initialisation(run), run.seed));
    model_.train();
  }

  Timing run() {
    if (!backend_.holds(volume_, whole(volume_.shape), 0))
      throw Error(volume_.name + ": its " + bytes(static_cast<double>(volume_.bytes())) +
                  " do not fit the memory of " + backend_.name() +
                  " beside the model: time a smaller volume");
    view_ = backend_.place(volume_, whole(volume_.shape));
    const double count = static_cast<double>(rows_);
    Timing timing{run_, rows_, name(model_.precision()), "", 0, 0, 0, {}};
    timing.training = count * backend_.steps_per_call() *
                      best_rate(
                          seconds_, [&] { train(); }, [&] { wait_for(values_); });
    timing.choices = backend_.choices(model_);
    const auto predict = [&] {
      backend_.predict(model_, {points_.data(), rows_, 3, rows_}, values());
    };
    timing.inference = count * best_rate(seconds_, predict, [&] { wait_for(values_); });
    const Lattice lattice = some_slices(volume_.shape, std::max<std::int64_t>(1 << 20, 16 * rows_));
    Buffer<float> decoded(backend_, lattice.box.shape().count());
    timing.decoding = static_cast<double>(decoded.size()) *
                      best_rate(
                          seconds_, [&] { backend_.decode(model_, lattice, {decoded.data()}); },
                          [&] { wait_for(decoded); });
    timing.stages = backend_.profile(model_, view_, rows_, training_.loss, training_.adam);
    return timing;
  }

 private:
  std::int64_t batch_size() const {
    require_room(run_, backend_);
    if (run_.batch_size > 0) return run_.batch_size;
    return choose_batch_size(volume_.shape.count(), backend_.bytes_per_row(spec_),
                             backend_.free_bytes(), 0.8);
  }

  // A number that was computed can be read when all before it is done.
  void wait_for(const Buffer<float>& computed) {
    float last;
    backend_.download(&last, computed.data() + computed.size() - 1, sizeof last);
  }

  Rows values() const { return {values_.data(), rows_, 1, rows_}; }

  void train() {
    std::vector<TrainingStep> steps;
    for (int i = 0; i < backend_.steps_per_call(); ++i) {
      const Stream stream =
          make_stream(run_.seed, 0, Purpose::samples, static_cast<std::uint64_t>(step_));
      steps.push_back({stream, training_.adam, ++step_});
    }
    backend_.train(model_, view_, whole(volume_.shape),
                   {training_.loss, 1 / static_cast<double>(rows_)}, steps,
                   {points_.data(), rows_, 3, rows_}, values());
  }

  const Run& run_;
  const Volume& volume_;
  Backend& backend_;
  double seconds_;
  ModelSpec spec_;
  std::int64_t rows_, step_ = 0;
  Training training_;
  Model model_;
  Buffer<float> points_, values_;
  VolumeView view_;
};

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
  std::cout << format_table(table);
}

void run_perf(const PerfOptions& options) {
  const std::vector<Run> runs = options.selection.runs();
  if (!options.json.empty()) require_apart(options.json, options.selection.params(), "--json");
  const std::filesystem::path json = options.json;
  if (!json.empty()) require_writable(json.has_parent_path() ? json.parent_path() : ".", "--json");
  Console console(Verbosity::normal);
  std::string said;
  const std::unique_ptr<Backend> backend = options.device.open(&said);
  std::map<std::string, Volume> volumes;
  for (const Run& run : runs) {
    if (!volumes.contains(run.dataset))
      volumes.emplace(run.dataset, open_volume(options.selection.locate(run.dataset)));
    require_room(run, *backend);
    resolve_precision(run.precision, make_spec(run), *backend,
                      "run " + std::to_string(run.index) + ": precision");
  }
  if (!said.empty()) console.say(said);
  nlohmann::ordered_json ceilings = nlohmann::json::array();
  std::cout << backend->name() << ": measured ceilings\n";
  for (const Ceiling& top : backend->measure_ceilings()) {
    std::cout << "  " << top.name << " " << count(top.per_second) << " " << top.unit << "/s\n";
    ceilings.push_back({{"name", top.name}, {"per_second", top.per_second}, {"unit", top.unit}});
  }
  nlohmann::ordered_json report = {
      {"machine", {{"device", backend->name()}, {"ceilings", ceilings}}},
      {"results", nlohmann::json::array()}};
  for (const Run& run : runs) {
    const Timing timing = Timer(run, volumes.at(run.dataset), *backend, options.seconds).run();
    print(timing);
    report["results"].push_back(to_json(timing, backend->name()));
  }
  if (json.empty()) return;
  AtomicFile file(json);
  file.write(report.dump(2) + "\n");
  file.commit();
}

constexpr const char* kFooter =
    "Every stage of a training step is timed alone, best of several: sample (points and targets),\n"
    "encode, forward, backward, scatter (gradients into the table), update (Adam). A CUDA device\n"
    "has predict, decoder (there and back) and gradient (all before the update) instead. A\n"
    "stage's ceiling is what this machine was measured to do at most: multiply-adds in registers\n"
    "(flops) or tensor cores (mma), streaming through memory (bandwidth), reading rows of a table\n"
    "of that size at random (random rows, gather), or adding to them (red). A stage that works\n"
    "from cache can pass the bandwidth of memory.\n"
    "\n"
    "Example:\n"
    "  kanbench perf --params params/params.json --dataset nucleon --batch-size 65536";

}  // namespace

void attach_perf(CLI::App& app) {
  const auto options = std::make_shared<PerfOptions>();
  options->selection.attach(app);
  options->device.attach(app);
  add_option(app, "--json", options->json, "FILE", "Write all figures there, too");
  add_option(app, "--seconds", options->seconds, "N",
             "Seconds for each of training, inference and decoding (default 1)")
      ->check(number(0.01, 3600));
  app.footer(kFooter);
  app.callback([options] { run_perf(*options); });
}

}  // namespace kanbench
