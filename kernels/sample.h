#pragma once
// Training samples: points drawn in a box of the volume and the volume's values there, row by row,
// so that a kernel may draw the rows that it needs.

#include <cuda_runtime.h>

#include <cstdint>
#include <memory>
#include <type_traits>
#include <vector>

#include "kanbench/backend.h"
#include "kanbench/math/random.h"
#include "kanbench/math/voxels.h"
#include "kanbench/volume.h"
#include "kernels/device.h"
#include "kernels/runtime.h"
#include "kernels/step.h"

namespace kanbench::cuda {

/// What is drawn: row i from words first_row + i of `stream`, whose step is that of the step under
/// way in `state` where there is one.
struct DrawArguments {
  const void* voxels = nullptr;
  Dtype dtype = Dtype::uint8;
  /// The volume's voxels an axis, and the box of them at `voxels`.
  std::int64_t size[3] = {1, 1, 1}, origin[3] = {}, held[3] = {1, 1, 1};
  double low = 0, inverse_range = 1;
  /// A point is offset + uniform number * scale.
  float scale[3] = {1, 1, 1}, offset[3] = {};
  SamplingGuide guide;
  Stream stream;
  std::int64_t first_row = 0;
  const StepState* state = nullptr;
  /// Where it is not 0, values are the texture's at point * texel_scale + texel_offset, times
  /// texture_scale plus texture_offset.
  cudaTextureObject_t texture = 0;
  float texel_scale[3] = {1, 1, 1}, texel_offset[3] = {};
  float texture_scale = 1, texture_offset = 0;
};

/// What draw_row() needs to draw uniformly in `box` of a volume of one component. The view holds
/// the voxels around the box.
DrawArguments make_draw(const VolumeView& volume, const Box& box, const Stream& stream,
                        std::int64_t first_row, const StepState* state = nullptr,
                        cudaTextureObject_t texture = 0);

/// The same for each component of a volume.
std::vector<DrawArguments> make_draws(const VolumeView& volume, const Box& box,
                                      const Stream& stream, std::int64_t first_row,
                                      const StepState* state = nullptr,
                                      cudaTextureObject_t texture = 0);

/// The volume's normalised value at `point`.
template <class Voxel>
KB_DEVICE float value_at(const DrawArguments& a, const float (&point)[3]) {
  VoxelGrid<Voxel> grid;
  grid.data = static_cast<const Voxel*>(a.voxels);
  for (int d = 0; d < 3; ++d) {
    grid.size[d] = a.size[d];
    grid.origin[d] = a.origin[d];
    grid.held[d] = a.held[d];
  }
  const auto value = lookup(grid, point[0], point[1], point[2]);
  return static_cast<float>((static_cast<double>(value) - a.low) * a.inverse_range);
}

KB_DEVICE float value_at(const DrawArguments& a, const float (&point)[3]) {
  switch (a.dtype) {
    case Dtype::uint8:
      return value_at<std::uint8_t>(a, point);
    case Dtype::int8:
      return value_at<std::int8_t>(a, point);
    case Dtype::uint16:
      return value_at<std::uint16_t>(a, point);
    case Dtype::int16:
      return value_at<std::int16_t>(a, point);
    case Dtype::uint32:
      return value_at<std::uint32_t>(a, point);
    case Dtype::int32:
      return value_at<std::int32_t>(a, point);
    case Dtype::uint64:
      return value_at<std::uint64_t>(a, point);
    case Dtype::int64:
      return value_at<std::int64_t>(a, point);
    case Dtype::float32:
      return value_at<float>(a, point);
    case Dtype::float64:
      break;
  }
  return value_at<double>(a, point);
}

/// Draws point `row` and returns its target; the point has the CPU backend's bits.
KB_DEVICE float draw_row(const DrawArguments& a, std::int64_t row, float (&point)[3]) {
  Stream stream = a.stream;
  if (a.state) stream.step = a.state->steps[a.state->index].stream_step;
  const Words4 words = stream.words(static_cast<std::uint64_t>(a.first_row + row));
  float unit[3] = {unit_float(words.v[0]), unit_float(words.v[1]), unit_float(words.v[2])};
  if (a.guide.ends) a.guide.place(words, unit);
  // Product and sum are rounded one by one, as on the CPU.
  for (int d = 0; d < 3; ++d) point[d] = __fadd_rn(a.offset[d], __fmul_rn(unit[d], a.scale[d]));
  if (a.texture) {
    float at[3];
    for (int d = 0; d < 3; ++d) at[d] = fmaf(point[d], a.texel_scale[d], a.texel_offset[d]);
    const float read = tex3D<float>(a.texture, at[0], at[1], at[2]);
    return read * a.texture_scale + a.texture_offset;
  }
  return value_at(a, point);
}

/// Draws points.rows points and their targets.
void draw(const DrawArguments& arguments, Rows points, Rows targets, cudaStream_t stream);

/// The same for targets of as many numbers as there are arguments, which say the same points.
void draw(const std::vector<DrawArguments>& components, Rows points, Rows targets,
          cudaStream_t stream);

/// draw() of the bricks whose arguments are at `bricks` in the device's memory, in one launch:
/// brick i fills the rows from its first_row to the next one's, and row r is drawn from words r.
void draw_bricks(const DrawArguments* bricks, int count, Rows points, Rows targets,
                 cudaStream_t stream);

/// A volume of 8- or 16-bit integers or float32 as a texture, whose interpolation weights have 8
/// bits. Beyond the centres of the outermost voxels that it holds the value is the edge's.
class VolumeTexture {
 public:
  /// Whether the view can be one: of such a type, at most 16384 voxels an axis held.
  static bool fits(const VolumeView& volume);

  /// Copies the view's voxels, which are in the device's memory.
  VolumeTexture(const VolumeView& volume, cudaStream_t stream);
  VolumeTexture(const VolumeTexture&) = delete;
  VolumeTexture& operator=(const VolumeTexture&) = delete;
  ~VolumeTexture();

  cudaTextureObject_t object() const { return object_; }

 private:
  struct FreeArray {
    void operator()(cudaArray_t array) const { cudaFreeArray(array); }
  };
  std::unique_ptr<std::remove_pointer_t<cudaArray_t>, FreeArray> array_;
  cudaTextureObject_t object_ = 0;
  std::size_t bytes_ = 0;
};

}  // namespace kanbench::cuda
