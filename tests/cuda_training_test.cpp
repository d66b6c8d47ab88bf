// Training on the CUDA backend: groups of steps, recorded graphs, both ways through a step, loss
// scaling, determinism, decoding; and the figures it reaches beside the CPU's.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "emulator.h"
#include "kanbench/io.h"
#include "kanbench/reconstruct.h"
#include "kanbench/synth.h"
#include "kanbench/trainer.h"
#include "kernels/backend.h"
#include "kernels/tuning.h"
#include "support.h"

namespace kanbench {
namespace {

constexpr std::int64_t kRows = 96;

ModelSpec make_model(bool kan, int neurons = 16, int features = 2) {
  ModelSpec spec;
  spec.network_type = kan ? "fastkan" : "mlp";
  spec.encoder = encoder::HashGrid{3, features, 8, 4, 1.6};
  int in = width(spec.encoder);
  for (int i = 0; i < 3; ++i) {
    Layer layer{in, i < 2 ? neurons : 1};
    if (kan) {
      layer.basis = basis::Rbf{};
      layer.base = layer.bias = true;
      layer.norm = i > 0;
    } else if (i > 0) {
      layer.basis = basis::Relu{};
    }
    spec.layers.push_back(layer);
    in = layer.out;
  }
  return spec;
}

Volume make_volume(Shape shape) {
  auto voxels = std::make_shared<std::vector<float>>(static_cast<std::size_t>(shape.count()));
  std::size_t at = 0;
  for (std::int64_t z = 0; z < shape.z; ++z)
    for (std::int64_t y = 0; y < shape.y; ++y)
      for (std::int64_t x = 0; x < shape.x; ++x)
        (*voxels)[at++] = static_cast<float>(std::sin(0.5 * static_cast<double>(x)) +
                                             std::cos(0.3 * static_cast<double>(y)) +
                                             0.1 * static_cast<double>(z));
  return {"waves", shape, Dtype::float32, {voxels, voxels->data()}, "waves"};
}

// A model, its volume on the device, and what training needs beside it.
struct Bench {
  std::unique_ptr<Backend> backend;
  Volume volume = make_volume({9, 8, 7});
  VolumeView view;
  Model model;
  Buffer<float> points, targets;
  std::int64_t done = 0;

  explicit Bench(const ModelSpec& spec, Precision precision, const DeviceSettings& settings = {})
      : backend(open_cuda(0, settings)),
        view(backend->place(volume)),
        model(*backend, spec, precision),
        points(*backend, 3 * kRows),
        targets(*backend, kRows) {
    model.upload(draw_parameters(spec, {0.3, 0.1, 1.0}, 5));
    model.train();
  }
  std::vector<TrainingStep> steps(int count) {
    std::vector<TrainingStep> all;
    for (int i = 0; i < count; ++i, ++done) {
      Adam adam;
      adam.encoder_rate = adam.decoder_rate = 1e-2f / static_cast<float>(1 + done);
      all.push_back(
          {make_stream(3, 0, Purpose::samples, static_cast<std::uint64_t>(done)), adam, done + 1});
    }
    return all;
  }
  Rows point_rows() { return {points.data(), kRows, 3, kRows}; }
  Rows target_rows() { return {targets.data(), kRows, 1, kRows}; }
  std::vector<BatchSums> train(int count) {
    return backend->train(model, view, whole(volume.shape), {loss::L1{}, 1.0 / kRows}, steps(count),
                          point_rows(), target_rows());
  }
};

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
  cuda::write_tuning(
      file, cuda::tuning_key(properties.name, *plan, cuda::make_grid(layout, features), kRows),
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
      const BatchSums each = one.backend->step(one.model, {one.points.data(), kRows, 3, kRows},
                                               {one.targets.data(), kRows, 1, kRows},
                                               {loss::L1{}, 1.0 / kRows}, step.adam, step.number);
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
    const std::vector<BatchSums> sums = bench.train(6);
    ASSERT_EQ(sums.size(), 1u) << name(precision);
    EXPECT_FALSE(sums[0].finite);
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
    const auto alone = open_communicator("single");
    const History history =
        train(model, backend.place(volume), whole(volume.shape), training, *alone);
    EXPECT_TRUE(history.recoveries.empty());
    return evaluate(model, volume.low, volume.high, volume).metrics;
  };
  const auto cpu = open_cpu();
  const Metrics wanted = reach(*cpu, Precision::fp32);
  EXPECT_GT(wanted.psnr, 28);

