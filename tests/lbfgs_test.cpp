// L-BFGS on functions whose minima are known, and on a small decoder beside Adam.

#include "lbfgs.h"

#include <gtest/gtest.h>

#include <cmath>

#include "kanbench/metrics.h"
#include "kanbench/recipe.h"
#include "kanbench/trainer.h"
#include "support.h"
#include "training_support.h"

namespace kanbench {
namespace {

using Vector = std::vector<double>;

double rosenbrock(const Vector& x, Vector& g) {
  double value = 0;
  std::fill(g.begin(), g.end(), 0.0);
  for (std::size_t i = 0; i + 1 < x.size(); ++i) {
    const double a = x[i + 1] - x[i] * x[i], b = 1 - x[i];
    value += 100 * a * a + b * b;
    g[i] += -400 * a * x[i] - 2 * b;
    g[i + 1] += 200 * a;
  }
  return value;
}

TEST(Lbfgs, FindsTheValleyOfRosenbrock) {
  for (std::size_t size : {2, 10}) {
    Vector x(size, -1.2);
    const LbfgsResult result = minimise(rosenbrock, {10, 200, 1}, x);
    EXPECT_LT(result.value, 1e-12) << size;
    EXPECT_LE(result.evaluations, 200);
    for (const double number : x) EXPECT_NEAR(number, 1, 1e-5);
  }
}

TEST(Lbfgs, SolvesAQuadraticInAboutAsManyStepsAsItHasNumbers) {
  const auto quadratic = [](const Vector& x, Vector& g) {
    double value = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
      const double stiff = std::pow(10.0, static_cast<double>(i));
      g[i] = stiff * (x[i] - 2);
      value += g[i] * (x[i] - 2) / 2;
    }
    return value;
  };
  Vector x(5, 0);
  EXPECT_LT(minimise(quadratic, {10, 60, 0.1}, x).value, 1e-12);
}

TEST(Lbfgs, KeepsAwayFromWhatIsNotFiniteAndStaysWhereItIs) {
  // Defined above 0 alone.
  const auto barrier = [](const Vector& x, Vector& g) {
    g[0] = x[0] > 0 ? 1 - 1 / x[0] : NAN;
    return x[0] > 0 ? x[0] - std::log(x[0]) : NAN;
  };
  Vector x{5};
  minimise(barrier, {10, 60, 100}, x);
  EXPECT_NEAR(x[0], 1, 1e-6);
  x = {-1};
  const LbfgsResult result = minimise(barrier, {10, 60, 1}, x);
  EXPECT_TRUE(std::isnan(result.value));
  EXPECT_EQ(result.evaluations, 1);
  EXPECT_EQ(x[0], -1);
}

Training small_training(bool lbfgs) {
  Run run = test::small_run();
  run.encoder = "identity";
  // An epoch of L-BFGS is one batch, looked at as often as Adam's is in eight.
  run.epochs = lbfgs ? 5 : 40;
  run.lrate_decay = 0;
  run.loss = "mse";
  Training training = make_training(run, 2048, 1);
  training.lbfgs = lbfgs;
  return training;
}

History run(Model& model, const Training& training, const Continuation& continuation = {}) {
  const Volume volume = test::smooth_volume();
  const auto alone = open_single();
  return train(model, volume.view(), whole(volume.shape), training, *alone, {}, continuation);
}

Model small_model(Backend& backend) {
  Run run = test::small_run();
  run.encoder = "identity";
  Model model(backend, make_spec(run));
  model.upload(draw_parameters(model.spec(), make_initialisation(run), 1));
  return model;
}

// Mean square over the volume.
double error_of(const Model& model) {
  const Volume volume = test::smooth_volume();
  const auto count = static_cast<std::size_t>(volume.shape.count());
  std::vector<float> decoded(count), original(count);
  model.backend().decode(model, {volume.shape, whole(volume.shape)}, {decoded.data()});
  normalise(volume.view(), 0, volume.shape.count(), original.data());
  double squares = 0;
  for (std::size_t i = 0; i < count; ++i)
    squares += std::pow(static_cast<double>(decoded[i]) - original[i], 2);
  return squares / static_cast<double>(count);
}

TEST(Lbfgs, BringsASmallDecoderFurtherThanAdamInAsManyEvaluations) {
  const auto backend = open_cpu();
  Model by_adam = small_model(*backend), by_lbfgs = small_model(*backend);
  const History adam = run(by_adam, small_training(false));
  const History lbfgs = run(by_lbfgs, small_training(true));
  const auto samples = [](const History& history) {
    std::int64_t all = 0;
    for (const Epoch& epoch : history.epochs) all += epoch.samples;
    return all;
  };
  EXPECT_EQ(samples(lbfgs), samples(adam));
  EXPECT_LT(error_of(by_lbfgs), 0.8 * error_of(by_adam));
}

TEST(Lbfgs, RefusesWhatItCannotDo) {
  const auto backend = open_cpu();
  kanbench::Run large = test::small_run();
  large.log2_hashmap_size = 17;
  large.base_resolution = 51;
  Model model(*backend, make_spec(large));
  const std::string message = test::message_of<Error>([&] { run(model, small_training(true)); });
  EXPECT_NE(message.find("optimizer lbfgs: the model has"), std::string::npos) << message;
}

}  // namespace
}  // namespace kanbench
