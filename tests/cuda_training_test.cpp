// Training on the CUDA backend: groups of steps, recorded graphs, both ways through a step, loss
// scaling, determinism, decoding; and the figures it reaches beside the CPU's.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "device_bench.h"
#include "emulator.h"
#include "kanbench/io.h"
#include "kanbench/reconstruct.h"
#include "kanbench/trainer.h"
#include "kernels/backend.h"
#include "kernels/tuning.h"
#include "support.h"

namespace kanbench {
namespace {

using test::Bench;
using test::kRows;
using test::make_model;
using test::make_volume;

double distance(const std::vector<float>& a, const std::vector<float>& b) {
  double sum = 0, length = 1e-30;
  for (std::size_t i = 0; i < a.size(); ++i) {
    sum += (double{a[i]} - b[i]) * (double{a[i]} - b[i]);
    length += double{a[i]} * a[i];
  }
  return std::sqrt(sum / length);
}

class CudaTraining : public testing::TestWithParam<bool> {
 protected:
  void TearDown() override { emulator::reset(); }
};

// A tuning file that answers before anything is measured.
std::string write_choice(const test::TemporaryDirectory& directory, const ModelSpec& spec,
                         bool whole) {
  const Layout layout = make_layout(spec);
  const auto plan = cuda::plan_fused(spec, layout, Precision::fp16);
  const auto features = std::get<encoder::HashGrid>(spec.encoder).n_features_per_level;
  const std::string file = (directory.path() / (whole ? "whole.txt" : "split.txt")).string();
  cudaDeviceProp properties;
  cudaGetDeviceProperties(&properties, 0);
  const Volume volume = make_volume({9, 8, 7});
  const cuda::DrawArguments draw = cuda::make_draw(volume.view(), kanbench::whole(volume.shape),
                                                   make_stream(1, 0, Purpose::samples), 0);
  cuda::write_tuning(
      file,
      cuda::tuning_key(properties.name, *plan, cuda::make_grid(layout, features), draw, kRows),
      whole ? cuda::Tuning{2, 1} : cuda::Tuning{1, 2});
  return file;
}

TEST_P(CudaTraining, OneKernelForAllAgreesWithOneForEach) {
  const test::TemporaryDirectory directory;
  for (int neurons : {16, 32, 64})
    for (int features : {1, 2, 4, 8}) {
      const ModelSpec spec = make_model(GetParam(), neurons, features);
      std::vector<float> ends[2];
      for (bool whole : {false, true}) {
        DeviceSettings settings;
        settings.tuning_file = write_choice(directory, spec, whole);
        Bench bench(spec, Precision::fp16, settings);
        bench.train(1);
        EXPECT_NE(
            bench.backend->choices(bench.model).find(whole ? "one kernel from" : "each stage,"),
            std::string::npos)
            << bench.backend->choices(bench.model);
        ends[whole] = bench.model.download();
      }
      EXPECT_LT(distance(ends[0], ends[1]), 2e-3) << neurons << " neurons, " << features;
    }
}

TEST_P(CudaTraining, AGroupOfStepsIsItsStepsOneByOne) {
  for (Precision precision : {Precision::fp32, Precision::fp16, Precision::tf32}) {
    DeviceSettings settings;
    settings.deterministic = true;
    Bench one(make_model(GetParam()), precision, settings);
    Bench many(make_model(GetParam()), precision, settings);
    const std::vector<BatchSums> sums = many.train(5);
    ASSERT_EQ(sums.size(), 5u);
    int i = 0;
    for (const TrainingStep& step : one.steps(5)) {
      one.backend->sample(one.view, whole(one.volume.shape), step.stream, 0, one.point_rows(),
                          one.target_rows());
      const BatchSums each = one.backend->step(
          one.model, {one.points.data(), kRows, 3, kRows}, {one.targets.data(), kRows, 1, kRows},
          {loss::L1{}, 1.0 / kRows}, step.optimizer, step.number);
      EXPECT_EQ(each.loss, sums[i++].loss) << name(precision);
    }
    EXPECT_EQ(one.model.download(), many.model.download()) << name(precision);
    EXPECT_EQ(distance(one.model.download(),
                       draw_parameters(one.model.spec(), {0.3, 0.1, 1.0}, 5)) > 1e-4,
              true);
  }
}

TEST_P(CudaTraining, DeterministicModeHasTheSameBitsUnderAnySchedule) {
  for (Precision precision : {Precision::fp16, Precision::bf16, Precision::fp32}) {
    std::vector<float> first;
    for (std::uint64_t seed : {1, 2, 3})
      for (bool lazy : {false, true}) {
        emulator::set_schedule(seed);
        emulator::set_lazy(lazy);
        DeviceSettings settings;
        settings.deterministic = true;
        Bench bench(make_model(GetParam()), precision, settings);
        bench.train(4);
        const std::vector<float> now = bench.model.download();
        if (first.empty()) first = now;
        EXPECT_EQ(std::memcmp(first.data(), now.data(), now.size() * sizeof(float)), 0)
            << name(precision) << ", schedule " << seed << (lazy ? ", lazy" : "");
        emulator::reset();
      }
  }
}

// What a recorded step works in may have moved since.
TEST_P(CudaTraining, ALargerBatchInBetweenChangesNothing) {
  for (Precision precision : {Precision::fp16, Precision::fp32}) {
    std::vector<float> ends[2];
    for (bool interrupted : {false, true}) {
      DeviceSettings settings;
      settings.deterministic = true;
      // Three features a level are encoded before the decoder's kernel.
      Bench bench(make_model(GetParam(), 16, 3), precision, settings);
      bench.train(3);
      if (interrupted) {
        Buffer<float> points(*bench.backend, 3 * 700), values(*bench.backend, 700);
        bench.backend->predict(bench.model, {points.data(), 700, 3, 700},
                               {values.data(), 700, 1, 700});
      }
      bench.train(3);
      ends[interrupted] = bench.model.download();
    }
    EXPECT_EQ(ends[0], ends[1]) << name(precision);
  }
}

// Weights that a block brings in round by round are those that stay.
TEST_P(CudaTraining, WeightsNeedNotStayInSharedMemory) {
  for (int neurons : {16, 64})
    for (Precision precision : {Precision::fp16, Precision::tf32}) {
      std::vector<float> ends[2], values[2];
      for (bool resident : {false, true}) {
        DeviceSettings settings;
        settings.deterministic = true;
        Bench bench(make_model(GetParam(), neurons, 8), precision, settings);
        bench.train(1);
        auto& device = *static_cast<cuda::DeviceModel*>(bench.model.cache.get());
        // Some cannot stay; those that can need not.
        if (!resident) device.train.resident = device.predict.resident = false;
        bench.train(3);
        ends[resident] = bench.model.download();
        Buffer<float> out(*bench.backend, kRows);
        bench.backend->predict(bench.model, {bench.points.data(), kRows, 3, kRows},
                               {out.data(), kRows, 1, kRows});
        values[resident].resize(kRows);
        bench.backend->download(values[resident].data(), out.data(), out.bytes());
      }
      EXPECT_EQ(ends[0], ends[1]) << neurons << ", " << name(precision);
      EXPECT_EQ(values[0], values[1]) << neurons << ", " << name(precision);
    }
}

TEST_P(CudaTraining, AnOverflowLeavesTheStepOutAndScalesDown) {
  DeviceSettings settings;
  settings.deterministic = true;
  Bench bench(make_model(GetParam()), Precision::fp16, settings);
  bench.train(1);
  auto& device = *static_cast<cuda::DeviceModel*>(bench.model.cache.get());
  const float huge = 3e34f;
  bench.backend->upload(&device.state.data()->loss_scale, &huge, sizeof huge);
  const std::vector<float> before = bench.model.download();
  const std::vector<BatchSums> sums = bench.train(1);
  ASSERT_EQ(sums.size(), 1u);
  EXPECT_TRUE(sums[0].finite);
  EXPECT_TRUE(std::isfinite(sums[0].loss));
  EXPECT_EQ(before, bench.model.download());
  float after = 0;
  bench.backend->download(&after, &device.state.data()->loss_scale, sizeof after);
  EXPECT_EQ(after, huge / 2);
  // Halved until it fits, it trains on.
  for (int i = 0; i < 4; ++i) bench.train(30);
  EXPECT_NE(before, bench.model.download());
  for (float w : bench.model.download()) ASSERT_TRUE(std::isfinite(w));
}

TEST_P(CudaTraining, ALossThatIsNotFiniteEndsTheGroup) {
  for (Precision precision : {Precision::fp32, Precision::fp16}) {
    Bench bench(make_model(GetParam()), precision);
    bench.train(2);
    std::vector<float> block = bench.model.download();
    block[static_cast<std::size_t>(bench.model.layout().layers[1].weight)] = NAN;
    bench.model.upload(block);
    auto& device = *static_cast<cuda::DeviceModel*>(bench.model.cache.get());
    float before = 0, after = 0;
    bench.backend->download(&before, &device.state.data()->loss_scale, sizeof before);
    const std::vector<BatchSums> sums = bench.train(30);
    ASSERT_EQ(sums.size(), 1u) << name(precision);
    EXPECT_FALSE(sums[0].finite);
    // The steps behind it said nothing of the scale.
    bench.backend->download(&after, &device.state.data()->loss_scale, sizeof after);
    EXPECT_EQ(before, after);
  }
}

TEST_P(CudaTraining, ALatticeIsDecodedAsItsPointsArePredicted) {
  const Box box{{1, 0, 2}, {12, 5, 9}};
  const Shape size{13, 7, 11}, shape = box.shape();
  for (int features : {2, 3})
    for (Precision precision : {Precision::fp16, Precision::tf32, Precision::fp32}) {
      Bench bench(make_model(GetParam(), 32, features), precision);
      Backend& backend = *bench.backend;
      const std::int64_t count = shape.count();
      std::vector<float> points(static_cast<std::size_t>(3 * count));
      std::int64_t i = 0;
      for (std::int64_t z = 2; z < 9; ++z)
        for (std::int64_t y = 0; y < 5; ++y)
          for (std::int64_t x = 1; x < 12; ++x, ++i) {
            points[i] = static_cast<float>((static_cast<double>(x) + 0.5) / 13);
            points[count + i] = static_cast<float>((static_cast<double>(y) + 0.5) / 7);
            points[2 * count + i] = static_cast<float>((static_cast<double>(z) + 0.5) / 11);
          }
      Buffer<float> at(backend, 3 * count), predicted(backend, count), decoded(backend, count);
      Buffer<std::uint8_t> voxels(backend, count);
      backend.upload(at.data(), points.data(), at.bytes());
      backend.predict(bench.model, {at.data(), count, 3, count},
                      {predicted.data(), count, 1, count});
      backend.decode(bench.model, {size, box},
                     {decoded.data(), voxels.data(), Dtype::uint8, 10, 200});
      std::vector<float> a(count), b(count);
      std::vector<std::uint8_t> bytes(count), wanted(count);
      backend.download(a.data(), predicted.data(), predicted.bytes());
      backend.download(b.data(), decoded.data(), decoded.bytes());
      backend.download(bytes.data(), voxels.data(), voxels.bytes());
      EXPECT_EQ(a, b) << name(precision) << ", " << features << " features";
      for (float& value : b) value = std::clamp(value, 0.0f, 1.0f);
      denormalise(b.data(), count, 10, 200, Dtype::uint8, wanted.data());
      EXPECT_EQ(bytes, wanted);
    }
}

// The same run on both, judged by their own meters.
TEST_P(CudaTraining, ReachesWhatTheCpuReaches) {
  const Volume volume = make_volume({18, 16, 15});
  const ModelSpec spec = make_model(GetParam());
  Training training;
  training.epochs = 5;
  training.batch_size = 128;
  training.anneal = 0.25;
  training.seed = 7;
  training.decoder_rate = 0.3;
  const auto reach = [&](Backend& backend, Precision precision) {
    Model model(backend, spec, precision);
    model.upload(draw_parameters(spec, {1e-4, 0.01, std::sqrt(6.0)}, 7));
    const auto alone = open_single();
    const History history = train(model, backend.place(volume, whole(volume.shape)),
                                  whole(volume.shape), training, *alone);
    EXPECT_TRUE(history.recoveries.empty());
    return evaluate(ModelField(model), volume.ranges(), volume, *alone).metrics;
  };
  const auto cpu = open_cpu();
  const Metrics wanted = reach(*cpu, Precision::fp32);
  EXPECT_GT(wanted.psnr, 28);

  const auto device = open_cuda(0, {});
  for (Precision precision : device->precisions(spec)) {
    const Metrics found = reach(*device, precision);
    // One seed scatters by half a decibel either way, however it is rounded.
    EXPECT_GT(found.psnr, wanted.psnr - (precision == Precision::bf16 ? 1.5 : 1.0))
        << name(precision);
    EXPECT_GT(found.ssim, wanted.ssim - 0.02) << name(precision);
  }
}

TEST_P(CudaTraining, BricksAreSampledInOneLaunchAsOneByOne) {
  Bench bench(make_model(GetParam()), Precision::fp32);
  const Stream stream = make_stream(4, 0, Purpose::samples, 9);
  std::vector<BrickRows> bricks;
  for (std::int64_t i = 0; i < 3; ++i)
    bricks.push_back({bench.view, {{3 * i, 2, 0}, {3 * i + 3, 8, 6}}, 32 * i, 32});
  std::vector<float> ends[2];
  for (int i = 0; i < 2; ++i) {
    if (i)
      bench.backend->sample_bricks(bricks, stream, bench.point_rows(), bench.target_rows());
    else
      bench.backend->Backend::sample_bricks(bricks, stream, bench.point_rows(),
                                            bench.target_rows());
    ends[i].resize(4 * kRows);
    bench.backend->download(ends[i].data(), bench.points.data(), bench.points.bytes());
    bench.backend->download(ends[i].data() + 3 * kRows, bench.targets.data(),
                            bench.targets.bytes());
  }
  EXPECT_EQ(ends[0], ends[1]);
}

TEST_P(CudaTraining, ProfilesItsStages) {
  Bench bench(make_model(GetParam()), Precision::fp16);
  const std::vector<Stage> stages =
      bench.backend->profile(bench.model, bench.view, 64, loss::L1{}, Adam{});
  ASSERT_GE(stages.size(), 6u);
  for (const Stage& stage : stages) {
    EXPECT_GT(stage.seconds, 0) << stage.name;
    EXPECT_TRUE(std::isfinite(stage.fraction_of_ceiling)) << stage.name;
  }
}

INSTANTIATE_TEST_SUITE_P(All, CudaTraining, testing::Bool());

}  // namespace
}  // namespace kanbench
