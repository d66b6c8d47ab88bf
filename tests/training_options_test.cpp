// A run's training options: from the file to the training, into the row, and what is refused.

#include "kanbench/training_options.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "kanbench/recipe.h"
#include "kanbench/result.h"
#include "run_support.h"
#include "support.h"

namespace kanbench {
namespace {

using test::file_with;

std::vector<Run> read(const std::string& members) {
  return parse_runs(file_with(members), "p.json", {"mlp"});
}
Run one(const std::string& members) { return read(members).at(0); }
Training training_of(const std::string& members) { return make_training(one(members), 256, 1); }

TEST(TrainingOptions, ReachTheTraining) {
  EXPECT_EQ(
      std::get<loss::Huber>(training_of(R"({"loss": "huber", "loss_delta": 0.05})").loss).delta,
      0.05f);
  EXPECT_EQ(std::get<loss::Huber>(training_of(R"({"loss": "huber"})").loss).delta, 0.01f);
  EXPECT_EQ(std::get<loss::RelativeL1>(
                training_of(R"({"loss": "relative_l1", "loss_epsilon": 0.2})").loss)
                .epsilon,
            0.2f);
  EXPECT_TRUE(
      std::holds_alternative<loss::RelativeL2>(training_of(R"({"loss": "relative_l2"})").loss));
  const Training adam = training_of("{}");
  EXPECT_EQ(std::get<Adam>(adam.optimizer).beta1, Adam{}.beta1);
  EXPECT_EQ(std::get<Adam>(adam.optimizer).beta2, Adam{}.beta2);
  EXPECT_EQ(std::get<Adam>(adam.optimizer).epsilon, Adam{}.epsilon);
  const auto lion = std::get<Lion>(
      training_of(R"({"optimizer": "lion", "beta1": 0.8, "weight_decay": 0.3})").optimizer);
  EXPECT_EQ(lion.beta1, 0.8f);
  EXPECT_EQ(lion.beta2, 0.99f);
  EXPECT_EQ(lion.weight_decay, 0.3f);
  const auto sgd =
      std::get<Sgd>(training_of(R"({"optimizer": "sgd", "nesterov": true})").optimizer);
  EXPECT_EQ(sgd.momentum, 0.9f);
  EXPECT_TRUE(sgd.nesterov);
  EXPECT_EQ(std::get<AdamW>(training_of(R"({"optimizer": "adamw"})").optimizer).weight_decay,
            0.01f);
  const Training all = training_of(R"({"schedule": "plateau", "patience": 5, "decay_factor": 0.25,
      "warmup": 0.5, "clip_gradient": 2, "l1_edges": 0.125, "entropy_edges": 0.25,
      "train_limit_seconds": 7, "lrate_decay": 0})");
  EXPECT_EQ(std::get<schedule::Plateau>(all.schedule).patience, 5);
  EXPECT_EQ(std::get<schedule::Plateau>(all.schedule).factor, 0.25);
  EXPECT_EQ(all.warmup, 0.5);
  EXPECT_EQ(rule_of(all.optimizer).largest_norm, 2);
  EXPECT_EQ(all.edges.l1, 0.125f);
  EXPECT_EQ(all.edges.entropy, 0.25f);
  EXPECT_EQ(all.seconds, 7);
}

TEST(TrainingOptions, AreSweptLikeAllOthers) {
  const auto runs =
      read(R"({"optimizer": {"values": ["adam", "adamw"]}, "clip_gradient": [0, 2]})");
  EXPECT_EQ(runs.size(), 3u * 2);
  for (const auto& run : select_runs(runs, {}, {}))
    EXPECT_EQ(training_option(run, "weight_decay").has_value(), run.training.optimizer == "adamw");
}

TEST(TrainingOptions, ThatSayWhatIsSoAnywayDoNotNameARunAnew) {
  const auto plain_run = one("{}");
  const auto same = one(R"({"optimizer": "adam", "schedule": "default", "beta1": 0.9,
      "beta2": 0.999, "epsilon": 1e-9, "warmup": 0, "clip_gradient": 0, "l1_edges": 0,
      "entropy_edges": 0, "train_limit_seconds": 0})");
  EXPECT_EQ(to_json(same), to_json(plain_run));
}

