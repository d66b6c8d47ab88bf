// kanbench perf --scaling --measured: real steps on the ranks that there are, stage by stage.

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <functional>
#include <iostream>
#include <limits>
#include <nlohmann/json.hpp>
#include <thread>
#include <tuple>

#include "commands/console.h"
#include "commands/perf_scaling.h"
#include "kanbench/decomposition.h"
#include "kanbench/error.h"
#include "kanbench/parallel.h"
#include "kanbench/recipe.h"
#include "kanbench/trainer.h"

namespace kanbench {
namespace {

using Json = nlohmann::ordered_json;
using Clock = std::chrono::steady_clock;

constexpr std::int64_t kBucketFloats = 1 << 20;

double since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// Seconds of a step: its stages one after the other, and as the trainer takes it.
struct Measured {
  double sample = 0, gradient = 0, sum = 0, update = 0, step = 0, exposed = 0;
};

// Steps of one run, on this rank among all.
class Rehearsal {
 public:
  Rehearsal(const Run& run, const Volume& volume, Backend& backend, Communicator& communicator,
            double seconds)
      : run_(run),
        volume_(volume),
        backend_(backend),
        communicator_(communicator),
        seconds_(seconds) {}

  /// To be called before what follows, and after anything else was placed.
  void place() {
    const Shape grid = choose_grid(volume_.shape, communicator_.size(), "--measured");
    box_ = part_of(whole(volume_.shape), grid, communicator_.rank());
    view_ = backend_.place(volume_, box_);
  }

  /// Latency and bandwidth of sums over these ranks, from a small one and a bucket of gradients.
  Network probe(std::int64_t floats) {
    const int n = communicator_.size();
    Buffer<float> block(backend_, std::min(kBucketFloats, floats));
    const auto sum = [&](std::int64_t count) {
      double least = std::numeric_limits<double>::infinity();
      for (int i = 0; i < 20; ++i) {
        double took = time([&] {
          communicator_.begin_sum(block.data(), {0, count}, Wire::fp32);
          communicator_.finish();
          wait(block);
        });
        communicator_.maximum(&took, 1);
        least = std::min(least, took);
      }
      return least;
    };
    const double small = sum(std::min<std::int64_t>(16, block.size())), large = sum(block.size());
    Network network{"as measured here", 0, 0, std::int64_t{1} << 40, 0, 0, ""};
    network.latency = small / (2 * std::ceil(std::log2(n)));
    const double bandwidth_seconds = std::max(1e-9, large - 2 * (n - 1) * network.latency);
    network.bandwidth = 2.0 * (n - 1) / n * static_cast<double>(block.bytes()) / bandwidth_seconds;
    return network;
  }

  /// A step in which all ranks together draw `rows`.
  Measured measure(const ScalingPlan& plan, std::int64_t rows) {
    Training training = endless(rows);
    training.wire = plan.wire;
    training.sharded = plan.sharded;
    UpdateRule& rule = rule_of(training.optimizer);
    rule.encoder_rate = rule.decoder_rate = 0;
    Measured measured;
    measure_stages(training, std::max<std::int64_t>(1, rows / communicator_.size()), measured);
    measure_training(training, communicator_, measured);
    return measured;
  }

  /// Seconds of a step of one rank alone while the others wait, over those of all at once, each
  /// with a model of its own.
  double measure_ensemble(std::int64_t rows) {
    const Training training = endless(rows);
    const std::unique_ptr<Communicator> alone = open_single();
    double one = std::numeric_limits<double>::infinity(), all = one;
    // In turns, so that whatever else the machine does falls on both.
    for (int turn = 0; turn < 3; ++turn) {
      Measured measured;
      if (communicator_.rank() == 0) measure_training(training, *alone, measured);
      communicator_.broadcast(&measured.step, sizeof measured.step, 0);
      one = std::min(one, measured.step);
      communicator_.barrier();
      measure_training(training, *alone, measured);
      communicator_.maximum(&measured.step, 1);
      all = std::min(all, measured.step);
    }
    return one / all;
  }

