// Training of ensembles: no seam is seen where neighbours are blended, and whoever trains the
// bricks, in however many goes, gets the same.

#include "kanbench/ensemble_training.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <thread>

#include "brick_record.h"
#include "kanbench/backend.h"
#include "kanbench/error.h"
#include "kanbench/file.h"
#include "kanbench/interruption.h"
#include "kanbench/io.h"
#include "kanbench/model_file.h"
#include "kanbench/parallel.h"
#include "kanbench/reconstruct.h"
#include "kanbench/synth.h"
#include "support.h"
#include "thread_ranks.h"
#include "work_list.h"

namespace kanbench {
namespace {

namespace fs = std::filesystem;

Run small_run(const Shape& bricks, int epochs = 2) {
  Run run;
  run.dataset = "turbulence";
  run.network_type = "mlp";
  run.lrate = 0.01;
  run.epochs = epochs;
  run.n_neurons = 16;
  run.n_hidden_layers = 1;
  run.n_levels = 4;
  run.n_features_per_level = 2;
  run.per_level_scale = 1.6;
  run.log2_hashmap_size = 11;
  run.base_resolution = 4;
  run.decomposition.mode = "ensemble";
  run.decomposition.bricks = bricks;
  return run;
}

class EnsembleTrainingTest : public testing::Test {
 protected:
  EnsembleTrainingTest() : backend(open_cpu()) {}
  ~EnsembleTrainingTest() override { wish_interruption(false); }

  const Volume& volume(std::int64_t edge) {
    if (!volume_ || volume_->shape.x != edge)
      volume_ = std::make_unique<Volume>(open_volume(
          write_synth("turbulence", directory.path(), {edge, edge, edge}, Dtype::uint8, 1)));
    return *volume_;
  }

  EnsembleTraining train(const kanbench::Run& run, const Volume& volume, const std::string& name,
                         const EnsembleProgress& progress = {}, bool resume = true) {
    const std::unique_ptr<Communicator> alone = open_single();
    EnsembleSettings settings;
    settings.directory = directory / name;
    settings.key = "key";
    settings.resume = resume;
    return train_ensemble(run, 5, volume, *backend, *alone, Precision::fp32, settings, progress);
  }

  // All bricks' bytes, one after the other.
  std::string bricks(const Manifest& all, const std::string& name) const {
    std::string bytes;
    for (const Brick& brick : all.bricks)
      if (!brick.file.empty()) bytes += read_file(directory / name / brick.file);
    return bytes;
  }

  test::TemporaryDirectory directory;
  std::unique_ptr<Backend> backend;