TEST(TrainingOptions, ComeBackFromTheRunsJsonAndNameItAnew) {
  std::vector<std::string> ids{run_id(one("{}"), "v")};
  for (const char* members :
       {R"({"optimizer": "lion"})", R"({"optimizer": "adamw", "weight_decay": 0.5})",
        R"({"optimizer": "sgd", "momentum": 0.5, "nesterov": true})", R"({"beta1": 0.5})",
        R"({"schedule": "cosine", "lrate_decay": 0, "final_lrate": 0.5})",
        R"({"schedule": "plateau", "lrate_decay": 0, "patience": 4})",
        R"({"schedule": "exponential", "lrate_decay": 0, "decay_factor": 0.8})",
        R"({"warmup": 0.5})", R"({"loss": "huber", "loss_delta": 0.1})", R"({"clip_gradient": 1})",
        R"({"l1_edges": 0.1})", R"({"entropy_edges": 0.1})", R"({"train_limit_seconds": 9})"}) {
    const auto run = one(members);
    check_training(run);
    const nlohmann::json file{{"nucleon", nlohmann::json::parse(to_json(run))}};
    const auto again = parse_runs(file.dump(), "again");
    ASSERT_EQ(again.size(), 1u) << members;
    EXPECT_EQ(to_json(again[0]), to_json(run));
    ids.push_back(run_id(run, "v"));
  }
  std::sort(ids.begin(), ids.end());
  EXPECT_EQ(std::unique(ids.begin(), ids.end()), ids.end());
}

TEST(TrainingOptions, OfNoUseAreRefused) {
  for (const auto& [members, sentence] : std::vector<std::pair<std::string, std::string>>{
           {R"({"momentum": 0.5})",
            "run 0: momentum is of no use with optimizer adam: leave it out, or use optimizer sgd"},
           {R"({"optimizer": "sgd", "beta2": 0.5})",
            "beta2 is of no use with optimizer sgd: leave it out, or use optimizer adam, adamw or "
            "lion"},
           {R"({"loss_delta": 0.5})",
            "loss_delta is of no use with loss l1: leave it out, or use "
            "loss huber"},
           {R"({"patience": 2})", "or use schedule plateau"},
           {R"({"schedule": "cosine", "lrate_decay": 5})",
            "lrate_decay is of no use with schedule cosine: write 0, or use schedule default or "
            "step"},
           {R"({"schedule": "step", "lrate_decay": 0})", "lrate_decay is 0, schedule step needs"},
           {R"({"optimizer": "sgd", "momentum": 0, "nesterov": true})",
            "nesterov is of no use with momentum 0"},
           {R"({"train_limit_seconds": 3, "decomposition": {"mode": "ensemble"}})",
            "train_limit_seconds is of no use with --decomposition ensemble"}}) {
    const std::string message =
        test::message_of<Error>([&, &text = members] { select_runs(read(text), {}, {}); });
    EXPECT_NE(message.find(sentence), std::string::npos) << members << ": " << message;
  }
}

TEST(TrainingOptions, OutOfBoundsAreRefused) {
  for (const char* members :
       {R"({"optimizer": "adagrad"})", R"({"beta1": 1})", R"({"warmup": -1})",
        R"({"clip_gradient": -1})", R"({"schedule": "linear"})", R"({"loss_delta": 0})",
        R"({"nesterov": 1})", R"({"patience": 0.5})", R"({"decay_factor": 1.5})"}) {
    const std::string message = test::message_of<Error>([&] { read(members); });
    EXPECT_NE(message.find("p.json: nucleon."), std::string::npos) << members << ": " << message;
    EXPECT_NE(message.find("must be"), std::string::npos) << members << ": " << message;
  }
}

TEST(TrainingOptions, StandInTheRow) {
  Result result;
  result.run = one(R"({"optimizer": "lion", "weight_decay": 0.3, "warmup": 1.5})");
  const auto line = nlohmann::json::parse(json_line(result))["row"];
  EXPECT_EQ(line["optimizer"], "lion");
  EXPECT_EQ(line["schedule"], "default");
  EXPECT_EQ(line["weight_decay"], 0.3);
  EXPECT_EQ(line["beta2"], 0.99);
  EXPECT_TRUE(line["momentum"].is_null());
  EXPECT_EQ(line["warmup"], 1.5);
  EXPECT_EQ(line["train_limit_seconds"], 0);
}

}  // namespace
}  // namespace kanbench
