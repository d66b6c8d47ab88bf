// Sampling on the device against the CPU backend: the same points bit for bit, for every voxel
// type, in a whole volume and in parts of it.

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "cuda_memory.h"
#include "emulator.h"
#include "kernels/sample.h"

namespace kanbench::cuda {
namespace {

using test::OnDevice;

constexpr Dtype kTypes[] = {Dtype::uint8,   Dtype::int8,   Dtype::uint16, Dtype::int16,
                            Dtype::uint32,  Dtype::int32,  Dtype::uint64, Dtype::int64,
                            Dtype::float32, Dtype::float64};
constexpr Shape kShape{11, 7, 9};

/// A volume of random voxels, the type's lowest and highest among them, here and on the device.
struct Voxels {
  std::vector<unsigned char> bytes;
  OnDevice<unsigned char> copy;
  VolumeView host, device;

  explicit Voxels(Dtype dtype) : bytes(fill(dtype)), copy(bytes) {
    const auto [low, high] = ends(dtype);
    host = {bytes.data(), kShape, dtype, low, high, whole(kShape)};
    device = host;
    device.data = copy.data();
  }

  static std::pair<double, double> ends(Dtype dtype) {
    if (dtype == Dtype::float32 || dtype == Dtype::float64) return {-2.5, 7.5};
    return visit(dtype, []<class Voxel>(Voxel) {
      using Limits = std::numeric_limits<Voxel>;
      return std::pair{static_cast<double>(Limits::lowest()), static_cast<double>(Limits::max())};
    });
  }
  static std::vector<unsigned char> fill(Dtype dtype) {
    std::mt19937_64 random(7);
    const auto [low, high] = ends(dtype);
    std::vector<unsigned char> bytes(static_cast<std::size_t>(kShape.count()) * size_of(dtype));
    visit(dtype, [&, low = low, high = high]<class Voxel>(Voxel) {
      auto* voxels = reinterpret_cast<Voxel*>(bytes.data());
      for (std::int64_t i = 0; i < kShape.count(); ++i) {
        const double u = static_cast<double>(random() >> 11) * 0x1p-53;
        voxels[i] = to_voxel<Voxel>(i % 16 == 0   ? low
                                    : i % 16 == 1 ? high
                                                  : low + u * (high - low));
      }
    });
    return bytes;
  }
};

struct Batch {
  std::vector<float> points, targets;
};

Batch draw_on_cpu(const VolumeView& view, const Box& box, const Stream& stream,
                  std::int64_t first_row, std::int64_t rows) {
  Batch batch{std::vector<float>(static_cast<std::size_t>(3 * rows)),
              std::vector<float>(static_cast<std::size_t>(rows))};
  open_cpu("baseline")
      ->sample(view, box, stream, first_row, {batch.points.data(), rows, 3, rows},
               {batch.targets.data(), rows, 1, rows});
  return batch;
}

Batch draw_here(const DrawArguments& arguments, std::int64_t rows) {
  const OnDevice<float> points(static_cast<std::size_t>(3 * rows)),
      targets(static_cast<std::size_t>(rows));
  draw(arguments, {points.data(), rows, 3, rows}, {targets.data(), rows, 1, rows}, nullptr);
  emulator::check_guards();
  return {points.read(), targets.read()};
}

void expect_same(const Batch& found, const Batch& wanted, double tolerance) {
  EXPECT_EQ(std::memcmp(found.points.data(), wanted.points.data(), 4 * wanted.points.size()), 0);
  for (std::size_t i = 0; i < wanted.targets.size(); ++i)
    ASSERT_NEAR(found.targets[i], wanted.targets[i], tolerance) << "row " << i;
}

const Box kBoxes[] = {whole(kShape), {{3, 0, 2}, {10, 5, 3}}, {{10, 6, 8}, {11, 7, 9}}};

TEST(CudaSample, DrawsWhatTheCpuDraws) {
  for (const Dtype dtype : kTypes) {
    SCOPED_TRACE(name(dtype));
    const Voxels voxels(dtype);
    for (const Box& box : kBoxes)
      for (const std::int64_t rows : {1, 33, 300}) {
        const Stream stream = make_stream(5, 2, Purpose::samples, 12);
        const std::int64_t first = (std::int64_t{1} << 33) + 5;
        expect_same(draw_here(make_draw(voxels.device, box, stream, first), rows),
                    draw_on_cpu(voxels.host, box, stream, first, rows), 1e-6);
      }
  }
}

TEST(CudaSample, TheStepUnderWayReplacesTheStreams) {
  const Voxels voxels(Dtype::uint16);
  StepState state;
  state.index = 2;
  state.steps[2].stream_step = 77;
  const OnDevice<StepState> there(std::vector<StepState>{state});
  const Stream stream = make_stream(5, 0, Purpose::samples, 3);
  const Box box = whole(kShape);
  expect_same(draw_here(make_draw(voxels.device, box, stream, 0, there.data()), 33),
              draw_on_cpu(voxels.host, box, make_stream(5, 0, Purpose::samples, 77), 0, 33), 1e-6);
}

TEST(CudaSample, DrawsInAVolumeHeldInPart) {
  const Voxels all(Dtype::int16);
  const Box held{{2, 1, 3}, {9, 6, 8}}, box{{3, 2, 4}, {8, 5, 7}};
  const Shape part = held.shape();
  std::vector<std::int16_t> voxels;
  const auto* from = static_cast<const std::int16_t*>(all.host.data);
  for (std::int64_t z = held.low[2]; z < held.high[2]; ++z)
    for (std::int64_t y = held.low[1]; y < held.high[1]; ++y)
      for (std::int64_t x = held.low[0]; x < held.high[0]; ++x)
        voxels.push_back(from[(z * kShape.y + y) * kShape.x + x]);
  ASSERT_EQ(voxels.size(), static_cast<std::size_t>(part.count()));
  const OnDevice<std::int16_t> there(voxels);
  VolumeView view = all.device;
  view.data = there.data();
  view.held = held;
  const Stream stream = make_stream(1, 0, Purpose::samples, 0);
  expect_same(draw_here(make_draw(view, box, stream, 0), 300),
              draw_on_cpu(all.host, box, stream, 0, 300), 1e-6);
}

TEST(CudaSample, ATextureIsTheVolumeToItsEightBits) {
  for (const Dtype dtype :
       {Dtype::uint8, Dtype::int8, Dtype::uint16, Dtype::int16, Dtype::float32}) {
    SCOPED_TRACE(name(dtype));
    const Voxels voxels(dtype);
    ASSERT_TRUE(VolumeTexture::fits(voxels.device));
    const VolumeTexture texture(voxels.device, nullptr);
    const Stream stream = make_stream(9, 0, Purpose::samples, 1);
    for (const Box& box : kBoxes) {
      const Batch found =
          draw_here(make_draw(voxels.device, box, stream, 0, nullptr, texture.object()), 300);
      // Each of three weights is off by at most 2^-9, and the values are at most 1 apart.
      expect_same(found, draw_on_cpu(voxels.host, box, stream, 0, 300), 3 * 0x1p-9 + 1e-4);
    }
  }
}

TEST(CudaSample, SaysWhichVolumesATextureHolds) {
  for (const Dtype dtype : {Dtype::uint32, Dtype::int64, Dtype::float64})
    EXPECT_FALSE(VolumeTexture::fits(Voxels(dtype).device));
  VolumeView view = Voxels(Dtype::uint8).device;
  view.shape = {16385, 1, 1};
  view.held = whole(view.shape);
  EXPECT_FALSE(VolumeTexture::fits(view));
  view.held.low[0] = 1;
  EXPECT_TRUE(VolumeTexture::fits(view));
}

}  // namespace
}  // namespace kanbench::cuda
