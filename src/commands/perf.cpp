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
  double training = 0, inference = 0, decoding = 0;
  std::vector<Stage> stages;
};

// Calls a second, best of five turns that share `seconds`: what the code can do, not what else the
// machine was doing.
double best_rate(double seconds, const std::function<void()>& work) {
  using Clock = std::chrono::steady_clock;
  work();
  double best = 0;
  for (int turn = 0; turn < 5; ++turn) {
    const Clock::time_point start = Clock::now();
    double took = 0;
    std::int64_t calls = 0;
    for (; took < seconds / 5; ++calls) {
      work();
      took = std::chrono::duration<double>(Clock::now() - start).count();
    }
    best = std::max(best, static_cast<double>(calls) / took);
  }
  return best;
}

// Slices of the volume that make about a million voxels, for decoding.
Lattice some_slices(const Shape& shape) {
  Box box = whole(shape);
  box.high[2] = std::clamp<std::int64_t>((1 << 20) / (shape.x * shape.y), 1, shape.z);
  return {shape, box};
}

Timing time_run(const Run& run, const Volume& volume, Backend& backend, double seconds) {
  require_room(run, backend);
  const ModelSpec spec = make_spec(run);
  Timing timing{run, run.batch_size, 0, 0, 0, {}};
  if (timing.batch_size == 0)
    timing.batch_size = choose_batch_size(volume.shape.count(), backend.bytes_per_row(spec),
                                          backend.free_bytes(), 0.8);
  const std::int64_t rows = timing.batch_size;
  const Training training = make_training(run, rows, run.seed);
  Adam adam = training.adam;
  adam.encoder_rate = static_cast<float>(training.lrate);
  adam.decoder_rate = static_cast<float>(training.lrate * training.decoder_rate);
  Model model(backend, spec);
  model.upload(draw_parameters(spec, make_initialisation(run), run.seed));
  model.train();
  const VolumeView view = backend.place(volume);
  Buffer<float> points(backend, 3 * rows), values(backend, rows);
  const ConstRows read{points.data(), rows, 3, rows}, targets{values.data(), rows, 1, rows};
  const Rows results{values.data(), rows, 1, rows};
  std::int64_t step = 0;
  const auto draw = [&] {
    const Stream stream =
        make_stream(run.seed, 0, Purpose::samples, static_cast<std::uint64_t>(step));
    backend.sample(view, whole(volume.shape), stream, 0, {points.data(), rows, 3, rows}, results);
  };
  const double count = static_cast<double>(rows);
  timing.training = count * best_rate(seconds, [&] {
                      draw();
                      backend.step(model, read, targets, {training.loss, 1 / count}, adam, ++step);
                    });
  draw();
  timing.inference = count * best_rate(seconds, [&] { backend.predict(model, read, results); });
  const Lattice lattice = some_slices(volume.shape);
  const std::int64_t voxels = lattice.box.shape().count();
  Buffer<float> decoded(backend, voxels);
  timing.decoding = static_cast<double>(voxels) *
                    best_rate(seconds, [&] { backend.decode(model, lattice, {decoded.data()}); });
  timing.stages = backend.profile(model, view, rows, training.loss, adam);
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
          {"batch_size", t.batch_size},
          {"training_samples_per_second", t.training},
          {"inference_samples_per_second", t.inference},
          {"decoded_voxels_per_second", t.decoding},
          {"stages", stages}};
}

void print(const Timing& t) {
  std::cout << "\nrun " << t.run.index << ", " << t.run.network_type << ", batch " << t.batch_size
            << ": training " << count(t.training) << " samples/s, inference " << count(t.inference)
            << " samples/s, decoding " << count(t.decoding) << " voxels/s\n";
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
  std::map<std::string, Volume> volumes;
  for (const Run& run : runs) {
    if (!volumes.contains(run.dataset))
      volumes.emplace(run.dataset, open_volume(options.selection.locate(run.dataset)));
    const Timing timing = time_run(run, volumes.at(run.dataset), *backend, options.seconds);
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
    "encode, forward, backward, scatter (gradients into the table), update (Adam). A stage's\n"
    "ceiling is what this machine was measured to do at most: multiply-adds in registers (flops),\n"
    "streaming through memory (bandwidth), or reading rows of a table of that size at random\n"
    "(random rows). A stage that works from cache can pass the bandwidth of memory.\n"
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
