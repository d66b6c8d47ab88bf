// A volume of 9 GB, nearly all of it a hole, cut into boxes and sampled by however many ranks this
// was started on, in little memory.

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <vector>

#include "kanbench/backend.h"
#include "kanbench/buffer.h"
#include "kanbench/communicator.h"
#include "kanbench/decomposition.h"
#include "kanbench/io.h"
#include "support.h"

namespace kanbench {
namespace {

constexpr Shape kShape{3000, 2000, 1500};
// Slices that are no hole: the first and the last, and those where the offset passes 2^31 and 2^32.
constexpr std::int64_t kSlices[] = {0, 357, 715, 716, 1499};
// A point can bring in two pages of 2 MB, one a slice: what was read is let go of now and then.
constexpr std::int64_t kBoxes = 4, kPoints = 20000, kNear = 1000, kAtOnce = 50;

bool is_written(std::int64_t z) {
  return std::find(std::begin(kSlices), std::end(kSlices), z) != std::end(kSlices);
}

// Smooth along x and y, so that a point's rounding to float32 matters little.
std::uint8_t voxel(std::int64_t x, std::int64_t y, std::int64_t z) {
  if (!is_written(z)) return 0;
  return static_cast<std::uint8_t>(1 + (x / 16 + y / 8 + z) % 255);
}

// What sampling is to find, trilinear between voxel centres.
double expected(const float* point) {
  const std::int64_t size[3] = {kShape.x, kShape.y, kShape.z};
  std::int64_t at[3][2];
  double weight[3];
  for (int d = 0; d < 3; ++d) {
    const double p = std::clamp(static_cast<double>(point[d]) * static_cast<double>(size[d]) - 0.5,
                                0.0, static_cast<double>(size[d] - 1));
    at[d][0] = static_cast<std::int64_t>(p);
    at[d][1] = std::min(at[d][0] + 1, size[d] - 1);
    weight[d] = p - static_cast<double>(at[d][0]);
  }
  double sum = 0;
  for (int corner = 0; corner < 8; ++corner) {
    const int i = corner & 1, j = corner >> 1 & 1, k = corner >> 2;
    sum += (i ? weight[0] : 1 - weight[0]) * (j ? weight[1] : 1 - weight[1]) *
           (k ? weight[2] : 1 - weight[2]) * voxel(at[0][i], at[1][j], at[2][k]);
  }
  return sum / 255;
}

// False where the file system has no holes.
bool make_file(const std::filesystem::path& path) {
  const int file = ::open(path.c_str(), O_CREAT | O_RDWR, 0600);
  bool made = file >= 0 && ::ftruncate(file, kShape.count()) == 0;
  std::vector<std::uint8_t> slice(static_cast<std::size_t>(kShape.x * kShape.y));
  for (const std::int64_t z : kSlices) {
    for (std::size_t i = 0; i < slice.size(); ++i) {
      const auto number = static_cast<std::int64_t>(i);
      slice[i] = voxel(number % kShape.x, number / kShape.x, z);
    }
    const auto offset = static_cast<off_t>(slice.size()) * z;
    made = made &&
           ::pwrite(file, slice.data(), slice.size(), offset) == static_cast<ssize_t>(slice.size());
  }
  struct stat status {};
  made = made && ::fstat(file, &status) == 0 && status.st_blocks * 512 < kShape.count() / 10;
  ::close(file);
  return made;
}

struct Found {
  std::int64_t wrong = 0, above_zero = 0;
};

// Draws points in `box` and compares each with what the file was made with.
Found sample(Backend& backend, const Volume& volume, const Box& box, std::int64_t points) {
  Found found;
  const Buffer<float> at(backend, 3 * kAtOnce), values(backend, kAtOnce);
  const VolumeView view = backend.place(volume, box);
  for (std::int64_t first = 0; first < points; first += kAtOnce) {
    backend.sample(view, box, Stream{7, 1}, first, {at.data(), kAtOnce, 3, kAtOnce},
                   {values.data(), kAtOnce, 1, kAtOnce});
    for (std::int64_t i = 0; i < kAtOnce; ++i) {
      const float point[3] = {at.data()[i], at.data()[kAtOnce + i], at.data()[2 * kAtOnce + i]};
      found.wrong += !(std::abs(values.data()[i] - expected(point)) < 2e-3);
      found.above_zero += values.data()[i] > 0.01f;
    }
    volume.forget();
  }
  return found;
}

void sample_box(Backend& backend, const Volume& volume, const Box& box) {
  EXPECT_EQ(sample(backend, volume, box, kPoints).wrong, 0);
  // Points about the slices that hold something.
  for (const std::int64_t z : kSlices) {
    if (z < box.low[2] || z >= box.high[2]) continue;
    Box near = box;
    near.low[2] = std::max(box.low[2], z - 1);
    near.high[2] = std::min(box.high[2], z + 2);
    const Found found = sample(backend, volume, near, kNear);
    EXPECT_EQ(found.wrong, 0) << "about slice " << z;
    EXPECT_GT(found.above_zero, kNear / 4) << "about slice " << z;
  }
}

double peak_megabytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) / 1024;
}

TEST(SparseVolume, IsSampledByAllInLittleMemory) {
  const std::unique_ptr<Communicator> communicator = open_communicator("auto", read_launch());
  const std::unique_ptr<Backend> backend = open_cpu();
  communicator->attach(*backend);
  const test::TemporaryDirectory mine;
  char directory[4096] = {};
  mine.path().string().copy(directory, sizeof directory - 1);
  communicator->broadcast(directory, sizeof directory, 0);
  const auto path = std::filesystem::path(directory) / raw_file_name({"v", kShape, Dtype::uint8});
  double absent = communicator->rank() == 0 && !make_file(path);
  communicator->maximum(&absent, 1);
  if (absent > 0) GTEST_SKIP() << directory << " has no sparse files";
  {
    const Volume volume = open_volume(path, *communicator);
    EXPECT_EQ(volume.low, 0);
    EXPECT_EQ(volume.high, 255);
    const std::int64_t boxes = std::max<std::int64_t>(kBoxes, communicator->size());
    const Shape grid = choose_grid(kShape, boxes, "boxes");
    for (std::int64_t i = communicator->rank(); i < boxes; i += communicator->size())
      sample_box(*backend, volume, part_of(whole(kShape), grid, i));
  }
  double megabytes = peak_megabytes();
  communicator->sum(&megabytes, 1);
  EXPECT_LT(megabytes, 2000);
  if (communicator->rank() == 0) RecordProperty("megabytes", std::to_string(megabytes));
  // Rank 0's directory goes last.
  communicator->barrier();
}

}  // namespace
}  // namespace kanbench
