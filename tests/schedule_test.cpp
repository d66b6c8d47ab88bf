// Learning rates: each schedule's closed form, and that a training's steps take them.

#include "kanbench/schedule.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "kanbench/recipe.h"
#include "kanbench/trainer.h"
#include "training_support.h"
#include "wrapped_backend.h"

namespace kanbench {
namespace {

using test::small_run;
using test::smooth_volume;

double factor(const Schedule& schedule, int epoch, double epochs, double warmup = 0) {
  const ScheduleSettings settings{schedule, 6, 0.25, warmup};
  return rate_factor(settings, {epoch, epochs, 0.1, epochs, 20}, {});
}

TEST(Schedule, HasItsClosedForm) {
  for (double epochs : {0.0, 0.7, 5.9, 6.0, 13.5, 15.0, 17.5, 19.9}) {
    const int epoch = static_cast<int>(epochs), steps = epoch / 6;
    const double line = std::min(1.0, std::max(0.01, (20 - epochs) / 5));
    EXPECT_NEAR(factor(schedule::Default{}, epoch, epochs), std::pow(0.5, steps) * line, 1e-12);
    EXPECT_EQ(factor(schedule::Constant{}, epoch, epochs), 1);
    EXPECT_NEAR(factor(schedule::Step{0.3}, epoch, epochs), std::pow(0.3, steps), 1e-12);
    EXPECT_NEAR(factor(schedule::Exponential{0.8}, epoch, epochs), std::pow(0.8, epochs), 1e-12);
    const double angle = 3.141592653589793 * epochs / 20;
    EXPECT_NEAR(factor(schedule::Cosine{0.1}, epoch, epochs),
                0.1 + 0.9 * std::pow(std::cos(angle / 2), 2), 1e-12);
  }
}

TEST(Schedule, WarmsUpOnALine) {
  EXPECT_NEAR(factor(schedule::Constant{}, 0, 0, 2.5), 0.1 / 2.5, 1e-12);
  EXPECT_NEAR(factor(schedule::Constant{}, 1, 1.4, 2.5), 1.5 / 2.5, 1e-12);
  EXPECT_EQ(factor(schedule::Constant{}, 2, 2.4, 2.5), 1);
  EXPECT_NEAR(factor(schedule::Exponential{0.5}, 1, 1, 2.2), 0.5 * 0.5, 1e-12);
}

TEST(Schedule, PlateauWaitsForEpochsThatAreNoBetter) {
  const schedule::Plateau plateau{0.5, 2};
  PlateauState state;
  std::vector<int> reductions;
  const double nan = std::numeric_limits<double>::quiet_NaN();
  for (double loss : {1.0, 0.5, 0.49999, 0.4, 0.4, 0.41, 0.41, nan, 0.1, 0.2}) {
    note_epoch(plateau, loss, state);
    reductions.push_back(state.reductions);
  }
  EXPECT_EQ(reductions, (std::vector<int>{0, 0, 0, 0, 0, 1, 1, 2, 2, 2}));
  const ScheduleSettings settings{plateau, 0, 0, 0};
  EXPECT_EQ(rate_factor(settings, {}, state), 0.25);
}

// Keeps the rates that it is given.
class Recording : public test::Wrapped {
 public:
  std::vector<float> encoder, decoder;
  BatchSums gradient(Model& m, ConstRows p, ConstRows t, const Objective& o,
                     const Ready& ready) override {
    BatchSums sums = inner->gradient(m, p, t, o, ready);
    if (++begun_ > stall_) sums.loss = 100;
    return sums;
  }
  bool update(Model& m, const Optimizer& o, std::int64_t t) override {
    encoder.push_back(rule_of(o).encoder_rate);
    decoder.push_back(rule_of(o).decoder_rate);
    return inner->update(m, o, t);
  }
  void stall_after(int steps) { stall_ = steps; }

 private:
  int begun_ = 0, stall_ = 1 << 30;
};

// 30 steps an epoch.
History run(Recording& backend, const Training& training, const Continuation& continuation = {}) {
  const Volume volume = smooth_volume();
  const auto alone = open_single();
  Model model(backend, make_spec(small_run()));
  model.upload(draw_parameters(model.spec(), make_initialisation(small_run()), 1));
  return train(model, volume.view(), whole(volume.shape), training, *alone, {}, continuation);
}

TEST(TrainingRates, FollowTheSchedule) {
  Training training = make_training(small_run(), 256, 1);
  training.epochs = 3;
  training.schedule = schedule::Cosine{};
  training.warmup = 0.5;
  training.decoder_rate = 0.5;
  Recording backend;
  run(backend, training);
  ASSERT_EQ(backend.encoder.size(), 90u);
  for (int i = 0; i < 90; ++i) {
    const double want =
        1e-2 * std::min(1.0, (i + 1) / 15.0) * (1 + std::cos(3.141592653589793 * i / 90)) / 2;
    EXPECT_NEAR(backend.encoder[i], want, 1e-9) << i;
    EXPECT_NEAR(backend.decoder[i], want / 2, 1e-9) << i;
  }
}

TEST(TrainingRates, FallOnAPlateau) {
  Training training = make_training(small_run(), 256, 1);
  training.epochs = 6;
  training.schedule = schedule::Plateau{0.1, 2};
  Recording backend;
  backend.stall_after(30);
  run(backend, training);
  for (int epoch = 0; epoch < 6; ++epoch)
    EXPECT_NEAR(backend.encoder[30 * epoch],
                epoch < 3   ? 1e-2
                : epoch < 5 ? 1e-3
                            : 1e-4,
                1e-8)
        << epoch;
}

TEST(TrainingTime, EndsTrainingAndCarriesItsSchedule) {
  Training training = make_training(small_run(), 256, 1);
  training.epochs = 2;
  training.seconds = 0.15;
  training.schedule = schedule::Cosine{};
  Recording backend;
  const History history = run(backend, training);
  EXPECT_GE(history.seconds, 0.15);
  EXPECT_LT(history.seconds, 1);
  std::int64_t samples = 0;
  for (const Epoch& epoch : history.epochs) samples += epoch.samples;
  EXPECT_EQ(samples, 256 * static_cast<std::int64_t>(backend.encoder.size()));
  EXPECT_EQ(history.epochs.size(), (backend.encoder.size() + 29) / 30);
  EXPECT_TRUE(std::is_sorted(backend.encoder.rbegin(), backend.encoder.rend()));
  EXPECT_EQ(backend.encoder.front(), 1e-2f);
  EXPECT_LT(backend.encoder.back(), 5e-3f);
}

TEST(TrainingTime, GoesOnWhereItWasLeft) {
  Training training = make_training(small_run(), 256, 1);
  training.seconds = 0.2;
  Recording first, second;
  Continuation continuation;
  TrainingState saved;
  int asked = 0;
  continuation.stop = [&] { return ++asked == 5; };
  continuation.save = [&](const TrainingState& state) { saved = state; };
  EXPECT_TRUE(run(first, training, continuation).interrupted);
  EXPECT_FALSE(saved.finished);
  // As if most of the time had gone by before.
  saved.history.seconds = 0.19;
  continuation.from = saved;
  continuation.stop = {};
  const History history = run(second, training, continuation);
  EXPECT_TRUE(saved.finished);
  EXPECT_GE(history.seconds, 0.2);
  EXPECT_LT(history.seconds, 0.4);
}

}  // namespace
}  // namespace kanbench
