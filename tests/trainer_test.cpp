// Training: what it learns, that it repeats itself to the bit, and that it comes back from numbers
// that are not finite.

#include "kanbench/trainer.h"

#include <atomic>
#include <cmath>
#include <cstring>
#include <memory>
#include <vector>

#include "kanbench/metrics.h"
#include "kanbench/parallel.h"
#include "kanbench/recipe.h"
#include "support.h"
#include "training_support.h"
#include "wrapped_backend.h"

namespace kanbench {
namespace {

using test::small_run;
using test::smooth_volume;

struct Outcome {
  std::vector<float> parameters;
  History history;
  double psnr = 0;
};

Outcome train_run(const Run& run, const Volume& volume, Training training,
                  const std::string& instruction_set = "") {
  const auto backend = open_cpu(instruction_set);
  const auto alone = open_single();
  const ModelSpec spec = make_spec(run);
  Model model(*backend, spec);
  model.upload(draw_parameters(spec, make_initialisation(run), training.seed));
  Outcome outcome;
  outcome.history = train(model, backend->place(volume, whole(volume.shape)), whole(volume.shape),
                          training, *alone);
  outcome.parameters = model.download();
  std::vector<float> decoded(volume.shape.count()), original(volume.shape.count());
  backend->decode(model, {volume.shape, whole(volume.shape)}, {decoded.data()});
  normalise(volume.view(), 0, volume.shape.count(), original.data());
  double squares = 0;
  for (std::size_t i = 0; i < decoded.size(); ++i)
    squares += std::pow(static_cast<double>(decoded[i]) - original[i], 2);
  outcome.psnr = psnr_of(squares / static_cast<double>(decoded.size()));
  return outcome;
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

class Networks : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(All, Networks, testing::Values("mlp", "fastkan"));

TEST_P(Networks, LearnASmoothVolume) {
  const Volume volume = smooth_volume();
  const kanbench::Run run = small_run(GetParam());
  const Outcome outcome = train_run(run, volume, make_training(run, 256, 1));
  EXPECT_GT(outcome.psnr, 38) << GetParam();
  EXPECT_EQ(outcome.history.epochs.size(), 8u);
  EXPECT_FALSE(outcome.history.failed);
  EXPECT_LT(outcome.history.epochs.back().loss, 0.3 * outcome.history.epochs.front().loss);
  EXPECT_GT(outcome.history.samples_per_second(), 0);
  EXPECT_EQ(outcome.history.epochs[0].samples, 7680);
}

TEST_P(Networks, GiveTheSameBitsForAnyThreadCount) {
  const Volume volume = smooth_volume();
  const kanbench::Run run = small_run(GetParam());
  for (std::int64_t batch : {100, 1500}) {
    Training training = make_training(run, batch, 5);
    training.epochs = 2;
    set_threads(1);
    const Outcome one = train_run(run, volume, training);
    for (int count : {2, 3, 7}) {
      set_threads(count);
      EXPECT_TRUE(same_bits(one.parameters, train_run(run, volume, training).parameters))
          << GetParam() << ", batch " << batch << ", " << count << " threads";
    }
    set_threads(0);
    training.seed = 6;
    EXPECT_FALSE(same_bits(one.parameters, train_run(run, volume, training).parameters));
  }
}

TEST_P(Networks, TrainOnEveryInstructionSet) {
  const Volume volume = smooth_volume();
  const kanbench::Run run = small_run(GetParam());
  for (const char* set : {"baseline", "avx2", "avx512"}) {
    try {
      open_cpu(set);
    } catch (const Error&) {
      continue;
    }
    EXPECT_GT(train_run(run, volume, make_training(run, 256, 1), set).psnr, 38) << set;
  }
}

TEST_P(Networks, DoNotStallAtAnyUsualRate) {
  const Volume volume = smooth_volume();
  for (double rate : {1e-4, 1e-3, 5e-3, 2e-2}) {
    kanbench::Run run = small_run(GetParam());
    run.lrate = rate;
    run.epochs = 30;
    run.lrate_decay = 20;
    const Outcome outcome = train_run(run, volume, make_training(run, 64, 1));
    EXPECT_GT(outcome.psnr, 24) << GetParam() << " at " << rate;
    EXPECT_TRUE(outcome.history.recoveries.empty());
  }
}

TEST_P(Networks, LearnBehindEveryOutputActivation) {
  const Volume volume = smooth_volume();
  kanbench::Run run = small_run(GetParam());
  for (const char* output : {"None", "Sigmoid", "ReLU"}) {
    run.output_activation = output;
    EXPECT_GT(train_run(run, volume, make_training(run, 256, 1)).psnr, 34) << output;
  }
}

TEST(Trainer, FaithfulFastKanNormalisesItsFirstLayerAndTakesOneStepSize) {
  kanbench::Run run = small_run("fastkan");
  EXPECT_FALSE(make_spec(run).layers[0].norm);
  run.faithful = true;
  EXPECT_TRUE(make_spec(run).layers[0].norm);
  const Training training = make_training(run, 64, 0);
  EXPECT_EQ(training.decoder_rate, 1);
  EXPECT_EQ(training.anneal, 0);
  EXPECT_FALSE(rule_of(training.optimizer).skip_untouched);
  EXPECT_EQ(make_initialisation(run).spline_std, 0.1);
}

// A list of touched lines and a pass over the whole table must give the same parameters.
TEST(Trainer, ListedAndFullUpdatesAgree) {
  const auto backend = open_cpu();
  ModelSpec spec;
  spec.encoder = encoder::HashGrid{3, 4, 14, 20, 1.5};
  spec.layers = {{12, 16, basis::Identity{}}, {16, 1, basis::Relu{}}};
  const std::vector<float> start = draw_parameters(spec, {0.1, 0.1, 1}, 3);
  Model listed(*backend, spec), full(*backend, spec);
  for (Model* model : {&listed, &full}) {
    model->upload(start);
    model->train();
  }
  const std::int64_t rows = 40;
  std::vector<float> points(3 * rows), targets(rows, 0.5f);
  for (int step = 1; step <= 5; ++step) {
    const Stream stream{99, static_cast<std::uint64_t>(step)};
    for (std::int64_t i = 0; i < 3 * rows; ++i) points[i] = unit_float(stream.words(i).v[0]);
    for (Model* model : {&listed, &full}) {
      backend->gradient(*model, {points.data(), rows, 3, rows}, {targets.data(), rows, 1, rows},
                        {loss::L1{}, 1.0 / rows});
      if (model == &full) backend->gradient_changed(*model);
      ASSERT_TRUE(backend->update(*model, Adam{}, step));
    }
    ASSERT_TRUE(same_bits(listed.download(), full.download())) << "step " << step;
  }
  for (std::int64_t i = 0; i < full.gradient().size(); ++i)
    ASSERT_EQ(listed.gradient().data()[i], 0) << i;
}

// The step in one go must be the gradient and then the update, for lists, passes and shares alike.
TEST(Trainer, StepIsGradientAndUpdate) {
  for (int count : {1, 2, 5})
    for (std::int64_t rows : {40, 3000})
      for (bool skip : {true, false}) {
        set_threads(count);
        const auto backend = open_cpu();
        ModelSpec spec;
        spec.encoder = encoder::HashGrid{3, 4, 14, 20, 1.5};
        spec.layers = {{12, 16, basis::Identity{}}, {16, 1, basis::Relu{}}};
        Model together(*backend, spec), apart(*backend, spec);
        for (Model* model : {&together, &apart}) {
          model->upload(draw_parameters(spec, {0.1, 0.1, 1}, 3));
          model->train();
        }
        Adam adam;
        adam.skip_untouched = skip;
        std::vector<float> points(3 * rows), targets(rows, 0.5f);
        for (int t = 1; t <= 4; ++t) {
          const Stream stream{7, static_cast<std::uint64_t>(t)};
          for (std::int64_t i = 0; i < 3 * rows; ++i) points[i] = unit_float(stream.words(i).v[0]);
          const ConstRows p{points.data(), rows, 3, rows}, y{targets.data(), rows, 1, rows};
          const BatchSums a = backend->step(together, p, y, {loss::L1{}, 1.0 / rows}, adam, t);
          const BatchSums b =
              backend->Backend::step(apart, p, y, {loss::L1{}, 1.0 / rows}, adam, t);
          EXPECT_EQ(a.loss, b.loss);
          EXPECT_TRUE(a.finite && b.finite);
          ASSERT_TRUE(same_bits(together.download(), apart.download()))
              << count << " threads, " << rows << " rows, step " << t;
        }
      }
  set_threads(0);
}

TEST(Trainer, UntouchedEntriesStayUnlessAdamIsToTheLetter) {
  const auto backend = open_cpu();
  ModelSpec spec;
  spec.encoder = encoder::HashGrid{1, 2, 12, 16, 1};
  spec.layers = {{2, 1, basis::Identity{}}};
  for (bool skip : {true, false}) {
    Model model(*backend, spec);
    model.upload(draw_parameters(spec, {0.1, 0.1, 1}, 3));
    model.train();
    Adam adam;
    adam.skip_untouched = skip;
    std::vector<float> point{0.13f, 0.13f, 0.13f}, target{0.9f};
    const auto step = [&](int t) {
      backend->gradient(model, {point.data(), 1, 3, 1}, {target.data(), 1, 1, 1}, {loss::L1{}, 1});
      backend->update(model, adam, t);
    };
    step(1);
    const std::vector<float> before = model.download();
    point = {0.9f, 0.9f, 0.9f};
    step(2);
    const std::vector<float> after = model.download();
    std::int64_t row = -1;
    const float near_origin[3] = {0.13f, 0.13f, 0.13f};
    std::get<encoder::GridLevel>(model.layout().levels[0].geometry)
        .gather(near_origin, [&](std::uint32_t r, float) { row = r; });
    EXPECT_EQ(before[2 * row] == after[2 * row], skip);
  }
}

// A backend that spoils the loss of chosen calls.
class Faulty : public test::Wrapped {
 public:
  int calls = 0, first_fault = 0, faults = 0, copies = 0;

  void copy(void* to, const void* from, std::size_t n) override {
    ++copies;
    inner->copy(to, from, n);
  }
  BatchSums gradient(Model& m, ConstRows p, ConstRows t, const Objective& o,
                     const Ready& ready) override {
    BatchSums sums = inner->gradient(m, p, t, o, ready);
    if (calls >= first_fault && calls < first_fault + faults) {
      sums.loss = std::numeric_limits<double>::quiet_NaN();
      m.gradient().data()[0] = std::numeric_limits<float>::infinity();
      inner->gradient_changed(m);
    }
    ++calls;
    return sums;
  }
};

History train_faulty(int first_fault, int faults, bool* finite, int* told) {
  const Volume volume = smooth_volume();
  const kanbench::Run run = small_run("mlp");
  Faulty backend;
  backend.first_fault = first_fault;
  backend.faults = faults;
  const ModelSpec spec = make_spec(run);
  Model model(backend, spec);
  model.upload(draw_parameters(spec, make_initialisation(run), 1));
  Progress progress;
  progress.recovery = [&](const Recovery&) { ++*told; };
  const auto alone = open_single();
  const History history = train(model, volume.view(), whole(volume.shape),
                                make_training(run, 256, 1), *alone, progress);
  *finite = true;
  for (float value : model.download()) *finite &= std::isfinite(value);
  return history;
}

TEST(Trainer, ComesBackFromALossThatIsNotFinite) {
  bool finite = false;
  int told = 0;
  const History history = train_faulty(40, 2, &finite, &told);
  EXPECT_FALSE(history.failed);
  ASSERT_EQ(history.recoveries.size(), 2u);
  EXPECT_EQ(told, 2);
  EXPECT_EQ(history.recoveries[0].epoch, 1);
  EXPECT_EQ(history.recoveries[0].step, 40);
  EXPECT_DOUBLE_EQ(history.recoveries[0].lrate, 0.005);
  EXPECT_DOUBLE_EQ(history.recoveries[1].lrate, 0.0025);
  EXPECT_TRUE(finite);
  EXPECT_EQ(history.epochs.size(), 8u);
  EXPECT_TRUE(std::isfinite(history.epochs.back().loss));
}

TEST(Trainer, GivesUpAfterThreeInARow) {
  bool finite = false;
  int told = 0;
  const History history = train_faulty(40, 100, &finite, &told);
  EXPECT_TRUE(history.failed);
  EXPECT_EQ(history.recoveries.size(), 3u);
  EXPECT_TRUE(finite);
  EXPECT_EQ(history.epochs.size(), 2u);
}

TEST(Trainer, KeepsCopiesWithinALongEpoch) {
  const Volume volume = smooth_volume();
  kanbench::Run run = small_run("mlp");
  run.epochs = 1;
  run.log2_hashmap_size = 6;
  Faulty backend;
  const auto alone = open_single();
  Model model(backend, make_spec(run));
  train(model, volume.view(), whole(volume.shape), make_training(run, 16, 1), *alone);
  const std::int64_t taken = volume.shape.count() / model.layout().size;
  EXPECT_GE(taken, 2);
  EXPECT_EQ(backend.copies, 3 * (1 + taken));
}

TEST(Trainer, GivesUpOnAnAbsurdRate) {
  const Volume volume = smooth_volume();
  kanbench::Run run = small_run("mlp");
  run.lrate = 1e300;
  const Outcome outcome = train_run(run, volume, make_training(run, 256, 1));
  EXPECT_TRUE(outcome.history.failed);
  EXPECT_EQ(outcome.history.recoveries.size(), 3u);
  for (float value : outcome.parameters) ASSERT_TRUE(std::isfinite(value));
}

TEST(BatchSize, LeavesAtLeast256StepsWhereItCan) {
  const std::size_t plenty = std::size_t{1} << 40;
  EXPECT_EQ(choose_batch_size(41 * 41 * 41, 100, plenty, 0.8), 256);
  EXPECT_EQ(choose_batch_size(128 * 128 * 128, 100, plenty, 0.8), 8192);
  EXPECT_EQ(choose_batch_size(1000, 100, plenty, 0.8), 256);
  EXPECT_EQ(choose_batch_size(std::int64_t{1} << 40, 100, plenty, 0.8), 262144);
  EXPECT_EQ(choose_batch_size(std::int64_t{1} << 40, 1000, 10 << 20, 0.5), 5120);
  EXPECT_EQ(choose_batch_size(std::int64_t{1} << 40, 1000, 0, 0.5), 256);
}

TEST(Steps, CoverTheVolume) {
  EXPECT_EQ(steps_per_epoch(1000, 100), 10);
  EXPECT_EQ(steps_per_epoch(1001, 100), 11);
  EXPECT_EQ(steps_per_epoch(std::int64_t{1} << 40, 1), std::int64_t{1} << 40);
}

TEST(Parallel, RunsEachTaskOnceAndPassesOnExceptions) {
  set_threads(3);
  std::vector<std::atomic<int>> runs(1000);
  parallel(1000, [&](std::int64_t i) { ++runs[i]; });
  for (const auto& count : runs) ASSERT_EQ(count, 1);
  EXPECT_THROW(parallel(50,
                        [](std::int64_t i) {
                          if (i == 31) throw Error("31");
                        }),
               Error);
  parallel(50, [&](std::int64_t i) { ++runs[i]; });
  EXPECT_EQ(runs[49], 2);
  set_threads(0);
}

}  // namespace
}  // namespace kanbench
