// What the CUDA backend does for many ranks: volumes held in part, copies beside the work,
// gradients in pieces, halves for the wire.

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <thread>

#include "cuda_memory.h"
#include "device_bench.h"
#include "emulator.h"
#include "kanbench/decomposition.h"
#include "kernels/backend.h"
#include "kernels/wire.h"
#include "support.h"

namespace kanbench {
namespace {

using cuda::test::OnDevice;
using test::Bench;
using test::kRows;
using test::make_model;
using test::make_volume;

class CudaRanks : public testing::Test {
 protected:
  void TearDown() override { emulator::reset(); }
};

Volume bytes_volume(Shape shape) {
  auto voxels =
      std::make_shared<std::vector<std::uint8_t>>(static_cast<std::size_t>(shape.count()));
  for (std::size_t i = 0; i < voxels->size(); ++i)
    (*voxels)[i] = static_cast<std::uint8_t>(i * 37 % 251 + i / 1000);
  return {"bytes", shape, Dtype::uint8, {voxels, voxels->data()}, "bytes"};
}

const Shape kShape{13, 9, 11};
const Box kBoxes[] = {whole(kShape),
                      {{3, 2, 4}, {9, 5, 7}},
                      {{0, 0, 4}, {13, 9, 5}},
                      {{0, 3, 0}, {13, 9, 11}},
                      {{12, 8, 10}, {13, 9, 11}}};

std::vector<float> draw(Backend& backend, const VolumeView& view, const Box& box) {
  constexpr std::int64_t kCount = 400;
  Buffer<float> points(backend, 3 * kCount), targets(backend, kCount);
  backend.sample(view, box, make_stream(3, 0, Purpose::samples, 8), 5,
                 {points.data(), kCount, 3, kCount}, {targets.data(), kCount, 1, kCount});
  std::vector<float> all(4 * kCount);
  backend.download(all.data(), points.data(), points.bytes());
  backend.download(all.data() + 3 * kCount, targets.data(), targets.bytes());
  return all;
}

TEST_F(CudaRanks, HoldABoxAndWhatIsAroundIt) {
  const auto cpu = open_cpu("baseline");
  for (const Volume& volume : {bytes_volume(kShape), make_volume(kShape)})
    for (const bool texture : {false, true})
      for (const Box& box : kBoxes) {
        DeviceSettings settings;
        settings.texture = texture;
        const auto device = open_cuda(0, settings);
        const VolumeView view = device->place(volume, box);
        const Box held = grow(box, 1, kShape);
        EXPECT_EQ(view.shape, kShape);
        EXPECT_EQ(view.held.low, held.low);
        EXPECT_EQ(view.held.high, held.high);
        const std::vector<float> found = draw(*device, view, box);
        const std::vector<float> wanted = draw(*cpu, volume.view(), box);
        for (std::size_t i = 0; i < wanted.size(); ++i)
          ASSERT_NEAR(found[i], wanted[i], texture && i >= 1200 ? 3 * 0x1p-9 + 1e-3 : 1e-6) << i;
      }
}

// More than the two pieces of pinned memory hold at once.
TEST_F(CudaRanks, UploadABoxPieceByPiece) {
  for (const bool lazy : {false, true}) {
    emulator::set_lazy(lazy);
    const Volume volume = bytes_volume({300, 250, 200});
    const auto device = open_cuda(0, {});
    for (const Box& box : {Box{{3, 2, 1}, {290, 249, 190}}, whole(volume.shape)}) {
      const VolumeView view = device->place(volume, box);
      const Shape held = view.held.shape();
      std::vector<std::uint8_t> found(static_cast<std::size_t>(held.count()));
      device->download(found.data(), view.data, found.size());
      const auto* voxels = static_cast<const std::uint8_t*>(volume.data());
      const auto& [x, y, z] = view.held.low;
      for (std::int64_t k = 0; k < held.z; ++k)
        for (std::int64_t j = 0; j < held.y; ++j)
          ASSERT_EQ(std::memcmp(found.data() + (k * held.y + j) * held.x,
                                voxels + ((z + k) * volume.shape.y + y + j) * volume.shape.x + x,
                                static_cast<std::size_t>(held.x)),
                    0);
    }
  }
}

TEST_F(CudaRanks, HoldAsMuchAsTheBoxTakes) {
  const Volume volume = bytes_volume({40, 40, 40});
  emulator::set_memory(20000);
  const auto device = open_cuda(0, {});
  EXPECT_FALSE(device->holds(volume, whole(volume.shape), 0));
  const Box box{{0, 0, 0}, {40, 40, 10}};
  EXPECT_TRUE(device->holds(volume, box, 20000 - 40 * 40 * 11));
  EXPECT_FALSE(device->holds(volume, box, 20001 - 40 * 40 * 11));
  device->place(volume, box);
  EXPECT_TRUE(device->holds(volume, box, 2000));
}

// As a thread that talks to other ranks does while the backend goes on.
TEST_F(CudaRanks, CopiesGoOnBesideTheWorkInOtherThreads) {
  for (std::uint64_t seed = 0; seed < 5; ++seed) {
    emulator::set_lazy(true);
    emulator::set_schedule(seed);
    const auto device = open_cuda(0, {});
    constexpr std::int64_t kCount = 1000;
    Buffer<float> source(*device, 2 * kCount), block(*device, 2 * kCount);
    std::vector<float> numbers(2 * kCount);
    for (std::size_t i = 0; i < numbers.size(); ++i) numbers[i] = static_cast<float>(i);
    device->upload(source.data(), numbers.data(), source.bytes());
    auto* host = static_cast<float*>(device->allocate_host(block.bytes()));
    const auto fetch = [&](std::int64_t at) {
      return device->begin_fetch(host + at, block.data() + at, kCount * sizeof(float));
    };
    device->copy(block.data(), source.data(), kCount * sizeof(float));
    const std::int64_t first = fetch(0);
    device->copy(block.data() + kCount, source.data() + kCount, kCount * sizeof(float));
    const std::int64_t second = fetch(kCount);
    std::jthread([&] {
      for (const std::int64_t number : {second, first}) {
        device->finish_fetch(number);
        float* part = host + (number == second ? kCount : 0);
        for (std::int64_t i = 0; i < kCount; ++i) part[i] *= 2;
        device->stage(block.data() + (part - host), part, kCount * sizeof(float));
      }
    }).join();
    device->finish_staging();
    // Of nothing, it waits for what was told before.
    device->finish_fetch(device->begin_fetch(host, nullptr, 0));
    std::vector<float> found(2 * kCount);
    device->download(found.data(), block.data(), block.bytes());
    for (std::size_t i = 0; i < found.size(); ++i) ASSERT_EQ(found[i], 2 * numbers[i]);
    device->release_host(host);
  }
}

// Half precision overflows, is scaled down and computed again before anybody is told.
TEST_F(CudaRanks, PiecesAreToldOnceNothingOverflows) {
  for (const bool kan : {false, true}) {
    DeviceSettings settings;
    settings.deterministic = true;
    Bench bench(make_model(kan), Precision::fp16, settings);
    Backend& backend = *bench.backend;
    const Objective objective{loss::L1{}, 1.0 / kRows};
    backend.sample(bench.view, whole(bench.volume.shape), make_stream(1, 0, Purpose::samples), 0,
                   bench.point_rows(), bench.target_rows());
    const ConstRows points{bench.points.data(), kRows, 3, kRows},
        targets{bench.targets.data(), kRows, 1, kRows};
    std::vector<float> found[2];
    for (int i = 0; i < 2; ++i) {
      std::vector<Range> parts;
      const float scale = i ? 0x1p100f : 0x1p14f;
      backend.gradient(bench.model, points, targets, objective);
      auto& device = *static_cast<cuda::DeviceModel*>(bench.model.cache.get());
      backend.upload(&device.state.data()->loss_scale, &scale, sizeof scale);
      found[i].resize(static_cast<std::size_t>(bench.model.layout().size));
      cudaMemset(bench.model.gradient().data(), 0, bench.model.gradient().bytes());
      const BatchSums sums =
          backend.gradient(bench.model, points, targets, objective, [&](Range part) {
            parts.push_back(part);
            backend.download(found[i].data() + part.begin,
                             bench.model.gradient().data() + part.begin,
                             static_cast<std::size_t>(part.size()) * 4);
          });
      EXPECT_TRUE(sums.finite);
      EXPECT_EQ(parts.size(), bench.model.layout().levels.size() + 1);
    }
    // Powers of two change no bit.
    EXPECT_EQ(found[0], found[1]);
  }
}

// What 16-bit kernels read of the table follows the share that is updated.
TEST_F(CudaRanks, CopiesFollowTheShare) {
  for (const bool kan : {false, true}) {
    Bench bench(make_model(kan), Precision::fp16);
    Backend& backend = *bench.backend;
    const std::int64_t size = bench.model.layout().size;
    for (const Range share : {Range{0, 256}, Range{256, size - 32}, Range{size - 32, size}}) {
      bench.model.train(share);
      backend.sample(bench.view, whole(bench.volume.shape), make_stream(1, 0, Purpose::samples), 0,
                     bench.point_rows(), bench.target_rows());
      const ConstRows points{bench.points.data(), kRows, 3, kRows},
          targets{bench.targets.data(), kRows, 1, kRows};
      backend.gradient(bench.model, points, targets, {loss::L1{}, 1.0 / kRows});
      const std::vector<float> before = bench.model.download();
      Adam adam;
      adam.encoder_rate = adam.decoder_rate = 0.1f;
      EXPECT_TRUE(backend.update(bench.model, adam, 1));
      std::vector<float> after = bench.model.download();
      EXPECT_NE(before, after);
      std::copy(before.begin() + share.begin, before.begin() + share.end,
                after.begin() + share.begin);
      EXPECT_EQ(before, after);
      std::vector<float> values[2];
      for (int packed = 0; packed < 2; ++packed) {
        if (packed) backend.parameters_changed(bench.model);
        Buffer<float> out(backend, kRows);
        backend.predict(bench.model, points, {out.data(), kRows, 1, kRows});
        values[packed].resize(kRows);
        backend.download(values[packed].data(), out.data(), out.bytes());
      }
      EXPECT_EQ(values[0], values[1]);
    }
  }
}

std::vector<float> wire_and_back(const std::vector<float>& numbers, int ranks,
                                 std::uint32_t* largest_bits = nullptr) {
  const auto count = static_cast<std::int64_t>(numbers.size());
  const OnDevice<float> there(numbers), back(numbers.size(), 7.0f);
  const OnDevice<__half> wire(numbers.size());
  const OnDevice<std::uint32_t> largest(std::size_t{1});
  cuda::find_magnitude(there.data(), count, largest.data(), nullptr);
  cuda::pack_wire(there.data(), count, largest.data(), ranks, wire.data(), nullptr);
  std::vector<__half> sums = wire.read();
  // The sum over ranks that all have the same.
  for (__half& sum : sums) {
    const __half one = sum;
    for (int r = 1; r < ranks; ++r) sum = sum + one;
    EXPECT_TRUE(largest_bits || !__hisinf(sum));
  }
  const OnDevice<__half> summed(sums);
  cuda::unpack_wire(summed.data(), count, largest.data(), ranks, back.data(), nullptr);
  emulator::check_guards();
  if (largest_bits) *largest_bits = largest.read()[0];
  return back.read();
}

TEST_F(CudaRanks, HalvesDoNotOverflowForAnySum) {
  for (const float size : {1.0f, 3e-39f, 1e-30f, 65504.0f, 3.4e37f / 1024})
    for (const int ranks : {1, 2, 3, 7, 16})
      for (const std::size_t count : {1, 2, 33, 1001}) {
        std::vector<float> numbers(count);
        for (std::size_t i = 0; i < count; ++i)
          numbers[i] = size * (1 - 2 * static_cast<float>(i % 2)) / static_cast<float>(1 + i % 5);
        const std::vector<float> sums = wire_and_back(numbers, ranks);
        for (std::size_t i = 0; i < count; ++i)
          ASSERT_NEAR(sums[i], double{numbers[i]} * ranks,
                      std::abs(double{numbers[i]}) * ranks * ranks / 1024 + 1e-44)
              << size << ", " << ranks << " ranks, " << i;
      }
  for (const float number : wire_and_back(std::vector<float>(5, 0.0f), 3)) EXPECT_EQ(number, 0);
}

TEST_F(CudaRanks, HalvesOfWhatIsNoNumberAreNone) {
  for (const float bad : {INFINITY, -INFINITY, NAN}) {
    std::uint32_t largest = 0;
    for (const float number : wire_and_back({1, bad, 2}, 2, &largest))
      EXPECT_TRUE(std::isnan(number));
    EXPECT_GE(largest, 0x7f800000u);
  }
}

}  // namespace
}  // namespace kanbench
