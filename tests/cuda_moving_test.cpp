// What the device does with grids that move beside what every backend is tested for: recorded steps
// between those that move grids, deterministic sums, and grids too large for shared memory.

#include <cmath>

#include "backend_cases.h"
#include "kanbench/volume.h"

namespace kanbench {
namespace {

using namespace test;

ModelSpec spec_of(int resolution) {
  encoder::AdaptiveMultiGrid grids;
  grids.n_grids = 3, grids.resolution = resolution;
  grids.tv_weight = 1e-3;
  return chain(grids, {16, 1}, basis::Identity{}, basis::Relu{}, false, false);
}

std::vector<float> ramp() {
  std::vector<float> voxels(8 * 8 * 8);
  for (std::size_t i = 0; i < voxels.size(); ++i)
    voxels[i] = static_cast<float>(i % 8 * (i / 64)) / 49.0f;
  return voxels;
}

// Steps 3 and 4 of six move grids.
std::vector<TrainingStep> steps() {
  std::vector<TrainingStep> all(6);
  for (std::size_t i = 0; i < all.size(); ++i) {
    all[i].stream = make_stream(1, 0, Purpose::samples, i);
    UpdateRule& rule = rule_of(all[i].optimizer);
    rule.encoder_rate = rule.decoder_rate = 1e-2f;
    all[i].number = static_cast<std::int64_t>(i) + 1;
    if (i == 2 || i == 3) all[i].geometry = {1e-2, static_cast<std::int64_t>(i) - 1};
  }
  return all;
}

std::vector<float> trained(Backend& backend, const ModelSpec& spec) {
  const std::vector<float> voxels = ramp();
  Volume volume("ramp", {8, 8, 8}, Dtype::float32,
                std::shared_ptr<const void>(voxels.data(), [](const void*) {}), "ramp");
  Model model(backend, spec);
  model.upload(block_of(spec, 2));
  model.train();
  const Box box = whole(volume.shape);
  const VolumeView view = backend.place(volume, box);
  const std::int64_t rows = 64;
  Buffer<float> points(backend, 3 * rows), targets(backend, rows);
  const std::vector<TrainingStep> all = steps();
  const auto sums = backend.train(model, view, box, {loss::Mse{}, 1.0 / rows}, all,
                                  {points.data(), rows, 3, rows}, {targets.data(), rows, 1, rows});
  EXPECT_EQ(sums.size(), all.size());
  for (const BatchSums& one : sums) EXPECT_TRUE(one.finite);
  return model.download();
}

TEST(CudaMoving, TrainsAsTheCpu) {
  const ModelSpec spec = spec_of(4);
  const auto cpu = open_cpu(), device = open_cuda(0, {});
  const std::vector<float> want = trained(*cpu, spec), got = trained(*device, spec);
  const std::vector<float> before = block_of(spec, 2);
  const Layout layout = make_layout(spec);
  const Slice& slice = layout.slices[static_cast<std::size_t>(layout.transforms)];
  double moved = 0;
  for (std::int64_t i = slice.offset; i < slice.offset + slice.size(); ++i) {
    EXPECT_NEAR(got[i], want[i], 2e-3) << "number " << i - slice.offset;
    moved = std::max(moved, static_cast<double>(std::abs(want[i] - before[i])));
  }
  EXPECT_GT(moved, 0.01);
  double off = 0, length = 0;
  for (std::size_t i = 0; i < want.size(); ++i) {
    off += std::pow(got[i] - want[i], 2);
    length += std::pow(want[i] - before[i], 2);
  }
  EXPECT_LT(off, 1e-2 * length);
}

TEST(CudaMoving, HasTheSameBitsWhereThatIsAsked) {
  DeviceSettings settings;
  settings.deterministic = true;
  const ModelSpec spec = spec_of(4);
  const auto first = open_cuda(0, settings);
  const std::vector<float> once = trained(*first, spec);
  EXPECT_EQ(trained(*first, spec), once);
}

TEST(CudaMoving, AddsLargeGridsNumberByNumber) {
  // 19^3 x 2 floats are more than a block's 48 KB.
  const ModelSpec spec = spec_of(19);
  const auto cpu = open_cpu(), device = open_cuda(0, {});
  const Batch batch(40, 3);
  std::vector<float> gradients[2];
  for (Backend* backend : {cpu.get(), device.get()}) {
    Model model(*backend, spec);
    model.upload(block_of(spec, 2));
    model.train();
    const Placed placed(*backend, batch);
    backend->gradient(model, placed.point_rows(), placed.target_rows(), {loss::Mse{}, 1.0 / 40});
    gradients[backend == device.get()] = download(model.gradient(), *backend);
  }
  double largest = 0;
  for (const float one : gradients[0])
    largest = std::max(largest, std::abs(static_cast<double>(one)));
  for (std::size_t i = 0; i < gradients[0].size(); ++i)
    ASSERT_NEAR(gradients[1][i], gradients[0][i], 1e-4 * largest);
}

}  // namespace
}  // namespace kanbench
