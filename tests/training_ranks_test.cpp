// Training on many ranks: that all have one model, that it is as good as one rank's, and that a
// training goes on where it was left, to the bit.

#include <cmath>
#include <cstring>
#include <memory>
#include <mutex>
#include <vector>

#include "kanbench/decomposition.h"
#include "kanbench/metrics.h"
#include "kanbench/recipe.h"
#include "kanbench/trainer.h"
#include "support.h"
#include "thread_ranks.h"
#include "training_support.h"
#include "wrapped_backend.h"

namespace kanbench {
namespace {

using test::on_ranks;
using test::small_run;
using test::smooth_volume;

double psnr_of_model(const Model& model, const Volume& volume) {
  const auto count = static_cast<std::size_t>(volume.shape.count());
  std::vector<float> decoded(count), original(count);
  model.backend().decode(model, {volume.shape, whole(volume.shape)}, {decoded.data()});
  normalise(volume.view(), 0, volume.shape.count(), original.data());
  double squares = 0;
  for (std::size_t i = 0; i < count; ++i)
    squares += std::pow(static_cast<double>(decoded[i]) - original[i], 2);
  return psnr_of(squares / static_cast<double>(count));
}

struct Outcome {
  std::vector<float> parameters;
  History history;
  double psnr = 0;
};

// What each of `size` ranks ends with.
std::vector<Outcome> train_on(int size, const Training& training, const Volume& volume) {
  const ModelSpec spec = make_spec(small_run());
  std::vector<Outcome> outcomes(static_cast<std::size_t>(size));
  on_ranks(size, [&](Communicator& communicator) {
    const auto backend = open_cpu();
    Model model(*backend, spec);
    model.upload(draw_parameters(spec, make_initialisation(small_run()), training.seed));
    const Box box = part_of(whole(volume.shape), choose_grid(volume.shape, size, "a test"),
                            communicator.rank());
    Outcome& mine = outcomes[static_cast<std::size_t>(communicator.rank())];
    mine.history = train(model, volume.view(), box, training, communicator);
    mine.parameters = model.download();
    mine.psnr = psnr_of_model(model, volume);
  });
  return outcomes;
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

Training small_training() { return make_training(small_run(), 256, 1); }

class Ranks : public testing::TestWithParam<int> {};

TEST_P(Ranks, TrainOneModelAsOneRankDoes) {
  const Volume volume = smooth_volume();
  const double alone = train_on(1, small_training(), volume)[0].psnr;
  const std::vector<Outcome> all = train_on(GetParam(), small_training(), volume);
  for (const Outcome& one : all) {
    EXPECT_TRUE(same_bits(one.parameters, all[0].parameters));
    EXPECT_EQ(one.history.epochs.size(), 8u);
    EXPECT_EQ(one.history.epochs[0].samples, 30 * 256);
    EXPECT_EQ(one.history.epochs.back().loss, all[0].history.epochs.back().loss);
  }
  EXPECT_NEAR(all[0].psnr, alone, 0.8);
  EXPECT_NEAR(all[0].history.epochs.back().psnr, all[0].psnr, 3);
  EXPECT_TRUE(
      same_bits(train_on(GetParam(), small_training(), volume)[0].parameters, all[0].parameters));
}

TEST_P(Ranks, KeepMomentsOfTheirShareOnly) {
  const Volume volume = smooth_volume();
  Training sharded = small_training();
  sharded.sharded = true;
  const std::vector<Outcome> all = train_on(GetParam(), sharded, volume);
  for (const Outcome& one : all) EXPECT_TRUE(same_bits(one.parameters, all[0].parameters));
  EXPECT_TRUE(
      same_bits(all[0].parameters, train_on(GetParam(), small_training(), volume)[0].parameters));
}

TEST_P(Ranks, ClipByTheNormOfTheSum) {
  const Volume volume = smooth_volume();
  Training training = small_training();
  training.epochs = 2;
  rule_of(training.optimizer).largest_norm = 1e-2f;
  const Outcome free = train_on(GetParam(), small_training(), volume)[0];
  const std::vector<Outcome> all = train_on(GetParam(), training, volume);
  EXPECT_NE(all[0].history.epochs[1].loss, free.history.epochs[1].loss);
  training.sharded = true;
  const std::vector<Outcome> sharded = train_on(GetParam(), training, volume);
  for (const Outcome& other : sharded) {
    EXPECT_TRUE(same_bits(other.parameters, sharded[0].parameters));
    EXPECT_NEAR(other.history.epochs[1].loss, all[0].history.epochs[1].loss, 1e-5);
  }
}

// Plain steps take rate * weight of each weight's size, whatever the ranks; beside it the batch's
// gradient is small.
TEST_P(Ranks, PayForEdgesOnce) {
  const Volume volume = smooth_volume();
  Training training = small_training();
  training.optimizer = Sgd{};
  training.schedule = schedule::Constant{};
  training.epochs = 1;
  training.lrate = 1e-3;
  training.decoder_rate = 1;
  training.edges.l1 = 1;
  const ModelSpec spec = make_spec(small_run());
  const std::vector<float> start = draw_parameters(spec, make_initialisation(small_run()), 1);
  const std::int64_t weight = make_layout(spec).layers[1].weight;
  for (int ranks : {1, GetParam()}) {
    const std::vector<float> end = train_on(ranks, training, volume)[0].parameters;
    double lost = 0;
    for (std::int64_t i = weight; i < weight + 256; ++i)
      lost +=
          std::abs(start[static_cast<std::size_t>(i)]) - std::abs(end[static_cast<std::size_t>(i)]);
    EXPECT_NEAR(lost / 256, 30 * 1e-3, 6e-3) << ranks;
  }
}

TEST(RanksOfLimitedTime, EndTogether) {
  Training training = small_training();
  training.seconds = 0.1;
  const std::vector<Outcome> all = train_on(3, training, smooth_volume());
  for (const Outcome& one : all) {
    EXPECT_TRUE(same_bits(one.parameters, all[0].parameters));
    EXPECT_EQ(one.history.epochs.size(), all[0].history.epochs.size());
    EXPECT_GE(one.history.seconds, 0.09);
  }
}

INSTANTIATE_TEST_SUITE_P(Sizes, Ranks, testing::Values(2, 3, 4, 7));

TEST(RanksOfHalfTheBytes, LearnAsMuch) {
  const Volume volume = smooth_volume();
  Training half = small_training();
  half.wire = Wire::fp16;
  const std::vector<Outcome> all = train_on(2, half, volume);
  const Outcome whole_bytes = train_on(2, small_training(), volume)[0];
  EXPECT_TRUE(same_bits(all[0].parameters, all[1].parameters));
  EXPECT_FALSE(same_bits(all[0].parameters, whole_bytes.parameters));
  EXPECT_NEAR(all[0].psnr, whole_bytes.psnr, 0.8);
}

TEST(Shares, MakeUpABlockOfWholeLines) {
  for (const std::int64_t size :
       {std::int64_t{16}, std::int64_t{48}, std::int64_t{7776}, std::int64_t{1} << 40})
    for (const int ranks : {1, 2, 3, 7, 64}) {
      const std::vector<Range> shares = shares_of(size, ranks);
      std::int64_t at = 0;
      for (const Range& share : shares) {
        EXPECT_EQ(share.begin, at);
        EXPECT_EQ(share.begin % 16, 0);
        EXPECT_LE(share.size(), size / ranks + 32);
        at = share.end;
      }
      EXPECT_EQ(at, size);
    }
}

// Its loss is not finite from one step on, for some steps.
class Faulty : public test::Wrapped {
 public:
  int steps = 0, first = 1 << 30;
  BatchSums gradient(Model& model, ConstRows points, ConstRows targets, const Objective& objective,
                     const Ready& ready) override {
    BatchSums sums = Wrapped::gradient(model, points, targets, objective, ready);
    const int step = steps++;
    if (step >= first && step < first + 2) sums.loss = NAN;
    return sums;
  }
};

TEST(Recovery, IsSharedByAllRanks) {
  const Volume volume = smooth_volume();
  const ModelSpec spec = make_spec(small_run());
  std::vector<Outcome> outcomes(3);
  on_ranks(3, [&](Communicator& communicator) {
    Faulty backend;
    if (communicator.rank() == 1) backend.first = 40;
    Model model(backend, spec);
    model.upload(draw_parameters(spec, make_initialisation(small_run()), 1));
    const Box box = part_of(whole(volume.shape), {3, 1, 1}, communicator.rank());
    Outcome& mine = outcomes[static_cast<std::size_t>(communicator.rank())];
    mine.history = train(model, volume.view(), box, small_training(), communicator);
    mine.parameters = model.download();
  });
  for (const Outcome& one : outcomes) {
    ASSERT_EQ(one.history.recoveries.size(), 2u);
    EXPECT_EQ(one.history.recoveries[0].step, 40);
    EXPECT_FALSE(one.history.failed);
    EXPECT_TRUE(same_bits(one.parameters, outcomes[0].parameters));
  }
}

// What a checkpoint holds of a model.
struct Blocks {
  std::vector<float> parameters, first, second;
};

std::vector<float> copy_of(const Buffer<float>& block) {
  return {block.data(), block.data() + block.size()};
}

void put(const std::vector<float>& values, const Buffer<float>& block) {
  std::copy(values.begin(), values.end(), block.data());
}

// Trains to the end, or, where `stop` is not negative, stops after so many steps and goes on with
// another model from what was saved then.
struct Interrupted {
  Training training = small_training();
  bool in_bricks = false;
  int ranks = 1;

  std::vector<float> run(int stop) const {
    const Volume volume = smooth_volume(in_bricks ? Shape{48, 48, 40} : Shape{24, 20, 16});
    const std::int64_t epoch = steps_per_epoch(volume.shape.count(), training.batch_size);
    std::vector<float> result;
    on_ranks(ranks, [&](Communicator& communicator) {
      Blocks saved;
      std::optional<TrainingState> state;
      for (int leg = stop < 0 ? 1 : 0; leg < 2; ++leg) {
        const auto backend = open_cpu();
        // Room for some bricks, so that those in use change as training goes on.
        if (in_bricks) backend->limit_memory(840 << 10);
        Model model(*backend, make_spec(small_run()));
        prepare_training(model, training, communicator);
        model.upload(draw_parameters(model.spec(), make_initialisation(small_run()), 1));
        Continuation continuation;
        if (state) {
          put(saved.parameters, model.parameters());
          put(saved.first, model.first_moment());
          put(saved.second, model.second_moment());
          backend->parameters_changed(model);
          continuation.from = state;
        }
        int asked = 0;
        continuation.stop = [&] { return leg == 0 && ++asked == stop; };
        continuation.save = [&](const TrainingState& now) {
          state = now;
          saved = {copy_of(model.parameters()), copy_of(model.first_moment()),
                   copy_of(model.second_moment())};
        };
        const Box box = part_of(whole(volume.shape), {ranks, 1, 1}, communicator.rank());
        const History history =
            in_bricks
                ? train_in_bricks(model, volume, box, training, communicator, {}, continuation)
                : train(model, volume.view(), box, training, communicator, {}, continuation);
        EXPECT_EQ(history.interrupted, leg == 0);
        EXPECT_EQ(state->finished, leg == 1);
        EXPECT_EQ(history.epochs.size(), leg == 1 ? 8 : static_cast<std::size_t>(stop / epoch));
        if (communicator.rank() == 0) result = model.download();
      }
    });
    return result;
  }
};

TEST(Continuation, GoesOnToTheBit) {
  const Interrupted alone;
  const std::vector<float> straight = alone.run(-1);
  for (const int stop : {1, 47, 62}) EXPECT_TRUE(same_bits(alone.run(stop), straight)) << stop;
}

TEST(Continuation, GoesOnToTheBitOnRanks) {
  Interrupted three;
  three.ranks = 3;
  EXPECT_TRUE(same_bits(three.run(47), three.run(-1)));
  three.training.sharded = true;
  EXPECT_TRUE(same_bits(three.run(47), three.run(-1)));
  three.training.optimizer = Lion{};
  rule_of(three.training.optimizer).largest_norm = 1e-2f;
  three.training.schedule = schedule::Plateau{0.5, 1};
  three.training.warmup = 1;
  EXPECT_TRUE(same_bits(three.run(47), three.run(-1)));
}

TEST(Continuation, GoesOnToTheBitInBricks) {
  Interrupted streamed;
  streamed.in_bricks = true;
  EXPECT_TRUE(same_bits(streamed.run(47), streamed.run(-1)));
}

TEST(Continuation, SavesWhenItIsTime) {
  const Volume volume = smooth_volume();
  const auto alone = open_single();
  const auto backend = open_cpu();
  Model model(*backend, make_spec(small_run()));
  model.upload(draw_parameters(model.spec(), make_initialisation(small_run()), 1));
  std::vector<std::int64_t> steps;
  Continuation continuation;
  continuation.every.epochs = 3;
  continuation.save = [&](const TrainingState& state) { steps.push_back(state.step); };
  train(model, volume.view(), whole(volume.shape), small_training(), *alone, {}, continuation);
  EXPECT_EQ(steps, (std::vector<std::int64_t>{90, 180, 240}));
}

// Trains four bricks of a hybrid on `ranks` ranks; every brick's parameters.
std::vector<std::vector<float>> train_bricks(int ranks, std::vector<Range>* shared) {
  const Volume volume = smooth_volume();
  const ModelSpec spec = make_spec(small_run());
  const Layout layout = make_layout(spec);
  *shared = {{layout.slices[0].offset, layout.slices[0].offset + layout.slices[0].size()},
             {layout.decoder_begin, layout.size}};
  std::vector<std::vector<float>> parameters(4);
  std::vector<std::int64_t> voxels;
  for (int i = 0; i < 4; ++i)
    voxels.push_back(
        grow(part_of(whole(volume.shape), {2, 2, 1}, i), 1, volume.shape).shape().count());
  on_ranks(ranks, [&](Communicator& communicator) {
    const auto backend = open_cpu();
    std::vector<std::unique_ptr<Model>> models;
    std::vector<HybridBrick> bricks;
    for (int i = 0; i < 4; ++i) {
      if (i * ranks / 4 != communicator.rank()) continue;
      models.push_back(std::make_unique<Model>(*backend, spec));
      models.back()->upload(draw_parameters(spec, make_initialisation(small_run()), 1));
      bricks.push_back({i, models.back().get(),
                        grow(part_of(whole(volume.shape), {2, 2, 1}, i), 1, volume.shape)});
    }
    Training training = small_training();
    training.share_every = 5;
    const History history =
        train_hybrid(bricks, voxels, *shared, volume.view(), training, communicator);
    EXPECT_EQ(history.epochs.size(), 8u);
    for (const HybridBrick& brick : bricks)
      parameters[static_cast<std::size_t>(brick.number)] = brick.model->download();
  });
  return parameters;
}

TEST(Hybrid, SharesWhatItIsToldAndNothingElse) {
  std::vector<Range> shared;
  const std::vector<std::vector<float>> bricks = train_bricks(2, &shared);
  for (const std::vector<float>& brick : bricks) {
    std::vector<bool> common(brick.size());
    for (const Range& range : shared)
      for (std::int64_t i = range.begin; i < range.end; ++i) {
        common[static_cast<std::size_t>(i)] = true;
        ASSERT_EQ(brick[static_cast<std::size_t>(i)], bricks[0][static_cast<std::size_t>(i)]);
      }
    std::int64_t differing = 0;
    for (std::size_t i = 0; i < brick.size(); ++i)
      differing += !common[i] && brick[i] != bricks[0][i];
    EXPECT_TRUE(&brick == &bricks[0] || differing > 1000) << differing;
  }
}

TEST(Hybrid, DoesNotDependOnWhereBricksLie) {
  std::vector<Range> shared;
  const std::vector<std::vector<float>> one = train_bricks(1, &shared);
  const std::vector<std::vector<float>> four = train_bricks(4, &shared);
  for (std::size_t i = 0; i < one.size(); ++i) {
    double worst = 0;
    for (std::size_t k = 0; k < one[i].size(); ++k)
      worst = std::max(worst, std::abs(static_cast<double>(one[i][k]) - four[i][k]));
    EXPECT_LT(worst, 1e-4);
  }
}

}  // namespace
}  // namespace kanbench
