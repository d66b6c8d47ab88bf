// Measuring and writing of voxels by CUDA, run by the emulator, against the host.

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "device_memory.h"
#include "emulator.h"
#include "kanbench/io.h"
#include "kanbench/math/random.h"
#include "kanbench/metrics.h"
#include "kernels/meter.h"
#include "kernels/quantise.h"

namespace kanbench::cuda {
namespace {

using test::download;
using test::upload;

constexpr Dtype kDtypes[] = {Dtype::uint8,   Dtype::int8,   Dtype::uint16, Dtype::int16,
                             Dtype::uint32,  Dtype::int32,  Dtype::uint64, Dtype::int64,
                             Dtype::float32, Dtype::float64};

// A smooth field with some noise, over most of the dtype's range.
Volume field(const Shape& shape, Dtype dtype) {
  const std::int64_t count = shape.count();
  std::shared_ptr<std::byte[]> voxels(
      new std::byte[static_cast<std::size_t>(count) * size_of(dtype)]);
  const Stream stream{7, 1};
  visit(dtype, [&](auto zero) {
    using T = decltype(zero);
    const double lowest =
        std::is_floating_point_v<T> ? -3.5 : static_cast<double>(std::numeric_limits<T>::lowest());
    const double highest =
        std::is_floating_point_v<T> ? 11.25 : static_cast<double>(std::numeric_limits<T>::max());
    for (std::int64_t i = 0; i < count; ++i) {
      const double wave = std::sin(0.31 * static_cast<double>(i % shape.x)) *
                          std::cos(0.4 * static_cast<double>(i / shape.x));
      const double u = 0.5 + 0.4 * wave + 0.05 * unit_float(stream.words(i).v[0]);
      const T voxel = static_cast<T>(lowest + u * (highest - lowest));
      std::memcpy(voxels.get() + static_cast<std::size_t>(i) * sizeof(T), &voxel, sizeof(T));
    }
  });
  return {"field", shape, dtype, voxels, "field"};
}

// What a model might give: the volume, off by a little and here and there beyond [0, 1].
std::vector<float> reconstruction(const Volume& volume) {
  std::vector<float> values(static_cast<std::size_t>(volume.shape.count()));
  normalise(volume.view(), 0, volume.shape.count(), values.data());
  const Stream stream{8, 1};
  for (std::size_t i = 0; i < values.size(); ++i)
    values[i] += 0.3f * (unit_float(stream.words(i).v[0]) - 0.5f) - 0.02f;
  return values;
}

Metrics on_host(const Volume& volume, std::vector<float> values, double low, double high) {
  const std::int64_t slice = volume.shape.x * volume.shape.y;
  for (float& v : values) {
    v = std::clamp(v, 0.0f, 1.0f);
    if (low != volume.low || high != volume.high)
      v = static_cast<float>((low + v * (high - low) - volume.low) / (volume.high - volume.low));
  }
  MetricsSum sum(volume.shape);
  std::vector<float> original(static_cast<std::size_t>(slice));
  for (std::int64_t z = 0; z < volume.shape.z; ++z) {
    normalise(volume.view(), z * slice, slice, original.data());
    sum.add_slice(original.data(), values.data() + z * slice);
  }
  return sum.result();
}

// Slices handed over in groups of `group`.
Metrics on_device(const Volume& volume, const std::vector<float>& values, double low, double high,
                  std::int64_t group) {
  const std::int64_t slice = volume.shape.x * volume.shape.y;
  const DeviceArray<float> at = upload(values);
  CudaMeter meter(volume, low, high, {0, volume.shape.z}, nullptr);
  for (std::int64_t z = 0; z < volume.shape.z; z += group)
    meter.add(std::min(group, volume.shape.z - z), at.data() + z * slice);
  return metrics_of(meter.sums(), volume.shape);
}

void expect_same(const Metrics& got, const Metrics& want, const std::string& where) {
  EXPECT_NEAR(got.mse, want.mse, 1e-9 * want.mse) << where;
  EXPECT_NEAR(got.psnr, want.psnr, 1e-7) << where;
  EXPECT_EQ(got.max_error, want.max_error) << where;
  EXPECT_NEAR(got.ssim, want.ssim, 1e-7 * want.ssim) << where;
  EXPECT_NEAR(got.ssim_3d, want.ssim_3d, 1e-7 * want.ssim_3d) << where;
}

TEST(CudaMeter, MeasuresAsTheHostInEveryShape) {
  for (const Shape& shape :
       {Shape{37, 21, 13}, Shape{11, 11, 11}, Shape{13, 17, 4}, Shape{7, 33, 15}, Shape{40, 3, 12},
        Shape{1, 1, 2}, Shape{2, 1, 25}, Shape{12, 19, 1}, Shape{5, 6, 7}}) {
    const Volume volume = field(shape, Dtype::uint8);
    const std::vector<float> values = reconstruction(volume);
    expect_same(on_device(volume, values, volume.low, volume.high, 3),
                on_host(volume, values, volume.low, volume.high), text(shape));
  }
}

TEST(CudaMeter, MeasuresAsTheHostInEveryDtypeAndRange) {
  for (Dtype dtype : kDtypes) {
    const Volume volume = field({14, 12, 3}, dtype);
    const std::vector<float> values = reconstruction(volume);
    expect_same(on_device(volume, values, volume.low, volume.high, 1),
                on_host(volume, values, volume.low, volume.high), name(dtype));
    const double width = volume.high - volume.low;
    const double low = volume.low - 0.2 * width, high = volume.high + 0.1 * width;
    expect_same(on_device(volume, values, low, high, 2), on_host(volume, values, low, high),
                std::string(name(dtype)) + ", another range");
  }
}

TEST(CudaMeter, ShowsNanAndExactness) {
  const Volume volume = field({12, 13, 12}, Dtype::float32);
  std::vector<float> values(static_cast<std::size_t>(volume.shape.count()));
  normalise(volume.view(), 0, volume.shape.count(), values.data());
  const Metrics exact = on_device(volume, values, volume.low, volume.high, 12);
  EXPECT_EQ(exact.mse, 0);
  EXPECT_EQ(exact.psnr, std::numeric_limits<double>::infinity());
  EXPECT_EQ(exact.max_error, 0);
  EXPECT_NEAR(exact.ssim, 1, 1e-12);
  EXPECT_NEAR(exact.ssim_3d, 1, 1e-12);
  values[200] = std::numeric_limits<float>::quiet_NaN();
  const Metrics broken = on_device(volume, values, volume.low, volume.high, 12);
  for (double figure : {broken.mse, broken.psnr, broken.max_error, broken.ssim, broken.ssim_3d})
    EXPECT_TRUE(std::isnan(figure)) << figure;
}

TEST(CudaMeter, GivesTheSameBitsUnderAnySchedule) {
  const Volume volume = field({37, 30, 12}, Dtype::uint16);
  const std::vector<float> values = reconstruction(volume);
  const Metrics first = on_device(volume, values, volume.low, volume.high, 5);
  for (std::uint64_t seed : {1, 2}) {
    emulator::set_schedule(seed);
    const Metrics other = on_device(volume, values, volume.low, volume.high, 1);
    EXPECT_EQ(other.mse, first.mse);
    EXPECT_EQ(other.ssim, first.ssim);
    EXPECT_EQ(other.ssim_3d, first.ssim_3d);
  }
  emulator::reset();
}

TEST(CudaMeter, RefusesTooFewAndTooManySlices) {
  const Volume volume = field({3, 3, 3}, Dtype::uint8);
  const DeviceArray<float> values = upload(reconstruction(volume));
  CudaMeter meter(volume, volume.low, volume.high, {0, volume.shape.z}, nullptr);
  meter.add(2, values.data());
  EXPECT_THROW(meter.sums(), std::logic_error);
  EXPECT_THROW(meter.add(2, values.data()), std::logic_error);
}

// Values at halves between voxels, at both ends and beyond, and those that are no numbers.
std::vector<float> hard_values() {
  std::vector<float> values = {0,
                               1,
                               -0.0f,
                               -0.25f,
                               1.5f,
                               1e-30f,
                               0.99999994f,
                               std::numeric_limits<float>::quiet_NaN(),
                               std::numeric_limits<float>::infinity(),
                               -std::numeric_limits<float>::infinity()};
  for (int i = 0; i <= 64; ++i) values.push_back(static_cast<float>(i) / 64);
  const Stream stream{4, 2};
  for (int i = 0; i < 700; ++i) values.push_back(unit_float(stream.words(i).v[0]));
  return values;
}

TEST(CudaQuantise, WritesEveryDtypeAsTheHost) {
  const std::vector<float> values = hard_values();
  std::vector<float> inside = values;
  for (float& v : inside) v = std::clamp(v, 0.0f, 1.0f);
  const auto count = static_cast<std::int64_t>(values.size());
  const DeviceArray<float> at = upload(values);
  for (Dtype dtype : kDtypes) {
    double lowest = 0, highest = 0;
    visit(dtype, [&](auto zero) {
      using Limits = std::numeric_limits<decltype(zero)>;
      lowest = static_cast<double>(Limits::lowest());
      highest = static_cast<double>(Limits::max());
    });
    for (const auto& [low, high] : {std::pair{0.0, 32.0},
                                    {0.1, 77.7},
                                    {-16.0, 16.0},
                                    {0.5, 127.5},
                                    {-1e30, 1e30},
                                    {lowest / 2, highest / 2},
                                    {lowest / 4, highest},
                                    {0.0, 9007199254740993.0}}) {
      const std::size_t bytes = values.size() * size_of(dtype);
      std::vector<std::byte> want(bytes);
      denormalise(inside.data(), count, low, high, dtype, want.data());
      const DeviceArray<std::byte> voxels = upload(std::vector<std::byte>(bytes));
      quantise(at.data(), count, dtype, low, high, voxels.data(), nullptr);
      EXPECT_EQ(download(voxels), want) << name(dtype) << " in [" << low << ", " << high << "]";
    }
  }
}

}  // namespace
}  // namespace kanbench::cuda
