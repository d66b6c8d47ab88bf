// What the host decides for the fused decoders: which models they take, and what a block of theirs
// holds. And volumes that a device does not.

#include <gtest/gtest.h>

#include "device_bench.h"
#include "emulator.h"
#include "kanbench/trainer.h"
#include "kernels/fused.h"

namespace kanbench {
namespace {

using test::make_model;
using test::make_volume;

// Bricks come and go beside the steps; whoever does not wait for them samples what is not there.
TEST(CudaBricks, AVolumeNeedNotFitTheDevice) {
  const Volume volume = make_volume({64, 60, 57});
  const ModelSpec spec = make_model(false);
  Training training;
  training.epochs = 1;
  training.batch_size = 4096;
  training.lrate = 3e-2;
  const auto alone = open_single();
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
        i == 0 ? train(model, device->place(volume, whole(volume.shape)), whole(volume.shape),
                       training, *alone)
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
  spec.layers[1].basis = basis::Rbf{13, 2};
  EXPECT_FALSE(planned(spec));
  // The kernels of any basis take these.
  spec.layers[1].basis = basis::Rbf{9, 2};
  EXPECT_TRUE(planned(spec));
  EXPECT_FALSE(planned(spec, Precision::bf16));
  spec = make_model(false);
  spec.layers[2].norm = true;
  EXPECT_TRUE(planned(spec));
}

}  // namespace
}  // namespace kanbench
