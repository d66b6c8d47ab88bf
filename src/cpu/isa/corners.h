#pragma once
// The corners of levels that have a table, for packs of samples: gather() of each level, with what
// the corners have in common computed once.

#include "cpu/isa/pack.h"
#include "kanbench/math/level.h"

namespace kanbench::cpu::KB_ISA {
namespace {

/// Rows of the table and weights of N corners of kWidth samples.
template <int N>
struct Corners {
  Words row[N];
  Pack weight[N];
  /// Whether no sample lies where the level is not zero.
  bool idle = false;
};

/// Of a level whose nodes are half a cell off: the two places along each axis, times the axis'
/// stride, and their weights.
struct StaggeredAxes {
  Words at[3][2];
  Pack weight[3][2];

  KB_HD StaggeredAxes(float scale_of_level, const std::uint32_t (&stride)[3], Pack x, Pack y,
                      Pack z) {
    const Pack scale(scale_of_level), half(0.5f), one(1.0f);
    const Pack p[3] = {x * scale + half, y * scale + half, z * scale + half};
    for (int d = 0; d < 3; ++d) {
      const Words cell = truncate(p[d]);
      weight[d][1] = p[d] - to_pack(cell);
      weight[d][0] = one - weight[d][1];
      at[d][0] = cell * stride[d];
      at[d][1] = at[d][0] + stride[d];
    }
  }
  /// The eight corners, of which row(i, j, k) makes the row of three such places.
  template <class Row>
  KB_HD Corners<8> corners(Row row) const {
    Corners<8> all;
    for (int c = 0; c < 8; ++c) {
      all.row[c] = row(at[0][c & 1], at[1][c >> 1 & 1], at[2][c >> 2]);
      all.weight[c] = weight[0][c & 1] * weight[1][c >> 1 & 1] * weight[2][c >> 2];
    }
    return all;
  }
};

KB_HD Corners<8> find_corners(const encoder::GridLevel& level, Pack x, Pack y, Pack z) {
  const std::uint32_t res = level.resolution, entries = level.entries;
  const StaggeredAxes axes(
      level.scale, {1, level.dense ? res : 2654435761u, level.dense ? res * res : 805459861u}, x, y,
      z);
  if (!level.dense)
    return axes.corners([&](const Words& i, const Words& j, const Words& k)
                            KB_INLINE { return (i ^ j ^ k) & (entries - 1); });
  return axes.corners([&](const Words& i, const Words& j, const Words& k) KB_INLINE {
    const Words row = i + j + k;
    return row < entries ? row : row - entries;
  });
}

KB_HD Corners<8> find_corners(const encoder::TiledLevel& level, Pack x, Pack y, Pack z) {
  const std::uint32_t res = level.resolution, entries = level.entries;
  const StaggeredAxes axes(level.scale, {1, res, res * res}, x, y, z);
  if (!level.dense)
    return axes.corners([&](const Words& i, const Words& j, const Words& k)
                            KB_INLINE { return (i + j + k) & (entries - 1); });
  return axes.corners([&](const Words& i, const Words& j, const Words& k) KB_INLINE {
    const Words row = i + j + k;
    return row < entries ? row : row - entries;
  });
}

/// Cell and weights along one axis whose nodes stand from 0 to 1.
KB_HD Words find_cells(std::uint32_t resolution, Pack x, Pack (&weight)[2]) {
  const Pack p = x * Pack(static_cast<float>(resolution - 1));
  const Words whole = truncate(p), last = Words{} + (resolution - 2);
  const Words cell = whole < last ? whole : last;
  weight[1] = p - to_pack(cell);
  weight[0] = Pack(1.0f) - weight[1];
  return cell;
}

KB_HD Corners<8> find_corners(const encoder::NodeLevel& level, Pack x, Pack y, Pack z) {
  Pack weight[3][2];
  const std::uint32_t res = level.resolution;
  const Words i = find_cells(res, x, weight[0]), j = find_cells(res, y, weight[1]),
              k = find_cells(res, z, weight[2]);
  const Words row = i + j * res + k * (res * res);
  Corners<8> corners;
  for (int c = 0; c < 8; ++c) {
    const std::uint32_t ahead =
        static_cast<std::uint32_t>(c & 1) + (c >> 1 & 1 ? res : 0) + (c >> 2 ? res * res : 0);
    corners.row[c] = row + ahead;
    corners.weight[c] = weight[0][c & 1] * weight[1][c >> 1 & 1] * weight[2][c >> 2];
  }
  return corners;
}

KB_HD Corners<4> find_corners(const encoder::PlaneLevel& level, Pack x, Pack y, Pack z) {
  Pack first[2], second[2];
  const Words i = find_cells(level.resolution, level.first_axis ? y : x, first);
  const Words j = find_cells(level.resolution, level.second_axis == 1 ? y : z, second);
  Corners<4> corners;
  for (int c = 0; c < 4; ++c) {
    corners.row[c] = i + static_cast<std::uint32_t>(c & 1) +
                     (j + static_cast<std::uint32_t>(c >> 1)) * level.resolution;
    corners.weight[c] = first[c & 1] * second[c >> 1];
  }
  return corners;
}

/// Corners beyond the grid weigh nothing, and are at row 0.
KB_HD Corners<8> find_corners(const encoder::AdaptiveLevel& level, Pack x, Pack y, Pack z) {
  const std::uint32_t count = level.resolution;
  Words axis[3][2];
  Pack weight[3][2];
  Pack reached(1.0f);
  for (int d = 0; d < 3; ++d) {
    const float* node = level.node[d];
    const Pack p = Pack(node[0]) * x + Pack(node[1]) * y + Pack(node[2]) * z + Pack(node[3]);
    // One more than the node before the point, so that what is cut off is not below zero.
    const Pack held =
        maximum(minimum(p + Pack(1.0f), Pack(static_cast<float>(count) + 1.0f)), Pack(0.0f));
    const Words next = truncate(held);
    const Pack share = held - to_pack(next);
    const Words before = next - 1;
    weight[d][0] = before < count ? (Pack(1.0f) - share).v : Vec{};
    weight[d][1] = next < count ? share.v : Vec{};
    const std::uint32_t stride = d == 0 ? 1 : d == 1 ? count : count * count;
    axis[d][0] = before < count ? before * stride : Words{};
    axis[d][1] = next < count ? next * stride : Words{};
    reached = reached * (weight[d][0] + weight[d][1]);
  }
  Corners<8> corners;
  corners.idle = all_zero(reached);
  for (int c = 0; c < 8; ++c) {
    corners.row[c] = axis[0][c & 1] + axis[1][c >> 1 & 1] + axis[2][c >> 2];
    corners.weight[c] = weight[0][c & 1] * weight[1][c >> 1 & 1] * weight[2][c >> 2];
  }
  return corners;
}

}  // namespace
}  // namespace kanbench::cpu::KB_ISA
