// Volumes cut into boxes, and batches into the rows that each part draws.

#include "kanbench/decomposition.h"

#include <algorithm>
#include <limits>
#include <optional>

#include "kanbench/error.h"
#include "kanbench/range.h"

namespace kanbench {
namespace {

__extension__ using Wide = unsigned __int128;

// Faces between parts; under 3 * 2^62 for a volume of 2^62 voxels.
std::uint64_t surface(const Shape& volume, const Shape& grid) {
  return static_cast<std::uint64_t>((grid.x - 1) * (volume.y * volume.z)) +
         static_cast<std::uint64_t>((grid.y - 1) * (volume.x * volume.z)) +
         static_cast<std::uint64_t>((grid.z - 1) * (volume.x * volume.y));
}

// Of two with the same faces the one with more parts along z, then y: their voxels lie together.
std::optional<Shape> find_grid(const Shape& volume, std::int64_t parts) {
  std::optional<Shape> best;
  std::uint64_t least = std::numeric_limits<std::uint64_t>::max();
  for (std::int64_t x = 1; x <= std::min(volume.x, parts); ++x) {
    if (parts % x != 0) continue;
    const std::int64_t rest = parts / x;
    for (std::int64_t y = 1; y <= std::min(volume.y, rest); ++y) {
      if (rest % y != 0 || rest / y > volume.z) continue;
      const Shape grid{x, y, rest / y};
      const std::uint64_t faces = surface(volume, grid);
      if (faces >= least) continue;
      least = faces;
      best = grid;
    }
  }
  return best;
}

// The nearest numbers of parts below and above that there is a grid for; 0 where there is none.
struct Nearest {
  std::int64_t below = 0, above = 0;
};

Nearest find_nearest(const Shape& volume, std::int64_t parts) {
  if (parts > volume.count()) return {volume.count(), 0};
  Nearest nearest;
  for (std::int64_t x = 1; x <= std::min(volume.x, parts); ++x)
    for (std::int64_t y = 1; y <= std::min(volume.y, parts / x + 1); ++y) {
      const std::int64_t each = x * y, below = std::min(volume.z, (parts - 1) / each);
      nearest.below = std::max(nearest.below, each * below);
      const std::int64_t above = parts / each + 1;
      if (above <= volume.z && (nearest.above == 0 || each * above < nearest.above))
        nearest.above = each * above;
    }
  return nearest;
}

std::uint64_t reverse_bits(std::uint64_t word) {
  std::uint64_t reversed = 0;
  for (int i = 0; i < 64; ++i) reversed |= (word >> i & 1) << (63 - i);
  return reversed;
}

}  // namespace

Shape choose_grid(const Shape& volume, std::int64_t parts, const std::string& what) {
  if (parts < 1) throw Error(what + ": " + std::to_string(parts) + " parts: use 1 or more");
  if (const std::optional<Shape> grid = find_grid(volume, parts)) return *grid;
  const Nearest nearest = find_nearest(volume, parts);
  throw Error(what + ": a volume of " + text(volume) + " voxels cannot be cut into " +
              std::to_string(parts) + " boxes: use " + std::to_string(nearest.below) +
              (nearest.above ? " or " + std::to_string(nearest.above) : " at most"));
}

Box part_of(const Box& box, const Shape& grid, std::int64_t index) {
  const std::int64_t at[3] = {index % grid.x, index / grid.x % grid.y, index / grid.x / grid.y};
  const std::int64_t counts[3] = {grid.x, grid.y, grid.z};
  Box part;
  for (std::size_t d = 0; d < 3; ++d) {
    const std::int64_t size = box.high[d] - box.low[d];
    part.low[d] = box.low[d] + start_of_part(size, at[d], counts[d]);
    part.high[d] = box.low[d] + start_of_part(size, at[d] + 1, counts[d]);
  }
  return part;
}

Box within(const Box& box, const Box& other) {
  Box inner = box;
  for (std::size_t d = 0; d < 3; ++d) {
    inner.low[d] -= other.low[d];
    inner.high[d] -= other.low[d];
  }
  return inner;
}

Box grow(const Box& box, std::int64_t voxels, const Shape& volume) {
  const std::int64_t size[3] = {volume.x, volume.y, volume.z};
  Box grown = box;
  for (std::size_t d = 0; d < 3; ++d) {
    grown.low[d] = std::max<std::int64_t>(box.low[d] - voxels, 0);
    grown.high[d] = std::min(box.high[d] + voxels, size[d]);
  }
  return grown;
}

// Systematic sampling: part k draws the whole numbers between its cumulative shares, all moved by
// an offset in [0, 1). The offsets are van der Corput's: those of 2^n steps are evenly spread.
std::vector<std::int64_t> share_batch(std::int64_t batch, std::span<const std::int64_t> voxels,
                                      std::int64_t step) {
  check(batch >= 0, "a batch of less than nothing");
  Wide all = 0;
  for (const std::int64_t part : voxels) all += static_cast<Wide>(part);
  check(all > 0 && all >> 63 == 0, "a batch shared among parts without voxels");
  const Wide offset = reverse_bits(static_cast<std::uint64_t>(step)) * all >> 64;
  std::vector<std::int64_t> rows;
  Wide before = 0;
  std::int64_t drawn = 0;
  for (const std::int64_t part : voxels) {
    before += static_cast<Wide>(part);
    const auto end = static_cast<std::int64_t>((static_cast<Wide>(batch) * before + offset) / all);
    rows.push_back(end - drawn);
    drawn = end;
  }
  return rows;
}

}  // namespace kanbench