 private:
  std::unique_ptr<Volume> volume_;
};

// The mean absolute difference of the error between voxels side by side along x, at faces of the
// grid and elsewhere.
struct Jumps {
  double at_faces = 0, inside = 0;
  double ratio() const { return at_faces / inside; }
};

Jumps jumps_of(const Ensemble& field, const Volume& volume) {
  const Shape shape = volume.shape;
  const std::int64_t count = shape.count();
  std::vector<float> truth(static_cast<std::size_t>(count)), error(truth.size());
  normalise(volume.view(), 0, count, truth.data());
  field.decode({shape, whole(shape)}, {error.data()});
  for (std::size_t i = 0; i < error.size(); ++i) error[i] -= truth[i];
  std::vector<bool> face(static_cast<std::size_t>(shape.x));
  for (const Brick& brick : field.manifest().bricks)
    if (brick.core.low[0] > 0) face[static_cast<std::size_t>(brick.core.low[0])] = true;
  double sums[2] = {}, counts[2] = {};
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t x = i % shape.x;
    if (x == 0) continue;
    const bool at_face = face[static_cast<std::size_t>(x)];
    sums[at_face] += std::abs(double(error[static_cast<std::size_t>(i)]) -
                              double(error[static_cast<std::size_t>(i - 1)]));
    ++counts[at_face];
  }
  return {sums[1] / counts[1], sums[0] / counts[0]};
}

TEST_F(EnsembleTrainingTest, NoSeamIsSeenWhereNeighboursAreBlended) {
  const Volume& turbulence = volume(64);
  const auto ratio = [&](int ghost, bool blend, int log2_table, int resolution) {
    kanbench::Run run = small_run({2, 2, 2}, 1);
    run.log2_hashmap_size = log2_table;
    run.base_resolution = resolution;
    run.decomposition.ghost = ghost;
    run.decomposition.blend = blend;
    const std::string name = std::to_string(ghost) + std::to_string(blend) + text(turbulence.shape);
    const EnsembleTraining trained = train(run, turbulence, name, {}, false);
    EXPECT_FALSE(trained.history.failed || trained.history.interrupted);
    return jumps_of(Ensemble(*backend, trained.manifest, directory / name), turbulence).ratio();
  };
  EXPECT_LT(ratio(1, true, 11, 4), 1.5);
  // Where models are coarse, so that errors are smooth within a brick, a seam stands out.
  const double blended = ratio(1, true, 8, 3), apart = ratio(0, true, 8, 3),
               cut = ratio(1, false, 8, 3);
  EXPECT_LT(blended, 1.1);
  EXPECT_GT(apart, 1.2 * blended);
  EXPECT_GT(cut, 1.1 * blended);
}

TEST_F(EnsembleTrainingTest, BricksHaveTheirOwnRangeAndBox) {
  std::vector<std::uint8_t> voxels(24 * 12 * 12, 9);
  for (std::size_t i = 0; i < voxels.size(); ++i)
    if (i % 24 >= 14) voxels[i] = static_cast<std::uint8_t>(20 + i * 7 % 90);
  const Volume volume("half", {24, 12, 12}, Dtype::uint8, {voxels.data(), [](const void*) {}},
                      "half");
  kanbench::Run run = small_run({2, 1, 1});
  const EnsembleTraining trained = train(run, volume, "half");
  ASSERT_TRUE(trained.assembles);
  const Manifest& all = trained.manifest;
  ASSERT_EQ(all.bricks.size(), 2u);
  // The first is 9 everywhere.
  EXPECT_TRUE(all.bricks[0].file.empty());
  EXPECT_EQ(all.bricks[0].low, 9);
  EXPECT_EQ(all.bricks[0].high, 9);
  EXPECT_EQ(all.bricks[1].held.low[0], 11);
  EXPECT_EQ(all.bricks[1].high, volume.high);
  const ModelFile file = read_model(directory / "half" / all.bricks[1].file);
  EXPECT_EQ(text(file.shape), "13x12x12");
  EXPECT_EQ(file.ranges[0][0], 9);
  EXPECT_EQ(parse_manifest(to_json(all), "x").bricks.size(), 2u);
  std::vector<std::uint8_t> decoded(voxels.size());
  Ensemble(*backend, all, directory / "half")
      .decode({volume.shape, whole(volume.shape)},
              {nullptr, decoded.data(), Dtype::uint8, volume.low, volume.high});
  for (std::size_t i = 0; i < voxels.size(); ++i)
    if (i % 24 < 11) {
      ASSERT_EQ(decoded[i], 9);
    }
}

TEST_F(EnsembleTrainingTest, RanksMakeWhatOneMakes) {
  const Volume& turbulence = volume(24);
  const kanbench::Run run = small_run({3, 2, 1});
  const EnsembleTraining one = train(run, turbulence, "one");
  std::vector<EnsembleTraining> all(3);
  test::on_ranks(3, [&](Communicator& communicator) {
    const std::unique_ptr<Backend> own = open_cpu();
    EnsembleSettings settings;
    settings.directory = directory / "ranks";
    settings.key = "key";
    all[static_cast<std::size_t>(communicator.rank())] =
        train_ensemble(run, 5, turbulence, *own, communicator, Precision::fp32, settings);
  });
  for (const EnsembleTraining& rank : all) {
    EXPECT_TRUE(rank.assembles);
    EXPECT_EQ(to_json(rank.manifest), to_json(one.manifest));
    EXPECT_EQ(rank.history.epochs.size(), 2u);
    EXPECT_EQ(rank.history.epochs[1].samples, one.history.epochs[1].samples);
    EXPECT_DOUBLE_EQ(rank.history.epochs[1].loss, one.history.epochs[1].loss);
    EXPECT_EQ(rank.history.seconds, all[0].history.seconds);
    EXPECT_GT(rank.history.seconds, 0);
  }
  EXPECT_EQ(bricks(all[0].manifest, "ranks"), bricks(one.manifest, "one"));
}

TEST_F(EnsembleTrainingTest, GoesOnWithTheSameBits) {
  const Volume& turbulence = volume(32);
  const kanbench::Run run = small_run({2, 2, 1}, 8);
  const EnsembleTraining whole_run = train(run, turbulence, "whole");
  EnsembleProgress stopping;
  // Amid the second brick.
  stopping.detail = [](const std::string& sentence) {
    if (sentence.starts_with("brick")) {
      static int begun = 0;
      if (++begun == 2) wish_interruption();
    }
  };
  EnsembleTraining stopped = train(run, turbulence, "parts", stopping);
  EXPECT_TRUE(stopped.history.interrupted);
  EXPECT_TRUE(stopped.manifest.bricks.empty());
  EXPECT_EQ(stopped.history.epochs.size(), 8u);
  wish_interruption(false);
  std::string said;
  EnsembleProgress listening;
  int begun = 0;
  listening.notice = [&](const std::string& sentence) { said += sentence + "; "; };
  listening.detail = [&](const std::string&) { ++begun; };
  EnsembleTraining finished = train(run, turbulence, "parts", listening);
  EXPECT_NE(said.find("1 of 4 bricks"), std::string::npos) << said;
  EXPECT_EQ(begun, 3);
  EXPECT_FALSE(finished.history.interrupted);
  EXPECT_EQ(bricks(finished.manifest, "parts"), bricks(whole_run.manifest, "whole"));
  EXPECT_EQ(finished.history.epochs[7].samples, whole_run.history.epochs[7].samples);
  begun = 0;
  // Who holds it is still at it.
  train(run, turbulence, "parts", listening, false);
  EXPECT_EQ(begun, 0);
  finished.assembly.reset();
  stopped.assembly.reset();
  train(run, turbulence, "parts", listening, false);
  EXPECT_EQ(begun, 4);
}

TEST_F(EnsembleTrainingTest, BrickOfAnotherBatchSizeBeginsAgain) {
  const Volume& turbulence = volume(24);
  kanbench::Run run = small_run({2, 1, 1}, 8);
  run.batch_size = 1024;
  const EnsembleTraining whole_run = train(run, turbulence, "whole");
  kanbench::Run other = run;
  other.batch_size = 512;
  EnsembleProgress stopping;
  stopping.detail = [](const std::string&) { wish_interruption(); };
  EXPECT_TRUE(train(other, turbulence, "parts", stopping).history.interrupted);
  int left = 0;
  for (const fs::directory_entry& entry : fs::directory_iterator(directory / "parts.work"))
    left += entry.path().filename().string().find(".batch512.0") != std::string::npos;
  EXPECT_EQ(left, 1);
  wish_interruption(false);
  const EnsembleTraining finished = train(run, turbulence, "parts");
  EXPECT_TRUE(bricks(finished.manifest, "parts") == bricks(whole_run.manifest, "whole"));
}

TEST_F(EnsembleTrainingTest, BrickWhoseFileIsGoneIsTrainedAgain) {
  const Volume& turbulence = volume(24);
  const kanbench::Run run = small_run({2, 2, 1}, 1);
  const Manifest all = train(run, turbulence, "x").manifest;
  const std::string before = bricks(all, "x");
  fs::remove(directory / "x" / all.bricks[2].file);
  test::write_text(directory / "x" / "brick_000.safetensors.partial-1-1", "left by a killed one");
  int begun = 0;
  EnsembleProgress counting;
  counting.detail = [&](const std::string&) { ++begun; };
  train(run, turbulence, "x", counting);
  EXPECT_EQ(begun, 1);
  EXPECT_EQ(bricks(all, "x"), before);
  EXPECT_FALSE(fs::exists(directory / "x" / "brick_000.safetensors.partial-1-1"));
}

TEST_F(EnsembleTrainingTest, BrickThatFailsIsNamed) {
  const Volume& turbulence = volume(24);
  kanbench::Run run = small_run({2, 2, 1}, 1);
  run.lrate = 1e38;
  const EnsembleTraining trained = train(run, turbulence, "x");
  EXPECT_TRUE(trained.history.failed);
  EXPECT_NE(trained.failure.find("brick "), std::string::npos) << trained.failure;
  EXPECT_TRUE(trained.manifest.bricks.empty());
}

TEST_F(EnsembleTrainingTest, WhereOneRankStopsAllStop) {
  const Volume& turbulence = volume(24);
  const kanbench::Run run = small_run({2, 2, 2}, 2);
  const std::vector<std::string> said =
      test::messages_on_ranks<Error>(2, [&](Communicator& communicator) {
        const std::unique_ptr<Backend> own = open_cpu();
        EnsembleSettings settings;
        settings.directory = directory / "x";
        settings.key = "key";
        EnsembleProgress progress;
        if (communicator.rank() == 1)
          progress.detail = [](const std::string&) { throw Error("the disk is full"); };
        train_ensemble(run, 5, turbulence, *own, communicator, Precision::fp32, settings, progress);
      });
  EXPECT_EQ(said, std::vector<std::string>(2, "rank 1: the disk is full"));
}

TEST_F(EnsembleTrainingTest, WaitsForOthersBricks) {
  const Volume& turbulence = volume(24);
  const kanbench::Run run = small_run({2, 1, 1}, 1);
  train(run, turbulence, "x");
  // Another process is at work on the second, and is killed.
  const std::string key = "key seed 5 bricks 2x1x1 of 24x24x24\n";
  ASSERT_EQ(read_file(directory / "x.work" / "key"), key);
  fs::remove(directory / "x.work" / "brick_001");
  auto other = std::make_unique<WorkList>(directory / "x.work", key.substr(0, key.size() - 1),
                                          std::vector<std::int64_t>{1, 1}, 0,
                                          [](const std::string&) { return true; });
  ASSERT_EQ(other->take(), 1);
  std::jthread killer;
  EnsembleProgress progress;
  int trained_here = 0;
  progress.detail = [&](const std::string&) { ++trained_here; };
  progress.notice = [&](const std::string& sentence) {
    if (sentence.starts_with("waits for 1"))
      killer = std::jthread([&] {
        std::this_thread::sleep_for(std::chrono::milliseconds(100));
        other.reset();
      });
  };
  EXPECT_TRUE(train(run, turbulence, "x", progress).assembles);
  EXPECT_TRUE(killer.joinable());
  EXPECT_EQ(trained_here, 1);
}

TEST(BrickRecord, IsReadAsWritten) {
  BrickRecord record{3, -1.5, 2, "brick_003.safetensors", 10, 20, 512, {}};
  record.history.epochs = {{0.1, 30, 5, 1000}, {0.05, INFINITY, 5, 1000}};
  record.history.recoveries = {{1, 7, 0.5}};
  record.history.seconds = 10;
  const BrickRecord read = parse_record(to_json(record), "x");
  EXPECT_EQ(to_json(read), to_json(record));
  EXPECT_NEAR(read.history.epochs[0].psnr, 30, 1e-12);
  EXPECT_EQ(read.history.epochs[1].psnr, INFINITY);
  EXPECT_EQ(read.history.recoveries[0].step, 7);
  EXPECT_THROW(parse_record("{}", "x"), Error);
  EXPECT_THROW(parse_record("", "x"), Error);
}

// Two bricks side by side, one after the other in time, the second twice as long and half the
// range.
TEST(BrickRecord, ManyMakeOneHistory) {
  std::vector<BrickRecord> bricks(3);
  bricks[0] = {0, 0, 1, "a", 100, 110, 1, {}};
  bricks[0].history.epochs = {{0.2, 20, 5, 100}, {0.1, 30, 5, 100}};
  bricks[1] = {1, 0, 0.5, "b", 105, 125, 1, {}};
  bricks[1].history.epochs = {{0.4, 20, 5, 300}, {0.3, 20, 15, 300}};
  bricks[2] = {2, 0.5, 0.5, "", 130, 130, 0, {}};
  const History all = combine(bricks, 1);
  EXPECT_DOUBLE_EQ(all.seconds, 25);
  ASSERT_EQ(all.epochs.size(), 2u);
  EXPECT_EQ(all.epochs[0].samples, 400);
  EXPECT_DOUBLE_EQ(all.epochs[0].loss, 0.35);
  EXPECT_NEAR(all.epochs[0].psnr, -10 * std::log10((0.01 * 100 + 0.0025 * 300) / 400), 1e-9);
  EXPECT_DOUBLE_EQ(all.epochs[0].seconds + all.epochs[1].seconds, 25);
  EXPECT_DOUBLE_EQ(all.epochs[1].seconds, 2 * all.epochs[0].seconds);
}

}  // namespace
}  // namespace kanbench
