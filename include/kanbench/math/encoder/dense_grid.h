#pragma once
// A grid of nodes on the unit cube, the outermost on its faces, trilinear between them: the latent
// grid of fV-SRN (Weiss et al., "Fast neural representations for direct volume rendering", 2022).

#include <cstdint>

#include "kanbench/math/encoder/corners.h"

namespace kanbench::encoder {

/// Node i of `resolution` on an axis lies at i / (resolution - 1).
struct NodeLevel {
  static constexpr int kCorners = 8;
  static constexpr double kFlops = 16;
  std::uint32_t resolution = 2;

  KB_HD std::uint64_t rows() const { return std::uint64_t{resolution} * resolution * resolution; }

  /// Calls emit(row, weight) for the eight nodes around the point x[0..2] in [0, 1].
  template <class T, class Emit>
  KB_HD void gather(const T* x, Emit&& emit) const {
    T f[3];
    const std::uint32_t cell[3] = {find_cell(x[0], resolution, f[0]),
                                   find_cell(x[1], resolution, f[1]),
                                   find_cell(x[2], resolution, f[2])};
    each_corner(cell, f, [&](std::uint32_t i, std::uint32_t j, std::uint32_t k, T w) KB_INLINE {
      emit(i + resolution * (j + resolution * k), w);
    });
  }
};

struct DenseGrid {
  static constexpr const char* name = "dense_grid";
  /// Nodes along each axis, and numbers of a node.
  int resolution = 32;
  int features = 16;

  template <class Self, class Field>
  static void fields(Self& s, Field field) {
    field("resolution", s.resolution);
    field("features", s.features);
  }
  KB_HD int width() const { return features; }

  template <class Add>
  void lower(Add&& add) const {
    add(NodeLevel{static_cast<std::uint32_t>(resolution)}, features);
  }
};

}  // namespace kanbench::encoder
