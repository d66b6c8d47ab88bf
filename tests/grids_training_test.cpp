// Trainings whose grids move: on one rank and on many, left and taken up again.

#include <cmath>
#include <memory>
#include <vector>

#include "kanbench/checkpoint.h"
#include "kanbench/decomposition.h"
#include "kanbench/recipe.h"
#include "kanbench/trainer.h"
#include "support.h"
#include "thread_ranks.h"
#include "training_support.h"

namespace kanbench {
namespace {

using test::on_ranks;

// A ball in one corner, and nothing else.
Volume ball_volume() {
  const Shape shape{20, 20, 20};
  auto voxels = std::make_shared<std::vector<float>>();
  for (int z = 0; z < shape.z; ++z)
    for (int y = 0; y < shape.y; ++y)
      for (int x = 0; x < shape.x; ++x) {
        const double far = std::hypot(x - 5.0, y - 5.0, z - 5.0) / 4;
        voxels->push_back(static_cast<float>(std::exp(-far * far) * (1 + std::sin(2.0 * x))));
      }
  return Volume("ball", shape, Dtype::float32, std::shared_ptr<const void>(voxels, voxels->data()),
                "a test");
}

ModelSpec grids_spec() {
  encoder::AdaptiveMultiGrid grids;
  grids.n_grids = 6, grids.resolution = 4;
  grids.transform_lrate = 1e-2, grids.transform_share = 0.6;
  ModelSpec spec;
  spec.encoder = grids;
  spec.layers = {{grids.width(), 16}, {16, 1, basis::Relu{}}};
  return spec;
}

Training grids_training() {
  Training training = make_training(test::small_run(), 256, 1);
  training.epochs = 4;
  training.loss = loss::Mse{};
  return training;
}

std::vector<float> drawn() { return draw_parameters(grids_spec(), {1e-4, 0.1, 2.4}, 1); }

std::vector<float> transforms_in(const std::vector<float>& block) {
  const Layout layout = make_layout(grids_spec());
  const Slice& slice = layout.slices[static_cast<std::size_t>(layout.transforms)];
  return {block.begin() + slice.offset, block.begin() + slice.offset + slice.size()};
}

// The parameters that each of `ranks` ends with.
std::vector<std::vector<float>> train_on(int ranks, const Training& training) {
  const Volume volume = ball_volume();
  std::vector<std::vector<float>> all(static_cast<std::size_t>(ranks));
  on_ranks(ranks, [&](Communicator& communicator) {
    const auto backend = open_cpu();
    Model model(*backend, grids_spec());
    model.upload(drawn());
    const Box box = part_of(whole(volume.shape), choose_grid(volume.shape, ranks, "a test"),
                            communicator.rank());
    train(model, volume.view(), box, training, communicator);
    all[static_cast<std::size_t>(communicator.rank())] = model.download();
  });
  return all;
}

double largest_change(const std::vector<float>& a, const std::vector<float>& b) {
  double most = 0;
  for (std::size_t i = 0; i < a.size(); ++i)
    most = std::max(most, std::abs(static_cast<double>(a[i]) - b[i]));
  return most;
}

// The mean distance of grids' middles from the ball's.
double distance_from_ball(const std::vector<float>& block) {
  const std::vector<float> transforms = transforms_in(block);
  double sum = 0;
  for (int g = 0; g < 6; ++g) {
    const Corners corners = grid_corners(Transform::similarity, transforms.data() + 10 * g);
    double square = 0;
    for (std::size_t d = 0; d < 3; ++d)
      square += std::pow((corners[0][d] + corners[7][d]) / 2 - 0.27, 2);
    sum += std::sqrt(square) / 6;
  }
  return sum;
}

TEST(GridsTraining, MovesGridsToWhereTheDetailIs) {
  const std::vector<float> after = train_on(1, grids_training())[0];
  EXPECT_GT(largest_change(transforms_in(after), transforms_in(drawn())), 0.1);
  EXPECT_LT(distance_from_ball(after), 0.9 * distance_from_ball(drawn()));
}

TEST(GridsTraining, IsOneOnManyRanks) {
  const auto two = train_on(2, grids_training());
  EXPECT_EQ(two[0], two[1]);
  EXPECT_LT(distance_from_ball(two[0]), 0.9 * distance_from_ball(drawn()));
  Training sharded = grids_training();
  sharded.sharded = true;
  const auto shares = train_on(3, sharded);
  for (const auto& one : shares) EXPECT_EQ(one, shares[0]);
  EXPECT_EQ(shares[0], train_on(3, grids_training())[0]);
}

TEST(GridsTraining, GoesOnFromACheckpointWithTheSameBits) {
  const test::TemporaryDirectory directory;
  const CheckpointStore store(directory.path(), "grids");
  const Volume volume = ball_volume();
  const Training training = grids_training();
  std::vector<float> resumed;
  on_ranks(1, [&](Communicator& communicator) {
    for (const bool first : {true, false}) {
      const auto backend = open_cpu();
      Model model(*backend, grids_spec());
      model.upload(drawn());
      prepare_training(model, training, communicator);
      Continuation continuation;
      std::vector<std::string> said;
      if (!first) continuation.from = store.load(1, {{0, &model}}, communicator, said);
      EXPECT_EQ(continuation.from.has_value(), !first);
      // In the middle of the steps that move grids.
      int steps = 0;
      continuation.stop = [&] { return first && ++steps == 40; };
      continuation.save = [&](const TrainingState& state) {
        if (first) store.save(state, 1, {{0, &model}}, communicator);
      };
      const History history = train(model, volume.view(), whole(volume.shape), training,
                                    communicator, {}, continuation);
      EXPECT_EQ(history.interrupted, first);
      resumed = model.download();
    }
  });
  EXPECT_EQ(resumed, train_on(1, training)[0]);
}

}  // namespace
}  // namespace kanbench
