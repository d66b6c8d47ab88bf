// Volumes cut into boxes: nothing left out, nothing twice, the least faces; and fair batches.

#include "kanbench/decomposition.h"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <numeric>
#include <vector>

#include "kanbench/error.h"
#include "support.h"

namespace kanbench {
namespace {

std::int64_t faces(const Shape& n, const Shape& grid) {
  return (grid.x - 1) * n.y * n.z + (grid.y - 1) * n.x * n.z + (grid.z - 1) * n.x * n.y;
}

// By trying every cut; -1 where there is none.
std::int64_t least_faces(const Shape& n, std::int64_t parts) {
  std::int64_t least = -1;
  for (std::int64_t x = 1; x <= n.x; ++x)
    for (std::int64_t y = 1; y <= n.y; ++y)
      for (std::int64_t z = 1; z <= n.z; ++z)
        if (x * y * z == parts && (least < 0 || faces(n, {x, y, z}) < least))
          least = faces(n, {x, y, z});
  return least;
}

std::vector<std::int64_t> counts() {
  std::vector<std::int64_t> all(64);
  std::iota(all.begin(), all.end(), 1);
  all.insert(all.end(), {67, 71, 73, 79, 83, 89, 97});
  return all;
}

TEST(Decomposition, CutsWithoutGapOrOverlap) {
  for (const Shape& n : {Shape{97, 101, 99}, Shape{130, 7, 53}, Shape{100, 100, 1}})
    for (const std::int64_t parts : counts()) {
      const Shape grid = choose_grid(n, parts, "a test");
      ASSERT_EQ(grid.count(), parts);
      std::vector<std::uint8_t> seen(static_cast<std::size_t>(n.count()));
      for (std::int64_t i = 0; i < parts; ++i) {
        const Box box = part_of(whole(n), grid, i);
        const std::int64_t size[3] = {n.x, n.y, n.z}, cuts[3] = {grid.x, grid.y, grid.z};
        for (std::size_t d = 0; d < 3; ++d) {
          EXPECT_GE(box.high[d] - box.low[d], size[d] / cuts[d]);
          EXPECT_LE(box.high[d] - box.low[d], (size[d] + cuts[d] - 1) / cuts[d]);
        }
        for (std::int64_t z = box.low[2]; z < box.high[2]; ++z)
          for (std::int64_t y = box.low[1]; y < box.high[1]; ++y)
            for (std::int64_t x = box.low[0]; x < box.high[0]; ++x)
              ++seen[static_cast<std::size_t>((z * n.y + y) * n.x + x)];
      }
      ASSERT_EQ(std::count(seen.begin(), seen.end(), 1), n.count()) << text(n) << " in " << parts;
    }
}

TEST(Decomposition, CutsABoxThatBeginsElsewhere) {
  const Box box{{5, 0, 7}, {12, 9, 8}};
  EXPECT_EQ(part_of(box, {2, 3, 1}, 0).low, box.low);
  EXPECT_EQ(part_of(box, {2, 3, 1}, 5).high, box.high);
  // x fastest.
  EXPECT_EQ(part_of(box, {2, 3, 1}, 1).low, (std::array<std::int64_t, 3>{8, 0, 7}));
  EXPECT_EQ(part_of(box, {2, 3, 1}, 2).low, (std::array<std::int64_t, 3>{5, 3, 7}));
  // Sizes whose product with a part's number does not fit 64 bits.
  const std::int64_t most = std::int64_t{1} << 62;
  const Box line{{0, 0, 0}, {most, 1, 1}};
  EXPECT_EQ(part_of(line, {4096, 1, 1}, 4095).high[0], most);
  EXPECT_EQ(part_of(line, {4096, 1, 1}, 4095).low[0], most / 4096 * 4095);
}

TEST(Decomposition, HasTheLeastFaces) {
  for (const Shape& n : {Shape{8, 8, 8}, Shape{12, 5, 7}, Shape{1, 9, 30}, Shape{3, 40, 2}})
    for (std::int64_t parts = 1; parts <= n.count(); ++parts) {
      const std::int64_t least = least_faces(n, parts);
      if (least < 0)
        EXPECT_THROW(choose_grid(n, parts, "a test"), Error) << text(n) << " in " << parts;
      else
        EXPECT_EQ(faces(n, choose_grid(n, parts, "a test")), least) << text(n) << " in " << parts;
    }
  EXPECT_EQ(choose_grid({64, 64, 64}, 8, ""), (Shape{2, 2, 2}));
  EXPECT_EQ(choose_grid({3000, 2000, 1500}, 7, ""), (Shape{7, 1, 1}));
  EXPECT_EQ(choose_grid({1500, 3000, 2000}, 97, ""), (Shape{1, 97, 1}));
  // Of equal cuts the one along z, whose parts lie together in a file.
  EXPECT_EQ(choose_grid({64, 64, 64}, 3, ""), (Shape{1, 1, 3}));
  const std::int64_t most = std::int64_t{1} << 20;
  EXPECT_EQ(choose_grid({most, most, most}, 4096, ""), (Shape{16, 16, 16}));
}

TEST(Decomposition, NamesTheNearestNumbersThatWork) {
  const Shape n{4, 5, 3};
  for (std::int64_t parts = 1; parts <= n.count() + 3; ++parts) {
    if (least_faces(n, parts) >= 0) continue;
    std::int64_t below = parts - 1, above = parts + 1;
    while (least_faces(n, below) < 0) --below;
    while (above <= n.count() && least_faces(n, above) < 0) ++above;
    const std::string message = test::message_of<Error>(
        [&] { choose_grid(n, parts, "--bricks " + std::to_string(parts)); });
    EXPECT_EQ(message, "--bricks " + std::to_string(parts) +
                           ": a volume of 4x5x3 voxels cannot be cut into " +
                           std::to_string(parts) + " boxes: use " + std::to_string(below) +
                           (above <= n.count() ? " or " + std::to_string(above) : " at most"));
  }
  EXPECT_THROW(choose_grid(n, 0, "a test"), Error);
  EXPECT_THROW(choose_grid({3000, 2000, 1500}, std::numeric_limits<std::int64_t>::max(), ""),
               Error);
}

TEST(Decomposition, GrowsWithinTheVolume) {
  const Box box = grow({{0, 3, 5}, {4, 7, 9}}, 2, {10, 8, 9});
  EXPECT_EQ(box.low, (std::array<std::int64_t, 3>{0, 1, 3}));
  EXPECT_EQ(box.high, (std::array<std::int64_t, 3>{6, 8, 9}));
}

// Rows that each part drew, step by step.
void expect_fair(std::int64_t batch, const std::vector<std::int64_t>& voxels) {
  const double all = static_cast<double>(std::accumulate(voxels.begin(), voxels.end(), 0ll));
  std::vector<double> drawn(voxels.size());
  for (std::int64_t step = 0; step < 4096; ++step) {
    const std::vector<std::int64_t> rows = share_batch(batch, voxels, step);
    ASSERT_EQ(rows.size(), voxels.size());
    EXPECT_EQ(std::accumulate(rows.begin(), rows.end(), std::int64_t{0}), batch);
    const double steps = static_cast<double>(step + 1);
    // To a row after 1024 steps as after 2048; to a few in between.
    const bool even = (step & (step + 1)) == 0;
    for (std::size_t k = 0; k < rows.size(); ++k) {
      const double wanted = static_cast<double>(batch) * static_cast<double>(voxels[k]) / all;
      ASSERT_GE(rows[k], 0) << "part " << k << " of step " << step;
      EXPECT_LT(std::abs(static_cast<double>(rows[k]) - wanted), 1 + 1e-9 * wanted);
      drawn[k] += static_cast<double>(rows[k]);
      ASSERT_LT(std::abs(drawn[k] - wanted * steps), (even ? 1 : 5) + 1e-9 * wanted)
          << "part " << k << " after " << step + 1 << " steps";
    }
  }
}

TEST(Batches, AreSharedInProportion) {
  expect_fair(1024, {1, 2, 3});
  expect_fair(1000, {343, 342, 343, 342, 350, 341, 344});
  // Fewer rows than parts.
  expect_fair(3, {5, 5, 5, 5, 6, 5, 4, 5, 5, 7, 5});
  expect_fair(1, std::vector<std::int64_t>(64, 12345));
  expect_fair(262144, {std::int64_t{1} << 60, std::int64_t{3} << 59, 1, 0, 12345678901234567});
}

TEST(Batches, AreWholeForOnePart) {
  const std::vector<std::int64_t> one{77};
  for (std::int64_t step = 0; step < 9; ++step)
    EXPECT_EQ(share_batch(1000, one, step), std::vector<std::int64_t>{1000});
}

}  // namespace
}  // namespace kanbench
