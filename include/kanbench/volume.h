#pragma once
// A field on a regular grid, kept in its own voxel type, x fastest: a number a voxel, or several,
// component after component.

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "kanbench/dtype.h"
#include "kanbench/math/guide.h"
#include "kanbench/math/voxels.h"

namespace kanbench {

class Communicator;

/// Voxels an axis.
struct Shape {
  std::int64_t x = 0, y = 0, z = 0;
  std::int64_t count() const { return x * y * z; }
  friend bool operator==(const Shape&, const Shape&) = default;
};

/// "41x41x41".
std::string text(const Shape& shape);
/// The shape that "XxYxZ" names; an Error says what was wrong with it. `what` names the option.
Shape parse_shape(const std::string& word, const std::string& what);

/// Throws Error naming `what` where so many numbers a voxel are more than 2^56 in all.
void require_countable(const Shape& shape, int components, const std::string& what);

/// Voxels from `low` up to, not including, `high`, (x, y, z).
struct Box {
  std::array<std::int64_t, 3> low{}, high{};
  Shape shape() const { return {high[0] - low[0], high[1] - low[1], high[2] - low[2]}; }
};

/// The whole of a volume of that shape.
inline Box whole(const Shape& s) { return {{0, 0, 0}, {s.x, s.y, s.z}}; }

/// Most numbers a voxel that models are trained on.
inline constexpr int kMostComponents = 64;

/// Lowest and highest value.
using ValueRange = std::array<double, 2>;

/// Voxels as a backend sees them: `data` lives in that backend's memory. Values are normalised to
/// [0, 1] by (value - low) / (high - low).
struct VolumeView {
  const void* data = nullptr;
  /// The whole volume's, of which `data` holds the voxels of `held`.
  Shape shape;
  Dtype dtype = Dtype::uint8;
  double low = 0, high = 1;
  Box held;
  /// How samples are spread over the box that they are drawn in.
  SamplingGuide guide = {};
  /// Numbers a voxel, each one's of all held voxels behind the one's before; low and high are the
  /// first's. Where there are several, `ranges` has each one's, in host memory that outlives this.
  int components = 1;
  const ValueRange* ranges = nullptr;

  /// One of them alone.
  VolumeView component(int number) const;
};

/// The view's voxels for lookup(); `Voxel` is the type that its dtype names.
template <class Voxel>
VoxelGrid<Voxel> grid_of(const VolumeView& view) {
  const Shape size = view.shape, held = view.held.shape();
  const auto& [x, y, z] = view.held.low;
  return {static_cast<const Voxel*>(view.data),
          {size.x, size.y, size.z},
          {x, y, z},
          {held.x, held.y, held.z}};
}

/// What a file says of its volume beside the voxels.
struct VolumeHeader {
  Shape shape;
  Dtype dtype = Dtype::uint8;
  /// Numbers a voxel.
  int components = 1;
  /// Between voxels' centres, and where the first one's lies.
  std::array<double, 3> spacing{1, 1, 1}, origin{0, 0, 0};
};

/// A volume in host memory or mapped from its file, all voxels finite, low < high.
class Volume {
 public:
  std::string name;
  Shape shape;
  Dtype dtype = Dtype::uint8;
  /// Numbers a voxel. The voxels of each lie together, one component after the other.
  int components = 1;
  /// Between voxels' centres, and where the first one's lies.
  std::array<double, 3> spacing{1, 1, 1}, origin{0, 0, 0};
  /// The range of the first component.
  double low = 0, high = 1;
  /// What voxels without a value were filled with, "nearest"; empty where there were none.
  std::string filled;

  VolumeHeader header() const { return {shape, dtype, components, spacing, origin}; }
  const void* data() const { return data_.get(); }
  std::size_t bytes() const {
    return static_cast<std::size_t>(shape.count() * components) * size_of(dtype);
  }
  /// Each component's.
  const std::vector<ValueRange>& ranges() const { return ranges_; }
  /// All of it; valid while the volume lives.
  VolumeView view() const;
  /// One component as a volume of its own, which shares the voxels.
  Volume component(int number) const;

  /// Takes the voxels and finds the components' ranges. Throws Error naming `source` for a voxel
  /// that is not finite (how many, where the first is) and for a component that is constant.
  Volume(std::string name, Shape shape, Dtype dtype, std::shared_ptr<const void> data,
         const std::string& source, int components = 1);
  /// The same, each rank looking at its share of the voxels.
  Volume(std::string name, Shape shape, Dtype dtype, std::shared_ptr<const void> data,
         const std::string& source, Communicator& communicator, int components = 1);

  /// A copy of `box` of its first component, a volume of its own with the range of its own voxels;
  /// one that is constant has low == high.
  Volume cut(const Box& box) const;
  /// Lets go of what was read of a mapped file; it is read again when it is looked at.
  void forget() const;

 private:
  Volume() = default;
  std::shared_ptr<const void> component_data(int number) const;
  std::shared_ptr<const void> data_;
  std::vector<ValueRange> ranges_;
};

}  // namespace kanbench
