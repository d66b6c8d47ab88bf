// Volumes in bricks: every point as likely as any other, values as of the whole volume, memory
// within the limit, and what is learnt nearly as good.

#include "kanbench/brick_stream.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "kanbench/benchmark.h"
#include "kanbench/decomposition.h"
#include "kanbench/io.h"
#include "kanbench/math/voxels.h"
#include "kanbench/recipe.h"
#include "kanbench/synth.h"
#include "support.h"
#include "wrapped_backend.h"

namespace kanbench {
namespace {

template <class Voxel>
Volume noise(const Shape& shape, Dtype dtype) {
  auto voxels = std::make_shared<std::vector<Voxel>>();
  const Stream stream{5, 1};
  for (std::int64_t i = 0; i < shape.count(); ++i)
    voxels->push_back(static_cast<Voxel>(stream.words(static_cast<std::uint64_t>(i)).v[0] >> 25));
  return Volume("noise", shape, dtype, std::shared_ptr<const void>(voxels, voxels->data()),
                "a test");
}

struct Drawn {
  std::vector<float> points, targets;
};

Drawn draw(BrickStream& bricks, std::int64_t rows, std::uint64_t step) {
  Drawn drawn{std::vector<float>(static_cast<std::size_t>(3 * rows), -1),
              std::vector<float>(static_cast<std::size_t>(rows), -1)};
  bricks.sample(make_stream(9, 0, Purpose::samples, step), {drawn.points.data(), rows, 3, rows},
                {drawn.targets.data(), rows, 1, rows});
  return drawn;
}

TEST(BrickPlan, CutsTheBoxWithoutGapOrOverlap) {
  const Volume volume = noise<std::uint8_t>({75, 50, 41}, Dtype::uint8);
  const Box box{{3, 0, 7}, {75, 49, 41}};
  const BrickPlan plan = plan_bricks(volume, box, 100000);
  std::vector<int> seen(static_cast<std::size_t>(volume.shape.count()));
  for (std::int64_t i = 0; i < plan.bricks(); ++i) {
    const Box brick = plan.brick(i), held = grow(brick, 1, volume.shape);
    EXPECT_LE(static_cast<std::size_t>(held.shape().count()), plan.brick_bytes);
    for (std::int64_t z = brick.low[2]; z < brick.high[2]; ++z)
      for (std::int64_t y = brick.low[1]; y < brick.high[1]; ++y)
        for (std::int64_t x = brick.low[0]; x < brick.high[0]; ++x)
          ++seen[static_cast<std::size_t>((z * 50 + y) * 75 + x)];
  }
  for (std::int64_t z = 0; z < 41; ++z)
    for (std::int64_t y = 0; y < 50; ++y)
      for (std::int64_t x = 0; x < 75; ++x)
        ASSERT_EQ(seen[static_cast<std::size_t>((z * 50 + y) * 75 + x)],
                  x >= 3 && y < 49 && z >= 7);
}

TEST(BrickPlan, TakesWhatFits) {
  const Volume volume = noise<float>({128, 128, 128}, Dtype::float32);
  for (const std::size_t budget : {400000u, 1000000u, 4000000u}) {
    const BrickPlan plan = plan_bricks(volume, whole(volume.shape), budget);
    const std::size_t room = plan.brick_bytes * kBrickGroups * plan.per_group;
    EXPECT_LE(room, budget);
    EXPECT_GT(room, budget / 2);
  }
  const std::string why =
      test::message_of<Error>([&] { plan_bricks(volume, whole(volume.shape), 300000); });
  EXPECT_NE(why.find("--device-memory-limit"), std::string::npos) << why;
}

// Trilinear values must be those of the whole volume to the last bit, at its borders too.
template <class Voxel>
void expect_exact(Dtype dtype) {
  const Volume volume = noise<Voxel>({60, 47, 33}, dtype);
  const auto backend = open_cpu();
  const BrickPlan plan = plan_bricks(volume, whole(volume.shape), 120000 * sizeof(Voxel));
  BrickStream bricks(*backend, volume, plan, {1, 0, 3000});
  const VolumeView view = volume.view();
  const double range = 1 / (view.high - view.low);
  for (std::uint64_t step = 0; step < 30; ++step) {
    const Drawn drawn = draw(bricks, 3000, step);
    for (std::size_t i = 0; i < 3000; ++i) {
      const double value = static_cast<double>(lookup(
          grid_of<Voxel>(view), drawn.points[i], drawn.points[3000 + i], drawn.points[6000 + i]));
      ASSERT_EQ(drawn.targets[i], static_cast<float>((value - view.low) * range)) << i;
    }
  }
}

TEST(BrickStream, GivesTheValuesOfTheWholeVolume) {
  expect_exact<std::uint8_t>(Dtype::uint8);
  expect_exact<std::uint16_t>(Dtype::uint16);
  expect_exact<float>(Dtype::float32);
  expect_exact<double>(Dtype::float64);
}

// Chi squared over cells that no brick's border follows.
TEST(BrickStream, DrawsEveryPlaceEquallyOften) {
  const Volume volume = noise<std::uint8_t>({52, 64, 40}, Dtype::uint8);
  const auto backend = open_cpu();
  const BrickPlan plan = plan_bricks(volume, whole(volume.shape), 100000);
  EXPECT_GT(plan.bricks(), 2 * kBrickGroups * plan.per_group);
  constexpr std::int64_t rows = 5000, cells = 9;
  BrickStream bricks(*backend, volume, plan, {3, 0, rows});
  std::vector<double> counts(cells * cells * cells);
  constexpr int steps = 4000;
  for (std::uint64_t step = 0; step < steps; ++step) {
    const Drawn drawn = draw(bricks, rows, step);
    for (std::size_t i = 0; i < rows; ++i) {
      std::size_t cell = 0;
      for (std::size_t d = 0; d < 3; ++d)
        cell = cell * cells +
               std::min<std::size_t>(static_cast<std::size_t>(drawn.points[d * rows + i] * cells),
                                     cells - 1);
      ++counts[cell];
    }
  }
  // Bricks come and go, so that counts spread more than those of single draws; a brick is there
  // for about 4000 / (passes over all) steps.
  const double mean = double(rows) * steps / double(counts.size());
  for (const double count : counts) EXPECT_NEAR(count, mean, 0.05 * mean);
}

TEST(BrickStream, IsAFunctionOfSeedRankAndPlan) {
  const Volume volume = noise<std::uint8_t>({64, 64, 64}, Dtype::uint8);
  const auto backend = open_cpu();
  const auto all = [&](std::uint64_t seed, int rank, std::size_t budget) {
    BrickStream bricks(*backend, volume, plan_bricks(volume, whole(volume.shape), budget),
                       {seed, rank, 500});
    std::vector<float> points;
    for (std::uint64_t step = 0; step < 40; ++step) {
      const Drawn drawn = draw(bricks, 500, step);
      points.insert(points.end(), drawn.points.begin(), drawn.points.end());
    }
    return points;
  };
  const auto once = all(1, 0, 130000);
  EXPECT_EQ(once, all(1, 0, 130000));
  EXPECT_NE(once, all(2, 0, 130000));
  EXPECT_NE(once, all(1, 1, 130000));
  EXPECT_NE(once, all(1, 0, 200000));
}

// What is drawn after steps that were left out is what is drawn after those steps.
TEST(BrickStream, SkipsSteps) {
  const Volume volume = noise<std::uint8_t>({64, 60, 56}, Dtype::uint8);
  const BrickPlan plan = plan_bricks(volume, whole(volume.shape), 130000);
  // Turns of several steps, and of one.
  for (const std::int64_t rows : {std::int64_t{500}, std::int64_t{30000}})
    for (const auto& skips :
         std::vector<std::vector<std::uint64_t>>{{0, 1}, {1, 1}, {7, 30, 2}, {100}, {400, 1}}) {
      const auto backend = open_cpu();
      BrickStream steady(*backend, volume, plan, {1, 0, rows}),
          skipping(*backend, volume, plan, {1, 0, rows});
      std::uint64_t step = 0;
      for (const std::uint64_t skip : skips) {
        skipping.skip(static_cast<std::int64_t>(skip));
        for (std::uint64_t i = 0; i < skip; ++i) draw(steady, 16, step++);
        for (int i = 0; i < 12; ++i, ++step) {
          const Drawn want = draw(steady, 300, step), got = draw(skipping, 300, step);
          ASSERT_EQ(want.points, got.points) << step << " with " << rows << " rows";
          ASSERT_EQ(want.targets, got.targets) << step << " with " << rows << " rows";
        }
      }
    }
}

// As ranks draw them: rows that differ by one from step to step, or none.
TEST(BrickStream, DrawsAsManyRowsAsItIsAskedFor) {
  const Volume volume = noise<std::uint8_t>({64, 60, 56}, Dtype::uint8);
  const BrickPlan plan = plan_bricks(volume, whole(volume.shape), 130000);
  const auto backend = open_cpu();
  BrickStream a(*backend, volume, plan, {1, 0, 500}), b(*backend, volume, plan, {1, 0, 500});
  for (std::uint64_t step = 0; step < 100; ++step) {
    const std::int64_t rows = step % 9 == 4 ? 0 : step % 9 == 5 ? 1 : 500 + std::int64_t(step % 2);
    const Drawn drawn = draw(a, rows, step);
    EXPECT_EQ(drawn.points, draw(b, rows, step).points);
    for (const float x : drawn.points) ASSERT_TRUE(x >= 0 && x <= 1) << x;
    for (const float x : drawn.targets) ASSERT_TRUE(x >= 0 && x <= 1) << x;
  }
}

// A backend that checks the order of staging, and spoils what may not be looked at yet.
class Asynchronous : public test::Wrapped {
 public:
  void stage(void* to, const void* from, std::size_t n) override {
    pending_.push_back({to, from, n});
  }
  void finish_staging() override {
    for (const auto& [to, from, n] : pending_) std::memcpy(to, from, n);
    pending_.clear();
  }

