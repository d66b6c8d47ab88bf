// Samples where the error is: how often each brick is drawn, on every backend the same points, and
// what it is good for.

#include <gtest/gtest.h>

#include <cmath>

#include "backend_cases.h"
#include "error_sampler.h"
#include "kanbench/recipe.h"
#include "thread_ranks.h"
#include "training_support.h"

namespace kanbench {
namespace {

using namespace test;

TEST(Guide, GivesEachBrickItsShareOfTheWords) {
  const std::vector<std::uint32_t> ends = guide_words({3, 0, 1, 0}, 0.2);
  const double words = 4294967296.0;
  EXPECT_NEAR(ends[0] / words, 0.05 + 0.6, 1e-9);
  EXPECT_NEAR(ends[1] / words, 0.1 + 0.6, 1e-9);
  EXPECT_NEAR(ends[2] / words, 0.15 + 0.8, 1e-9);
  EXPECT_EQ(ends[3], 0xffffffffu);
  for (const auto& errors :
       {std::vector<double>{0, 0}, std::vector<double>{1, INFINITY}, std::vector<double>{NAN, 1}})
    EXPECT_NEAR(guide_words(errors, 0)[0] / words, 0.5, 1e-9);
  const std::vector<std::uint32_t> alone = guide_words({0, 5, 0}, 0);
  const SamplingGuide guide{{3, 1, 1}, alone.data()};
  for (const std::uint32_t word : {0u, 1u, 0x80000000u, 0xfffffffeu})
    EXPECT_EQ(guide.find(word), 1) << word;
}

// Where rows of a guided view lie, as the backend drew them.
struct Drawn {
  std::vector<float> points, targets;
  Drawn(Backend& backend, const Volume& volume, const Box& box, const SamplingGuide& guide,
        const std::vector<std::uint32_t>& ends, std::int64_t rows) {
    Buffer<std::uint32_t> words(backend, static_cast<std::int64_t>(ends.size()));
    backend.upload(words.data(), ends.data(), words.bytes());
    Buffer<float> p(backend, 3 * rows), t(backend, rows);
    VolumeView view = backend.place(volume, box);
    view.guide = guide;
    view.guide.ends = words.data();
    backend.sample(view, box, make_stream(3, 0, Purpose::samples, 9), 0, {p.data(), rows, 3, rows},
                   {t.data(), rows, 1, rows});
    points = download(p, backend);
    targets = download(t, backend);
  }
};

TEST(Guide, IsFollowedWithTheSameBitsByEveryBackend) {
  const Volume volume = smooth_volume();
  const Box box{{2, 0, 4}, {22, 20, 16}};
  const std::vector<std::uint32_t> ends = guide_words({1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}, 0.1);
  const SamplingGuide guide{{3, 2, 2}};
  constexpr std::int64_t kRows = 300;
  const Drawn want(*open_cpu("baseline"), volume, box, guide, ends, kRows);
  for (const auto& backend : all_backends()) {
    const Drawn got(*backend, volume, box, guide, ends, kRows);
    EXPECT_EQ(got.points, want.points) << backend->name();
    for (std::size_t i = 0; i < got.targets.size(); ++i)
      EXPECT_NEAR(got.targets[i], want.targets[i], 1e-6) << backend->name();
  }
}

// Pearson's statistic of the counts, 11 degrees of freedom: beyond 31.3 one time in a thousand. And
// within their bricks points are spread evenly.
TEST(Guide, DrawsBricksAsOftenAsItSays) {
  const auto backend = open_cpu();
  const Volume volume = smooth_volume();
  const Box box{{2, 0, 4}, {22, 20, 16}};
  const std::vector<double> errors{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
  constexpr std::int64_t kRows = 60000;
  const Drawn drawn(*backend, volume, box, {{3, 2, 2}}, guide_words(errors, 0.25), kRows);
  std::vector<double> counts(12);
  double within = 0;
  for (std::int64_t i = 0; i < kRows; ++i) {
    const double x = (drawn.points[i] * 24.0 - 2) / 20 * 3, y = drawn.points[kRows + i] * 2.0,
                 z = (drawn.points[2 * kRows + i] * 16.0 - 4) / 12 * 2;
    ASSERT_TRUE(x > -1e-5 && x < 3.00001 && z > -1e-5 && z < 2.00001);
    const auto brick = std::min(2, static_cast<int>(x)) + 3 * std::min(1, static_cast<int>(y)) +
                       6 * std::min(1, static_cast<int>(z));
    ++counts[static_cast<std::size_t>(brick)];
    within += x - std::floor(x);
  }
  double statistic = 0;
  for (std::size_t b = 0; b < 12; ++b) {
    const double want = kRows * (0.25 / 12 + 0.75 * errors[b] / 78);
    statistic += (counts[b] - want) * (counts[b] - want) / want;
  }
  EXPECT_LT(statistic, 31.3);
  EXPECT_NEAR(within / kRows, 0.5, 0.005);
}

// All detail lies in one corner.
float corner_value(int x, int y, int z) {
  if (x >= 8 || y >= 8 || z >= 8) return 0.5f;
  return 0.5f + 0.5f * std::sin(0.9f * x) * std::sin(0.9f * y) * std::sin(0.9f * z);
}

Volume corner_volume() {
  const Shape shape{32, 32, 32};
  auto voxels = std::make_shared<std::vector<float>>();
  for (int z = 0; z < 32; ++z)
    for (int y = 0; y < 32; ++y)
      for (int x = 0; x < 32; ++x) {
        voxels->push_back(corner_value(x, y, z));
      }
  return Volume("corner", shape, Dtype::float32,
                std::shared_ptr<const void>(voxels, voxels->data()), "a test");
}

Training sampled(int bricks, int epochs = 4) {
  Training training = make_training(small_run(), 256, 1);
  training.epochs = epochs;
  training.error_sampling.bricks = bricks;
  return training;
}

double corner_error(const Model& model, const Volume& volume) {
  const Box corner{{0, 0, 0}, {8, 8, 8}};
  std::vector<float> decoded(512);
  model.backend().decode(model, {volume.shape, corner}, {decoded.data()});
  double squares = 0;
  for (int i = 0; i < 512; ++i) {
    const int x = i % 8, y = i / 8 % 8, z = i / 64;
    squares +=
        std::pow(volume.low + decoded[i] * (volume.high - volume.low) - corner_value(x, y, z), 2);
  }
  return squares / 512;
}

TEST(ErrorSampling, LowersTheErrorWhereItIsLarge) {
  const Volume volume = corner_volume();
  const auto alone = open_single();
  double errors[2];
  for (int bricks : {0, 4}) {
    const auto backend = open_cpu();
    Model model(*backend, make_spec(small_run()));
    model.upload(draw_parameters(model.spec(), make_initialisation(small_run()), 1));
    const History history =
        train(model, volume.view(), whole(volume.shape), sampled(bricks), *alone);
    EXPECT_EQ(history.sampling_seconds > 0, bricks > 0);
    EXPECT_LT(history.sampling_seconds, history.seconds);
    errors[bricks > 0] = corner_error(model, volume);
  }
  EXPECT_LT(errors[1], 0.7 * errors[0]);
}

std::vector<float> trained(int ranks, int stop, int threads = 2) {
  set_threads(threads);
  const Volume volume = smooth_volume();
  const Training training = sampled(4, 8);
  std::vector<float> result;
  on_ranks(ranks, [&](Communicator& communicator) {
    std::optional<TrainingState> state;
    std::vector<float> blocks[3];
    for (int leg = stop < 0 ? 1 : 0; leg < 2; ++leg) {
      const auto backend = open_cpu();
      Model model(*backend, make_spec(small_run()));
      model.train();
      model.upload(draw_parameters(model.spec(), make_initialisation(small_run()), 1));
      const Buffer<float>* const all[] = {&model.parameters(), &model.first_moment(),
                                          &model.second_moment()};
      Continuation continuation;
      continuation.from = state;
      for (int i = 0; state && i < 3; ++i)
        backend->upload(all[i]->data(), blocks[i].data(), all[i]->bytes());
      int asked = 0;
      continuation.stop = [&] { return leg == 0 && ++asked == stop; };
      continuation.save = [&](const TrainingState& now) {
        state = now;
        for (int i = 0; i < 3; ++i) blocks[i] = download(*all[i], *backend);
      };
      const Box box{{24 * communicator.rank() / ranks, 0, 0},
                    {24 * (communicator.rank() + 1) / ranks, 20, 16}};
      train(model, volume.view(), box, training, communicator, {}, continuation);
      if (communicator.rank() == 0) result = model.download();
    }
  });
  set_threads(0);
  return result;
}

TEST(ErrorSampling, GoesOnToTheBitOnAnyThreadsAndRanks) {
  for (int ranks : {1, 2}) {
    const std::vector<float> straight = trained(ranks, -1);
    EXPECT_EQ(trained(ranks, 43), straight) << ranks;
    EXPECT_EQ(trained(ranks, -1, 1), straight) << ranks;
  }
}

TEST(ErrorSampling, LearnsOnEveryBackend) {
  const Volume volume = smooth_volume({12, 10, 8});
  const auto alone = open_single();
  for (const auto& backend : all_backends()) {
    Training training = sampled(2, 1);
    training.batch_size = 64;
    Model model(*backend, make_spec(small_run()));
    model.upload(draw_parameters(model.spec(), make_initialisation(small_run()), 1));
    const VolumeView view = backend->place(volume, whole(volume.shape));
    const History history = train(model, view, whole(volume.shape), training, *alone);
    EXPECT_TRUE(std::isfinite(history.epochs[0].loss)) << backend->name();
    EXPECT_GT(history.sampling_seconds, 0) << backend->name();
  }
}

}  // namespace
}  // namespace kanbench
