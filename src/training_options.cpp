#include "kanbench/training_options.h"

#include <algorithm>

#include "kanbench/error.h"
#include "kanbench/run.h"
#include "run_key.h"

namespace kanbench {
namespace {

using Options = TrainingOptions;

std::vector<TrainingOption> make_options() {
  using Kind = TrainingOption::Kind;
  const auto of = [](std::string chooser, std::vector<std::string> words) {
    return std::pair(std::move(chooser), std::move(words));
  };
  std::vector<TrainingOption> all;
  const auto add = [&](const char* key, std::optional<double> Options::*member, auto whose,
                       double fallback, Kind kind = Kind::real) {
    all.push_back({key, member, whose.first, whose.second, fallback, kind});
  };
  const auto always = of("", {});
  add("beta1", &Options::beta1, of("optimizer", {"adam", "adamw", "lion"}), 0.9);
  add("beta2", &Options::beta2, of("optimizer", {"adam", "adamw"}), 0.999);
  add("beta2", &Options::beta2, of("optimizer", {"lion"}), 0.99);
  add("epsilon", &Options::epsilon, of("optimizer", {"adam", "adamw"}), 1e-9);
  add("weight_decay", &Options::weight_decay, of("optimizer", {"adamw"}), 0.01);
  add("weight_decay", &Options::weight_decay, of("optimizer", {"lion"}), 0);
  add("momentum", &Options::momentum, of("optimizer", {"sgd"}), 0.9);
  add("nesterov", &Options::nesterov, of("optimizer", {"sgd"}), 0, Kind::flag);
  add("decay_factor", &Options::decay_factor, of("schedule", {"step", "plateau"}), 0.5);
  add("decay_factor", &Options::decay_factor, of("schedule", {"exponential"}), 0.9);
  add("final_lrate", &Options::final_lrate, of("schedule", {"cosine"}), 0);
  add("patience", &Options::patience, of("schedule", {"plateau"}), 3, Kind::whole);
  add("warmup", &Options::warmup, always, 0);
  add("loss_delta", &Options::loss_delta, of("loss", {"huber"}), 0.01);
  add("loss_epsilon", &Options::loss_epsilon, of("loss", {"relative_l1", "relative_l2"}), 0.01);
  add("clip_gradient", &Options::clip_gradient, always, 0);
  add("l1_edges", &Options::l1_edges, always, 0);
  add("entropy_edges", &Options::entropy_edges, always, 0);
  add("sampling_bricks", &Options::sampling_bricks, of("sampling", {"error"}), 8, Kind::whole);
  add("sampling_mix", &Options::sampling_mix, of("sampling", {"error"}), 0.5);
  add("train_limit_seconds", &Options::train_limit_seconds, always, 0);
  return all;
}

bool counts(const TrainingOption& option, const Run& run) {
  if (option.chooser.empty()) return true;
  const auto& words = option.words;
  return std::find(words.begin(), words.end(), training_word(run, option.chooser)) != words.end();
}

[[noreturn]] void refuse(const Run& run, const std::string& what) {
  throw Error("run " + std::to_string(run.index) + ": " + what);
}

// All words of a chooser with which `key` counts.
std::vector<std::string> words_of(const std::string& key) {
  std::vector<std::string> words;
  for (const TrainingOption& option : training_options())
    if (option.key == key) words.insert(words.end(), option.words.begin(), option.words.end());
  return words;
}

void check_numbers(const Run& run) {
  for (const TrainingOption& option : training_options()) {
    if (!(run.training.*option.member) || training_option(run, option.key)) continue;
    refuse(run, option.key + std::string(" is of no use with ") + option.chooser + " " +
                    training_word(run, option.chooser) + ": leave it out, or use " +
                    option.chooser + " " + either(words_of(option.key)));
  }
}

// What depends on one batch's gradient or goes by the step has no meaning where a batch is gone
// down on.
void check_lbfgs(const Run& run) {
  if (run.training.optimizer != "lbfgs") return;
  const auto none = [&](bool set, const std::string& what) {
    if (set)
      refuse(run,
             what + " is of no use with optimizer lbfgs: leave it out, or use another optimizer");
  };
  for (const char* key : {"clip_gradient", "l1_edges", "entropy_edges"})
    none(*training_option(run, key) > 0, key);
  none(run.training.sampling != "uniform", "sampling " + run.training.sampling);
  none(run.decomposition.mode != "shared", "--decomposition " + run.decomposition.mode);
}

}  // namespace

std::span<const TrainingOption> training_options() {
  static const std::vector<TrainingOption> all = make_options();
  return all;
}

const std::string& training_word(const Run& run, const std::string& chooser) {
  if (chooser == "optimizer") return run.training.optimizer;
  if (chooser == "sampling") return run.training.sampling;
  return chooser == "schedule" ? run.training.schedule : run.loss;
}

std::optional<double> training_option(const Run& run, const std::string& key) {
  for (const TrainingOption& option : training_options())
    if (option.key == key && counts(option, run))
      return (run.training.*option.member).value_or(option.fallback);
  return {};
}

void check_training(const Run& run) {
  check_numbers(run);
  const std::string& schedule = run.training.schedule;
  const bool steps = schedule == "default" || schedule == "step";
  if (!steps && run.lrate_decay > 0)
    refuse(run, "lrate_decay is of no use with schedule " + schedule +
                    ": write 0, or use schedule default or step");
  if (schedule == "step" && run.lrate_decay == 0)
    refuse(run, "lrate_decay is 0, schedule step needs the epochs between its steps, at least 1");
  if (training_option(run, "nesterov").value_or(0) > 0 && training_option(run, "momentum") == 0.0)
    refuse(run, "nesterov is of no use with momentum 0: leave it out, or use a momentum above 0");
  check_lbfgs(run);
  if (run.training.sampling == "error" && run.decomposition.mode == "hybrid")
    refuse(run,
           "sampling error is of no use with --decomposition hybrid: leave it out, or use "
           "--decomposition shared or ensemble");
  if (training_option(run, "train_limit_seconds") > 0.0 && run.decomposition.mode == "ensemble")
    refuse(run,
           "train_limit_seconds is of no use with --decomposition ensemble, whose bricks train one "
           "after the other: leave it out, or use --decomposition shared or hybrid");
}

Loss make_loss(const Run& run) {
  const auto number = [&](const char* key) {
    return static_cast<float>(*training_option(run, key));
  };
  if (run.loss == "mse") return loss::Mse{};
  if (run.loss == "huber") return loss::Huber{number("loss_delta")};
  if (run.loss == "relative_l1") return loss::RelativeL1{number("loss_epsilon")};
  if (run.loss == "relative_l2") return loss::RelativeL2{number("loss_epsilon")};
  return loss::L1{};
}

Optimizer make_optimizer(const Run& run) {
  const auto number = [&](const char* key) {
    return static_cast<float>(*training_option(run, key));
  };
  const std::string& name = run.training.optimizer;
  if (name == "adamw")
    return AdamW{{}, number("beta1"), number("beta2"), number("epsilon"), number("weight_decay")};
  if (name == "lion") return Lion{{}, number("beta1"), number("beta2"), number("weight_decay")};
  if (name == "sgd") return Sgd{{}, number("momentum"), number("nesterov") > 0};
  if (name == "lbfgs") return Sgd{};
  return Adam{{}, number("beta1"), number("beta2"), number("epsilon")};
}

Schedule make_schedule(const Run& run) {
  const auto number = [&](const char* key) { return *training_option(run, key); };
  const std::string& name = run.training.schedule;
  if (name == "constant") return schedule::Constant{};
  if (name == "step") return schedule::Step{number("decay_factor")};
  if (name == "cosine") return schedule::Cosine{number("final_lrate")};
  if (name == "exponential") return schedule::Exponential{number("decay_factor")};
  if (name == "plateau")
    return schedule::Plateau{number("decay_factor"), static_cast<int>(number("patience"))};
  return schedule::Default{};
}

}  // namespace kanbench