  const auto device = open_cuda(0, {});
  for (Precision precision : device->precisions(spec)) {
    const Metrics found = reach(*device, precision);
    EXPECT_GT(found.psnr, wanted.psnr - (precision == Precision::bf16 ? 1.5 : 0.6))
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

// Bricks come and go beside the steps; whoever does not wait for them samples what is not there.
TEST(CudaBricks, AVolumeNeedNotFitTheDevice) {
  const Volume volume = make_volume({64, 60, 57});
  const ModelSpec spec = make_model(false);
  Training training;
  training.epochs = 1;
  training.batch_size = 4096;
  training.lrate = 3e-2;
  const auto alone = open_communicator("single");
  double psnr[3];
  for (int i = 0; i < 3; ++i) {
    emulator::set_lazy(i == 2);
    DeviceSettings settings;
    // Lazily, what is not waited for is what was there before.
    settings.deterministic = true;
    const auto device = open_cuda(0, settings);
    Model model(*device, spec, Precision::fp16);
    model.upload(draw_parameters(spec, {1e-4, 0.01, std::sqrt(6.0)}, 7));
    model.train();
    const History history =
        i == 0 ? train(model, device->place(volume), whole(volume.shape), training, *alone)
               : train_in_bricks(model, volume, whole(volume.shape), training, *alone);
    psnr[i] = history.epochs.back().psnr;
  }
  EXPECT_NEAR(psnr[1], psnr[0], 1.0);
  EXPECT_EQ(psnr[1], psnr[2]);
  emulator::reset();
}

// Every block must fit, and hold what it should where it can.
TEST(FusedShapes, FitTheirDevices) {
  for (std::int64_t shared : {166912, 232448})
    for (bool kan : {false, true})
      for (int neurons : {16, 32, 64, 128})
        for (int hidden = 1; hidden <= 8; ++hidden)
          for (Precision precision : {Precision::fp16, Precision::bf16, Precision::tf32}) {
            ModelSpec spec = make_model(kan, neurons);
            spec.layers.insert(spec.layers.begin() + 1, static_cast<std::size_t>(hidden - 1),
                               spec.layers[1]);
            spec.layers.erase(spec.layers.begin() + hidden);
            if (hidden == 1) spec.layers[1].in = neurons;
            const bool beyond = kan && neurons == 128 && precision == Precision::tf32;
            const auto plan = cuda::plan_fused(spec, make_layout(spec), precision);
            EXPECT_EQ(plan.has_value(), !beyond);
            if (beyond) continue;
            ASSERT_TRUE(plan) << neurons << " x " << hidden;
            for (cuda::FusedMode mode : {cuda::FusedMode::predict, cuda::FusedMode::train}) {
              const cuda::FusedShape shape = cuda::shape_fused(*plan, mode, 4, shared);
              // The general decoder takes the few whose saved inputs are too many.
              if (precision == Precision::tf32 && neurons == 128 && hidden > 4) continue;
              EXPECT_GT(shape.warps, 0) << kan << neurons << " x " << hidden << name(precision);
              EXPECT_LE(shape.bytes, shared);
            }
          }
}

TEST(FusedShapes, RefuseWhatTheKernelsCannotDo) {
  const auto planned = [](const ModelSpec& spec, Precision precision = Precision::fp16) {
    return cuda::plan_fused(spec, make_layout(spec), precision).has_value();
  };
  EXPECT_TRUE(planned(make_model(true)));
  EXPECT_TRUE(planned(make_model(false, 20)));
  EXPECT_FALSE(planned(make_model(true), Precision::fp32));
  EXPECT_FALSE(planned(make_model(true, 20)));
  EXPECT_FALSE(planned(make_model(false, 129)));
  ModelSpec spec = make_model(true);
  spec.layers[0].norm = true;
  EXPECT_FALSE(planned(spec));
  spec = make_model(true);
  spec.layers[1].basis = basis::Rbf{9, 2};
  EXPECT_FALSE(planned(spec));
  spec = make_model(false);
  spec.layers[2].norm = true;
  EXPECT_FALSE(planned(spec));
}

}  // namespace
}  // namespace kanbench
