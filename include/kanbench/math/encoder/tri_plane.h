#pragma once
// Three planes of nodes, XY, XZ and YZ, onto which a point is projected (Chan et al., "Efficient
// geometry-aware 3D generative adversarial networks", CVPR 2022); their features side by side.

#include "kanbench/math/encoder/corners.h"

namespace kanbench::encoder {

/// The plane of two axes, its nodes as a dense grid's; the first axis varies fastest.
struct PlaneLevel {
  static constexpr int kCorners = 4;
  static constexpr double kFlops = 8;
  std::uint32_t resolution = 2;
  int first_axis = 0, second_axis = 1;

  KB_HD std::uint64_t rows() const { return std::uint64_t{resolution} * resolution; }

  /// Calls emit(row, weight) for the four nodes around the point's projection.
  template <class T, class Emit>
  KB_HD void gather(const T* x, Emit&& emit) const {
    T f, g;
    const std::uint32_t i = find_cell(first_axis ? x[1] : x[0], resolution, f);
    const std::uint32_t j = find_cell(second_axis == 1 ? x[1] : x[2], resolution, g);
    const std::uint32_t row = i + resolution * j;
    emit(row, (T(1) - f) * (T(1) - g));
    emit(row + 1, f * (T(1) - g));
    emit(row + resolution, (T(1) - f) * g);
    emit(row + resolution + 1, f * g);
  }
};

struct TriPlane {
  static constexpr const char* name = "tri_plane";
  /// Nodes along each axis of a plane, and numbers of a node.
  int resolution = 128;
  int features = 16;

  template <class Self, class Field>
  static void fields(Self& s, Field field) {
    field("resolution", s.resolution);
    field("features", s.features);
  }
  KB_HD int width() const { return 3 * features; }

  template <class Add>
  void lower(Add&& add) const {
    const auto nodes = static_cast<std::uint32_t>(resolution);
    add(PlaneLevel{nodes, 0, 1}, features);
    add(PlaneLevel{nodes, 0, 2}, features);
    add(PlaneLevel{nodes, 1, 2}, features);
  }
};

}  // namespace kanbench::encoder
