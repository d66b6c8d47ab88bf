#pragma once
// What every encoder comes down to: levels, each of which makes a range of the decoder's input from
// a point in [0, 1]^3.

#include <cstdint>
#include <variant>

#include "kanbench/math/encoder/adaptive_multi_grid.h"
#include "kanbench/math/encoder/dense_grid.h"
#include "kanbench/math/encoder/hash_grid.h"
#include "kanbench/math/encoder/identity.h"
#include "kanbench/math/encoder/tiled_grid.h"
#include "kanbench/math/encoder/tri_plane.h"
#include "kanbench/math/encoder/wave.h"

namespace kanbench {

/// How a level looks at a point. With kCorners above 0 it weighs rows of a table, by
/// gather(x, emit(row, weight)), and has rows() of them; with 0 it has no parameters, and
/// evaluate(x, emit(number, value)) gives the numbers themselves. x is of any arithmetic type. A
/// number of the level costs kFlops operations beside those that find the corners.
using Geometry = std::variant<encoder::GridLevel, encoder::CoordinateLevel, encoder::WaveLevel,
                              encoder::NodeLevel, encoder::TiledLevel, encoder::PlaneLevel,
                              encoder::AdaptiveLevel>;

/// One level of an encoder.
struct Level {
  Geometry geometry;
  /// It makes the decoder's inputs first ... first + features - 1; a table's rows are as wide.
  int first = 0, features = 0;
  /// The place of its table among the layout's slices; -1 where it has none.
  int slice = -1;

  bool has_table() const { return slice >= 0; }
};

/// Rows that a level reads for a point; 0 where it has no table.
inline int corners(const Geometry& geometry) {
  return std::visit([](const auto& g) { return g.kCorners; }, geometry);
}

/// Cells or nodes of a table's level along an axis; 0 where that means nothing.
inline std::uint32_t resolution(const Geometry& geometry) {
  return std::visit([](const auto& g) { return g.resolution; }, geometry);
}

/// Operations that one of the level's numbers costs.
inline double flops_a_number(const Geometry& geometry) {
  return std::visit([](const auto& g) { return g.kFlops; }, geometry);
}

/// Rows of the level's table.
inline std::uint64_t rows(const Geometry& geometry) {
  return std::visit([](const auto& g) -> std::uint64_t { return g.rows(); }, geometry);
}

}  // namespace kanbench