 private:
  Training endless(std::int64_t rows) const {
    Training training = make_training(run_, rows, run_.seed);
    training.epochs = 1 << 20;
    return training;
  }

  std::unique_ptr<Model> make_model(const Training& training, const Communicator& communicator) {
    const ModelSpec spec = make_spec(run_);
    auto model =
        std::make_unique<Model>(backend_, spec, resolve_precision(run_.precision, spec, backend_));
    model->upload(draw_parameters(spec, make_initialisation(run_), run_.seed));
    prepare_training(*model, training, communicator);
    return model;
  }

  void wait(const Buffer<float>& block) {
    float last;
    backend_.download(&last, block.data() + block.size() - 1, sizeof last);
  }

  // Seconds of `work`, begun by all ranks together.
  double time(const std::function<void()>& work) {
    communicator_.barrier();
    const Clock::time_point start = Clock::now();
    work();
    return since(start);
  }

  // Each stage begins when all ranks have done with the one before; the least of several, each as
  // long as its slowest rank takes.
  void measure_stages(const Training& training, std::int64_t rows, Measured& measured) {
    const std::unique_ptr<Model> held = make_model(training, communicator_);
    Model& model = *held;
    Buffer<float> points(backend_, 3 * rows), targets(backend_, rows);
    const Rows to{points.data(), rows, 3, rows}, values{targets.data(), rows, 1, rows};
    const Objective objective{training.loss, 1.0 / static_cast<double>(training.batch_size)};
    const std::vector<Range> shares = training.sharded
                                          ? shares_of(model.layout().size, communicator_.size())
                                          : std::vector<Range>{};
    // Of all ranks together hardly a parameter has no gradient.
    const std::vector<float> summed(static_cast<std::size_t>(model.layout().size), 1e-6f);
    const auto fill = [&] {
      backend_.upload(model.gradient().data(), summed.data(), model.gradient().bytes());
    };
    const auto rank = static_cast<std::uint32_t>(communicator_.rank());
    std::array<double, 4> least;
    least.fill(std::numeric_limits<double>::infinity());
    double total = 0;
    for (std::int64_t step = 1; step <= 4 || (total < seconds_ && step < 400); ++step) {
      const Stream stream =
          make_stream(run_.seed, rank, Purpose::samples, static_cast<std::uint64_t>(step));
      std::array<double, 4> took;
      took[0] = time([&] {
        backend_.sample(view_, box_, stream, 0, to, values);
        wait(targets);
      });
      took[1] = time([&] {
        backend_.gradient(model, {to.data, rows, 3, rows}, {values.data, rows, 1, rows}, objective,
                          [](Range) {});
        wait(model.gradient());
      });
      fill();
      took[2] = time([&] { sum(model, training, shares); });
      fill();
      took[3] = time([&] {
        backend_.gradient_changed(model);
        backend_.update(model, training.optimizer, step);
        wait(model.parameters());
      });
      communicator_.maximum(took.data(), took.size());
      for (std::size_t i = 0; i < took.size(); ++i) {
        least[i] = std::min(least[i], took[i]);
        total += took[i];
      }
    }
    std::tie(measured.sample, measured.gradient, measured.sum, measured.update) =
        std::tie(least[0], least[1], least[2], least[3]);
  }

  void sum(Model& model, const Training& training, const std::vector<Range>& shares) {
    float* gradient = model.gradient().data();
    for (std::int64_t end = model.layout().size; end > 0; end -= kBucketFloats) {
      const Range part{std::max<std::int64_t>(0, end - kBucketFloats), end};
      if (shares.empty())
        communicator_.begin_sum(gradient, part, training.wire);
      else
        communicator_.begin_scatter_sum(gradient, part, shares, training.wire);
    }
    communicator_.finish();
    if (!shares.empty()) communicator_.begin_gather(model.parameters().data(), shares);
    communicator_.finish();
    wait(model.gradient());
  }

