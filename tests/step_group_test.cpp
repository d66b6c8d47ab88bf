// Training hands steps over in groups: what is learnt and how it comes back from numbers that are
// not finite must be as step by step.

#include <cmath>
#include <limits>
#include <memory>
#include <vector>

#include "kanbench/recipe.h"
#include "kanbench/trainer.h"
#include "support.h"
#include "wrapped_backend.h"

namespace kanbench {
namespace {

Volume ramp() {
  const Shape shape{20, 18, 16};
  auto voxels = std::make_shared<std::vector<float>>();
  for (std::int64_t i = 0; i < shape.count(); ++i)
    voxels->push_back(std::sin(0.01f * static_cast<float>(i)));
  return Volume("ramp", shape, Dtype::float32, std::shared_ptr<const void>(voxels, voxels->data()),
                "a test");
}

// Takes `at_once` steps a call; step `fault` (from 1, counted over all that were begun) is spoilt.
class Grouped : public test::Wrapped {
 public:
  Grouped(int at_once, int fault) : at_once_(at_once), fault_(fault) {}

  std::vector<std::size_t> groups;
  std::vector<float> rates;

  int steps_per_call() const override { return at_once_; }
  std::vector<BatchSums> train(Model& model, const VolumeView& volume, const Box& box,
                               const Objective& objective, std::span<const TrainingStep> steps,
                               Rows points, Rows targets) override {
    groups.push_back(steps.size());
    return Backend::train(model, volume, box, objective, steps, points, targets);
  }
  BatchSums gradient(Model& m, ConstRows p, ConstRows t, const Objective& o,
                     const Ready& ready) override {
    BatchSums sums = inner->gradient(m, p, t, o, ready);
    if (++begun_ == fault_) sums.loss = std::numeric_limits<double>::infinity();
    return sums;
  }
  bool update(Model& m, const Optimizer& o, std::int64_t t) override {
    rates.push_back(rule_of(o).encoder_rate);
    return inner->update(m, o, t);
  }

 private:
  int at_once_, fault_, begun_ = 0;
};

struct Outcome {
  std::vector<float> parameters, rates;
  std::vector<std::size_t> groups;
  History history;
};

Outcome train_grouped(int at_once, int fault, std::int64_t batch) {
  const Volume volume = ramp();
  kanbench::Run run;
  run.network_type = "mlp";
  run.lrate = 1e-2;
  run.lrate_decay = 2;
  run.epochs = 4;
  run.n_neurons = 8;
  run.n_hidden_layers = 1;
  run.n_levels = 2;
  run.n_features_per_level = 2;
  run.per_level_scale = 1.5;
  run.log2_hashmap_size = 10;
  run.base_resolution = 6;
  Grouped backend(at_once, fault);
  const auto alone = open_single();
  Model model(backend, make_spec(run));
  model.upload(draw_parameters(model.spec(), make_initialisation(run), 3));
  Outcome outcome;
  outcome.history =
      train(model, volume.view(), whole(volume.shape), make_training(run, batch, 3), *alone);
  outcome.parameters = model.download();
  outcome.rates = backend.rates;
  outcome.groups = backend.groups;
  return outcome;
}

TEST(StepGroups, LearnWhatSingleStepsLearn) {
  constexpr std::int64_t batch = 100;
  for (const int fault : {0, 1, 75}) {
    const Outcome single = train_grouped(1, fault, batch);
    for (const int at_once : {7, 1000}) {
      const Outcome group = train_grouped(at_once, fault, batch);
      const std::string where =
          std::to_string(at_once) + " at once, fault " + std::to_string(fault);
      EXPECT_EQ(group.parameters, single.parameters) << where;
      EXPECT_EQ(group.rates, single.rates) << where;
      ASSERT_EQ(group.history.recoveries.size(), fault ? 1u : 0u) << where;
      if (fault) {
        EXPECT_EQ(group.history.recoveries[0].step, fault - 1) << where;
        EXPECT_EQ(single.history.recoveries[0].step, fault - 1) << where;
      }
      for (std::size_t e = 0; e < single.history.epochs.size(); ++e) {
        EXPECT_EQ(group.history.epochs[e].samples, single.history.epochs[e].samples) << where;
        EXPECT_EQ(group.history.epochs[e].loss, single.history.epochs[e].loss) << where;
      }
      EXPECT_LT(group.groups.size(), single.groups.size()) << where;
    }
  }
}

TEST(StepGroups, EndWithTheEpochAndWhereACopyIsTaken) {
  // Epochs are of 58 steps; a copy is due 64 steps after the last.
  EXPECT_EQ(train_grouped(1000, 0, 100).groups,
            (std::vector<std::size_t>{58, 6, 52, 12, 46, 18, 40}));
  EXPECT_EQ(train_grouped(30, 0, 100).groups,
            (std::vector<std::size_t>{30, 28, 6, 30, 22, 12, 30, 16, 18, 30, 10}));
}

}  // namespace
}  // namespace kanbench
