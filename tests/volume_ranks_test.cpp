// Volumes that many ranks look at together, and parts of them.

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "kanbench/communicator.h"
#include "kanbench/error.h"
#include "kanbench/file.h"
#include "kanbench/io.h"
#include "kanbench/volume.h"
#include "support.h"
#include "thread_ranks.h"

namespace kanbench {
namespace {

using test::messages_on_ranks;
using test::on_ranks;
using test::TemporaryDirectory;

constexpr int kRanks[] = {1, 2, 3, 4, 7};

template <class T>
std::shared_ptr<const void> owned(std::vector<T> voxels) {
  const auto owner = std::make_shared<std::vector<T>>(std::move(voxels));
  return {owner, owner->data()};
}

// Several chunks of a scan, the extremes in different ones.
std::vector<double> ramp(const Shape& shape) {
  std::vector<double> voxels(static_cast<std::size_t>(shape.count()));
  for (std::size_t i = 0; i < voxels.size(); ++i)
    voxels[i] = std::sin(static_cast<double>(i) * 0.37) * 1e-3 + 1.0 / 3;
  voxels[voxels.size() / 5] = -0.7123456789012345;
  voxels[voxels.size() - 1] = 9.8765432109876543;
  return voxels;
}

template <class T>
void expect_one_range(const Shape& shape, Dtype dtype, const std::vector<T>& voxels) {
  const auto data = owned(voxels);
  const Volume alone("v", shape, dtype, data, "v.raw");
  for (const int ranks : kRanks)
    on_ranks(ranks, [&](Communicator& communicator) {
      const Volume volume("v", shape, dtype, data, "v.raw", communicator);
      EXPECT_EQ(std::memcmp(&volume.low, &alone.low, sizeof(double)), 0);
      EXPECT_EQ(std::memcmp(&volume.high, &alone.high, sizeof(double)), 0);
    });
}

TEST(VolumeRanks, AgreeOnTheRange) {
  const Shape shape{256, 128, 130};
  expect_one_range(shape, Dtype::float64, ramp(shape));
  // Fewer chunks than ranks.
  expect_one_range<std::int64_t>({3, 1, 1}, Dtype::int64, {5, -9007199254740993, 9007199254740993});
  expect_one_range<float>({3, 1, 1}, Dtype::float32, {0.0f, -0.0f, 1.0f});
}

// The messages of all ranks, which are one, and the one that a process alone gives.
template <class T>
std::string refusal(const Shape& shape, Dtype dtype, const std::vector<T>& voxels) {
  const auto data = owned(voxels);
  const std::string alone =
      test::message_of<Error>([&] { Volume("v", shape, dtype, data, "v.raw"); });
  for (const int ranks : kRanks) {
    const auto messages = messages_on_ranks<Error>(ranks, [&](Communicator& communicator) {
      Volume("v", shape, dtype, data, "v.raw", communicator);
    });
    EXPECT_EQ(messages, std::vector<std::string>(static_cast<std::size_t>(ranks), alone));
  }
  return alone;
}

TEST(VolumeRanks, SayOnceWhatIsNotFinite) {
  const Shape shape{256, 128, 130};
  std::vector<double> voxels = ramp(shape);
  voxels[(100 * 128 + 7) * 256 + 42] = std::numeric_limits<double>::quiet_NaN();
  EXPECT_EQ(refusal(shape, Dtype::float64, voxels),
            "v.raw: 1 of 4259840 voxels are not finite, the first at (x, y, z) = (42, 7, 100): "
            "replace NaN and infinity by numbers, or say --missing nearest, min, max, mean or a "
            "number");
  voxels[(2 * 128 + 1) * 256 + 3] = -std::numeric_limits<double>::infinity();
  EXPECT_NE(refusal(shape, Dtype::float64, voxels)
                .find("2 of 4259840 voxels are not finite, the "
                      "first at (x, y, z) = (3, 1, 2)"),
            std::string::npos);
}

TEST(VolumeRanks, RefuseAConstant) {
  const Shape shape{256, 128, 130};
  std::vector<std::uint8_t> voxels(static_cast<std::size_t>(shape.count()), 7);
  EXPECT_NE(refusal(shape, Dtype::uint8, voxels).find("every voxel is 7"), std::string::npos);
  // Each rank's share is constant, the volume is not.
  std::fill(voxels.begin() + (std::int64_t{2} << 20), voxels.end(), std::uint8_t{9});
  expect_one_range(shape, Dtype::uint8, voxels);
}

TEST(VolumeRanks, OpenOneFile) {
  const TemporaryDirectory directory;
  const auto path = directory / "v_64x48x40_uint16.raw";
  std::vector<std::uint16_t> voxels(64 * 48 * 40);
  for (std::size_t i = 0; i < voxels.size(); ++i) voxels[i] = static_cast<std::uint16_t>(i * 7);
  on_ranks(3, [&](Communicator& communicator) {
    const auto messages = test::message_of<Error>([&] { open_volume(path, communicator); });
    EXPECT_EQ(messages, path.string() + ": no such file");
    communicator.barrier();
    VolumeWriter writer(communicator, path, {{64, 48, 40}, Dtype::uint16});
    // By turns, some with nothing.
    for (std::int64_t z = 0; z < 40; ++z)
      if (z % 2 == communicator.rank())
        writer.write(z * 64 * 48, 64 * 48, voxels.data() + z * 64 * 48);
    writer.commit();
    const Volume volume = open_volume(path, communicator);
    EXPECT_EQ(volume.name, "v");
    EXPECT_EQ(std::memcmp(volume.data(), voxels.data(), volume.bytes()), 0);
    volume.forget();
    EXPECT_EQ(std::memcmp(volume.data(), voxels.data(), volume.bytes()), 0);
  });
  EXPECT_TRUE(std::filesystem::exists(directory / "v_64x48x40_uint16.nhdr"));
}

TEST(VolumeRanks, WriteOneFileOfEachFormat) {
  const TemporaryDirectory directory;
  const Shape shape{8, 6, 5};
  std::vector<std::int16_t> voxels(3 * 240);
  for (std::size_t i = 0; i < voxels.size(); ++i) voxels[i] = static_cast<std::int16_t>(i * 7);
  for (const char* name : {"a.nrrd", "b.nhdr", "c.mha", "d.mhd", "e.nii"}) {
    on_ranks(3, [&](Communicator& communicator) {
      VolumeWriter writer(communicator, directory / name, {shape, Dtype::int16, 3});
      for (std::int64_t z = communicator.rank(); z < shape.z; z += 3) {
        const std::int16_t* at = voxels.data() + z * 48;
        writer.write(z * 48, 48, std::array<const void*, 3>{at, at + 240, at + 480});
      }
      writer.commit();
      const Volume volume = open_volume(directory / name, communicator);
      EXPECT_EQ(volume.components, 3) << name;
      EXPECT_EQ(std::memcmp(volume.data(), voxels.data(), volume.bytes()), 0) << name;
    });
  }
}

TEST(VolumeRanks, AFileThatOneLeftUnfinishedIsNone) {
  const TemporaryDirectory directory;
  const auto path = directory / "v_4x4x4_uint8.raw";
  const std::vector<std::uint8_t> voxels(64, 1);
  const auto messages = messages_on_ranks<std::logic_error>(2, [&](Communicator& communicator) {
    VolumeWriter writer(communicator, path, {{4, 4, 4}, Dtype::uint8});
    writer.write(communicator.rank() * 32, communicator.rank() ? 31 : 32, voxels.data());
    writer.commit();
  });
  for (const std::string& message : messages)
    EXPECT_NE(message.find("fewer voxels than the file has"), std::string::npos) << message;
  EXPECT_TRUE(std::filesystem::is_empty(directory.path()));
}

TEST(VolumeCut, CopiesABox) {
  for (const Dtype dtype : {Dtype::uint8, Dtype::float32, Dtype::int64})
    visit(dtype, [&](auto zero) {
      using T = decltype(zero);
      const Shape n{11, 7, 5};
      std::vector<T> voxels(static_cast<std::size_t>(n.count()));
      for (std::size_t i = 0; i < voxels.size(); ++i) voxels[i] = static_cast<T>(i % 251);
      Volume volume("v", n, dtype, owned(voxels), "v.raw");
      volume.spacing = {0.5, 1, 2};
      const Box box{{3, 1, 2}, {10, 7, 4}};
      const Volume part = volume.cut(box);
      EXPECT_EQ(part.name, "v");
      EXPECT_EQ(part.shape, box.shape());
      EXPECT_EQ(part.dtype, dtype);
      EXPECT_EQ(part.spacing, volume.spacing);
      double low = 1e9, high = -1e9;
      const T* at = static_cast<const T*>(part.data());
      for (std::int64_t z = 2; z < 4; ++z)
        for (std::int64_t y = 1; y < 7; ++y)
          for (std::int64_t x = 3; x < 10; ++x, ++at) {
            const T want = voxels[static_cast<std::size_t>((z * n.y + y) * n.x + x)];
            ASSERT_EQ(*at, want);
            low = std::min(low, static_cast<double>(want));
            high = std::max(high, static_cast<double>(want));
          }
      EXPECT_EQ(part.low, low);
      EXPECT_EQ(part.high, high);
    });
}

TEST(VolumeCut, MayBeConstant) {
  std::vector<float> voxels(4 * 4 * 4, 2.5f);
  voxels[0] = 1;
  const Volume volume("v", {4, 4, 4}, Dtype::float32, owned(voxels), "v.raw");
  const Volume part = volume.cut({{1, 0, 0}, {4, 4, 4}});
  EXPECT_EQ(part.low, 2.5);
  EXPECT_EQ(part.high, 2.5);
  EXPECT_EQ(volume.cut(whole(volume.shape)).low, 1);
  EXPECT_THROW(volume.cut({{0, 0, 0}, {5, 4, 4}}), std::logic_error);
  EXPECT_THROW(volume.cut({{2, 0, 0}, {2, 4, 4}}), std::logic_error);
}

}  // namespace
}  // namespace kanbench