  // The trainer's own steps, told apart by when it asks whether to stop.
  void measure_training(const Training& training, Communicator& communicator, Measured& measured) {
    const std::unique_ptr<Model> model = make_model(training, communicator);
    const int fewest = 8, most = 400;
    std::vector<double> times;
    const Clock::time_point start = Clock::now();
    Continuation continuation;
    continuation.stop = [&] {
      times.push_back(since(start));
      const auto steps = static_cast<int>(times.size());
      // Ranks end together where one wants to.
      return steps > most || (steps > fewest && times.back() > seconds_);
    };
    const History history = train(*model, view_, box_, training, communicator, {}, continuation);
    measured.step = std::numeric_limits<double>::infinity();
    const auto of_a_call =
        static_cast<double>(communicator.size() == 1 ? backend_.steps_per_call() : 1);
    for (std::size_t i = 1; i < times.size(); ++i)
      measured.step = std::min(measured.step, (times[i] - times[i - 1]) / of_a_call);
    measured.exposed = history.communication_seconds / static_cast<double>(times.size());
    communicator.maximum(&measured.step, 1);
    communicator.maximum(&measured.exposed, 1);
  }

  const Run& run_;
  const Volume& volume_;
  Backend& backend_;
  Communicator& communicator_;
  double seconds_;
  Box box_;
  VolumeView view_;
};

// How many times over the cores of this machine are given to its ranks' threads.
double crowding(const Communicator& communicator) {
  const double wanted = static_cast<double>(communicator.local_size()) * threads();
  return std::max(1.0, wanted / std::max(1u, std::thread::hardware_concurrency()));
}

void share(OneRank& one, Communicator& communicator) {
  const auto share_bytes = [&](auto& value) { communicator.broadcast(&value, sizeof value, 0); };
  share_bytes(one.rows);
  RankCosts& c = one.costs;
  for (Cost* cost : {&c.step, &c.sample, &c.decode, &c.scatter}) share_bytes(*cost);
  share_bytes(c.update);
  share_bytes(c.decoder);
  std::uint64_t levels = c.levels.size();
  share_bytes(levels);
  c.levels.resize(levels);
  if (levels > 0) communicator.broadcast(c.levels.data(), levels * sizeof c.levels[0], 0);
}

std::vector<std::string> row(const std::string& stage, double measured, double modelled) {
  return {stage, fixed(measured * 1e3, 3), fixed(modelled * 1e3, 3),
          modelled > 0 ? fixed(measured / modelled, 2) : ""};
}

// Prints one of weak and strong, and returns it.
Json compare(const Measured& m, const ScaledStep& model, const OneRank& one,
             const ScalingPlan& plan, double rows, double efficiency, bool shown) {
  const RankCosts& c = one.costs;
  const double n = static_cast<double>(model.ranks);
  const double update = c.update / (plan.sharded ? n : 1);
  const double gradient = c.decode.at(rows) + c.scatter.at(rows);
  const double exposed = model.latency + model.within + model.between;
  if (shown)
    std::cout << format_table({{"stage", "measured ms", "model ms", "measured / model"},
                               row("sample", m.sample, c.sample.at(rows)),
                               row("gradient", m.gradient, gradient),
                               row("sum over ranks, alone", m.sum, model.traffic),
                               row("update", m.update, update),
                               row("step", m.step, model.seconds),
                               row("of it waiting for sums", m.exposed, exposed)})
              << "efficiency: measured " << fixed(100 * efficiency, 1) << " %, model "
              << fixed(100 * model.efficiency, 1) << " %, bound by " << model.binding << "\n";
  return {{"sample_seconds", m.sample}, {"gradient_seconds", m.gradient},
          {"sum_seconds", m.sum},       {"update_seconds", m.update},
          {"step_seconds", m.step},     {"waiting_seconds", m.exposed},
          {"efficiency", efficiency},   {"model", to_json(model)}};
}

// Prints and returns what of `word` can be measured.
class Comparison {
 public:
  Comparison(const Run& run, const Volume& volume, Backend& backend, Communicator& communicator,
             double seconds)
      : run_(run),
        volume_(volume),
        communicator_(communicator),
        shown_(communicator.rank() == 0),
        rehearsal_(run, volume, backend, communicator, seconds) {
    together(communicator, [&] {
      if (shown_) one_ = measure_one_rank(run, volume, backend, seconds);
    });
    share(one_, communicator);
    rehearsal_.place();
    alone_ = one_.costs.step.at(static_cast<double>(one_.rows));
    crowded_ = crowding(communicator);
    RankCosts& costs = one_.costs;
    for (Cost* cost : {&costs.step, &costs.sample, &costs.decode, &costs.scatter})
      *cost = {cost->fixed * crowded_, cost->per_row * crowded_};
    costs.update *= crowded_;
    network_ = rehearsal_.probe(costs.floats());
  }

