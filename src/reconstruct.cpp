#include "kanbench/reconstruct.h"

#include <algorithm>
#include <chrono>

#include "kanbench/buffer.h"
#include "kanbench/error.h"

namespace kanbench {
namespace {

constexpr std::int64_t kSlabFloats = std::int64_t{64} << 18;

// The middle slices of a volume and its reconstruction, collected while they go by.
class MiddleSlices {
 public:
  explicit MiddleSlices(const Shape& s) : shape_(s) {
    slices_.push_back({'z', s.z / 2, s.x, s.y, {}, {}});
    slices_.push_back({'y', s.y / 2, s.x, s.z, {}, {}});
    slices_.push_back({'x', s.x / 2, s.y, s.z, {}, {}});
  }

  void add(std::int64_t z, const float* original, const float* reconstruction) {
    add(z, original, &SlicePair::original);
    add(z, reconstruction, &SlicePair::reconstruction);
  }
  std::vector<SlicePair> take() { return std::move(slices_); }

 private:
  void add(std::int64_t z, const float* slice, std::vector<float> SlicePair::*side) {
    if (z == shape_.z / 2) (slices_[0].*side).assign(slice, slice + shape_.x * shape_.y);
    const float* row = slice + (shape_.y / 2) * shape_.x;
    std::vector<float>& across_y = slices_[1].*side;
    across_y.insert(across_y.end(), row, row + shape_.x);
    for (std::int64_t y = 0; y < shape_.y; ++y)
      (slices_[2].*side).push_back(slice[y * shape_.x + shape_.x / 2]);
  }

  Shape shape_;
  std::vector<SlicePair> slices_;
};

}  // namespace

double decode_slices(const Model& model, const Lattice& lattice,
                     const std::function<void(std::int64_t z, float* values)>& take) {
  const Shape shape = lattice.box.shape();
  check(shape.x > 0 && shape.y > 0 && shape.z > 0, "an empty box");
  const std::int64_t slice = shape.x * shape.y;
  const std::int64_t depth = std::clamp<std::int64_t>(kSlabFloats / slice, 1, shape.z);
  Buffer<float> slab(model.backend(), slice * depth);
  std::vector<float> values(static_cast<std::size_t>(slice * depth));
  double seconds = 0;
  for (std::int64_t z = 0; z < shape.z; z += depth) {
    const std::int64_t count = std::min(depth, shape.z - z);
    Lattice part = lattice;
    part.box.low[2] = lattice.box.low[2] + z;
    part.box.high[2] = part.box.low[2] + count;
    const auto began = std::chrono::steady_clock::now();
    model.backend().decode(model, part, slab.data());
    model.backend().download(values.data(), slab.data(),
                             static_cast<std::size_t>(count * slice) * sizeof(float));
    seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
    for (std::int64_t i = 0; i < count * slice; ++i) values[i] = std::clamp(values[i], 0.0f, 1.0f);
    for (std::int64_t i = 0; i < count; ++i) take(z + i, values.data() + i * slice);
  }
  return seconds;
}

Evaluation evaluate(const Model& model, double low, double high, const Volume& volume,
                    bool with_slices, RawWriter* writer) {
  const Shape& shape = volume.shape;
  const std::int64_t slice = shape.x * shape.y;
  const bool other_range = low != volume.low || high != volume.high;
  const double width = volume.high - volume.low;
  std::vector<float> original(static_cast<std::size_t>(slice));
  std::vector<std::byte> voxels(static_cast<std::size_t>(slice) * size_of(volume.dtype));
  MetricsSum sum(shape);
  MiddleSlices middle(shape);
  Evaluation result;
  const auto take = [&](std::int64_t z, float* values) {
    if (writer) {
      denormalise(values, slice, low, high, volume.dtype, voxels.data());
      writer->write(voxels.data(), voxels.size());
    }
    if (other_range)
      for (std::int64_t i = 0; i < slice; ++i)
        values[i] = static_cast<float>((low + values[i] * (high - low) - volume.low) / width);
    normalise(volume.view(), z * slice, slice, original.data());
    sum.add_slice(original.data(), values);
    if (with_slices) middle.add(z, original.data(), values);
  };
  result.decode_seconds = decode_slices(model, {shape, whole(shape)}, take);
  result.metrics = sum.result();
  if (with_slices) result.slices = middle.take();
  return result;
}

}  // namespace kanbench