 private:
  struct Copy {
    void* to;
    const void* from;
    std::size_t bytes;
  };
  std::vector<Copy> pending_;
};

TEST(BrickStream, WaitsForWhatIsStaged) {
  const Volume volume = noise<std::uint8_t>({64, 64, 64}, Dtype::uint8);
  const BrickPlan plan = plan_bricks(volume, whole(volume.shape), 130000);
  Asynchronous late;
  BrickStream a(late, volume, plan, {1, 0, 500}), b(*late.inner, volume, plan, {1, 0, 500});
  for (std::uint64_t step = 0; step < 200; ++step)
    ASSERT_EQ(draw(a, 500, step).targets, draw(b, 500, step).targets) << step;
  for (BrickStream* stream : {&a, &b}) stream->skip(55);
  for (std::uint64_t step = 255; step < 300; ++step)
    ASSERT_EQ(draw(a, 500, step).targets, draw(b, 500, step).targets) << step;
}

kanbench::Run small_run() {
  kanbench::Run run;
  run.dataset = "turbulence";
  run.network_type = "mlp";
  run.lrate = 5e-3;
  run.lrate_decay = 10;
  run.epochs = 12;
  run.n_neurons = 16;
  run.n_hidden_layers = 2;
  run.n_levels = 6;
  run.n_features_per_level = 4;
  run.per_level_scale = 1.5;
  run.log2_hashmap_size = 11;
  run.base_resolution = 6;
  run.batch_size = 1024;
  return run;
}

Result benchmark(const kanbench::Run& run, const Volume& volume, std::size_t limit) {
  const auto backend = open_cpu();
  backend->limit_memory(limit);
  const auto alone = open_single();
  const Result result = run_benchmark(run, volume, *backend, *alone, {});
  EXPECT_EQ(result.status, "finished") << result.failure;
  if (limit) {
    EXPECT_LE(backend->peak_bytes(), limit);
    EXPECT_NE(result.device.find("bricks"), std::string::npos) << result.device;
  }
  return result;
}

TEST(BrickStream, LearnsNearlyWhatTheWholeVolumeTeaches) {
  const test::TemporaryDirectory directory;
  const Volume volume =
      open_volume(write_synth("turbulence", directory.path(), {64, 64, 64}, Dtype::float32, 1));
  const double resident = benchmark(small_run(), volume, 0).trials[0].metrics.psnr;
  const double streamed = benchmark(small_run(), volume, 1900000).trials[0].metrics.psnr;
  RecordProperty("resident", std::to_string(resident));
  RecordProperty("streamed", std::to_string(streamed));
  EXPECT_GT(streamed, resident - 0.2);
}

TEST(BrickStream, TakesNoMoreMemoryForALargerVolume) {
  kanbench::Run run = small_run();
  run.epochs = 1;
  run.batch_size = 4096;
  std::int64_t peaks[2];
  for (const int i : {0, 1}) {
    const Volume volume = noise<std::uint8_t>({128, 128, i ? 256 : 128}, Dtype::uint8);
    peaks[i] = benchmark(run, volume, 2400000).peak_device_bytes;
  }
  EXPECT_NEAR(double(peaks[0]), double(peaks[1]), 0.03 * double(peaks[0]));
}

}  // namespace
}  // namespace kanbench