  void introduce(const Backend& backend) const {
    if (!shown_) return;
    std::cout << "\nrun " << run_.index << ", " << run_.dataset << ", " << run_.network_type
              << ", batch " << one_.rows << ": " << communicator_.size() << " ranks, "
              << communicator_.name() << ", " << backend.name() << ", one rank alone "
              << fixed(alone_ * 1e3, 3) << " ms a step\nsums: latency "
              << fixed(network_.latency * 1e6, 1) << " us, bandwidth " << bytes(network_.bandwidth)
              << "/s a rank"
              << (crowded_ > 1 ? "; threads on cores: " + fixed(crowded_, 2) + " to one" : "")
              << "\n";
  }

  void add(const std::string& word, Json& rows) {
    const ScalingPlan plan = plan_of(word, run_, volume_);
    if (plan.mode == "ensemble") {
      const double ratio = rehearsal_.measure_ensemble(one_.rows);
      if (shown_)
        std::cout << "\nensemble, weak: a rank alone over all at once " << fixed(ratio, 3) << "\n";
      rows.push_back({{"decomposition", word}, {"weak_ratio", ratio}});
    }
    if (plan.mode != "shared" || !plan.overlapped) return;
    for (const Scaling scaling : {Scaling::weak, Scaling::strong}) {
      const bool weak = scaling == Scaling::weak;
      if (shown_) std::cout << "\n" << word << (weak ? ", weak\n" : ", strong\n");
      rows.push_back({{"decomposition", word},
                      {"scaling", weak ? "weak" : "strong"},
                      {"measured", add(plan, scaling)}});
    }
  }

  Json summary() const {
    return {{"ranks", communicator_.size()},
            {"communicator", communicator_.name()},
            {"threads_per_core", crowded_},
            {"latency_seconds", network_.latency},
            {"bandwidth_bytes_per_second", network_.bandwidth},
            {"one_rank", to_json(one_)}};
  }

 private:
  Json add(const ScalingPlan& plan, Scaling scaling) {
    const std::int64_t n = communicator_.size();
    const bool weak = scaling == Scaling::weak;
    const std::int64_t all = weak ? n * one_.rows : one_.rows;
    const Measured measured = rehearsal_.measure(plan, all);
    const ScaledStep model = scale_step(one_.costs, plan, network_, scaling, one_.rows, n);
    const double efficiency =
        alone_ * crowded_ / measured.step / (weak ? 1.0 : static_cast<double>(n));
    const double rows = static_cast<double>(all) / static_cast<double>(n);
    return compare(measured, model, one_, plan, rows, efficiency, shown_);
  }

  const Run& run_;
  const Volume& volume_;
  Communicator& communicator_;
  bool shown_;
  Rehearsal rehearsal_;
  OneRank one_;
  double alone_ = 0, crowded_ = 1;
  Network network_;
};

}  // namespace

Json report_measured(const Run& run, const Volume& volume, Backend& backend,
                     Communicator& communicator, double seconds, const ScalingOptions& options) {
  if (communicator.size() == 1)
    throw Error(
        "--measured: one process was started: use mpirun -n 2 kanbench perf --scaling "
        "--measured ..., or leave --measured out");
  Comparison comparison(run, volume, backend, communicator, seconds);
  comparison.introduce(backend);
  Json rows = Json::array();
  for (const std::string& word : options.decompositions) comparison.add(word, rows);
  Json report = {{"run_index", run.index},
                 {"dataset", run.dataset},
                 {"network_type", run.network_type},
                 {"device", backend.name()}};
  report.update(comparison.summary());
  report["measured"] = rows;
  return report;
}

}  // namespace kanbench
