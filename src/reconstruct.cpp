#include "kanbench/reconstruct.h"

#include <algorithm>
#include <chrono>

#include "kanbench/buffer.h"
#include "kanbench/error.h"

namespace kanbench {
namespace {

constexpr std::int64_t kSlabFloats = std::int64_t{64} << 18;
// A value and the widest voxel.
constexpr std::size_t kBytesPerVoxel = sizeof(float) + sizeof(double);

// Slices that are decoded at once.
std::int64_t slab_depth(const Backend& backend, const Shape& shape) {
  const auto room = static_cast<std::int64_t>(backend.free_bytes() / (4 * kBytesPerVoxel));
  return std::clamp<std::int64_t>(std::min(kSlabFloats, room) / (shape.x * shape.y), 1, shape.z);
}

// The middle slices of a volume and its reconstruction, collected while they go by.
class MiddleSlices {
 public:
  MiddleSlices(const Volume& volume, double low, double high)
      : volume_(volume), low_(low), high_(high) {
    const Shape& s = volume.shape;
    slices_.push_back({'z', s.z / 2, s.x, s.y, {}, {}});
    slices_.push_back({'y', s.y / 2, s.x, s.z, {}, {}});
    slices_.push_back({'x', s.x / 2, s.y, s.z, {}, {}});
  }

  void add(std::int64_t z, std::vector<float>& values) {
    const auto slice = static_cast<std::int64_t>(values.size());
    rescale(values.data(), slice, low_, high_, volume_.view());
    original_.resize(values.size());
    normalise(volume_.view(), z * slice, slice, original_.data());
    add(z, original_.data(), &SlicePair::original);
    add(z, values.data(), &SlicePair::reconstruction);
  }
  std::vector<SlicePair> take() { return std::move(slices_); }

 private:
  void add(std::int64_t z, const float* slice, std::vector<float> SlicePair::*side) {
    const Shape& shape = volume_.shape;
    if (z == shape.z / 2) (slices_[0].*side).assign(slice, slice + shape.x * shape.y);
    const float* row = slice + (shape.y / 2) * shape.x;
    std::vector<float>& across_y = slices_[1].*side;
    across_y.insert(across_y.end(), row, row + shape.x);
    for (std::int64_t y = 0; y < shape.y; ++y)
      (slices_[2].*side).push_back(slice[y * shape.x + shape.x / 2]);
  }

  const Volume& volume_;
  double low_, high_;
  std::vector<float> original_;
  std::vector<SlicePair> slices_;
};

}  // namespace

double decode_slabs(const Model& model, const Lattice& lattice, bool values, const VoxelForm* form,
                    const std::function<void(const Slab&)>& take) {
  using Clock = std::chrono::steady_clock;
  const Shape shape = lattice.box.shape();
  check(shape.x > 0 && shape.y > 0 && shape.z > 0, "an empty box");
  Backend& backend = model.backend();
  const std::int64_t slice = shape.x * shape.y, depth = slab_depth(backend, shape);
  Buffer<float> floats(backend, values ? slice * depth : 0);
  Decoded out;
  out.values = values ? floats.data() : nullptr;
  const auto voxel = static_cast<std::int64_t>(form ? size_of(form->dtype) : 0);
  Buffer<std::byte> natives(backend, slice * depth * voxel);
  std::vector<std::byte> voxels(natives.bytes());
  if (form) {
    out.voxels = natives.data();
    out.dtype = form->dtype;
    out.low = form->low;
    out.high = form->high;
  }
  double seconds = 0;
  for (std::int64_t z = 0; z < shape.z; z += depth) {
    const std::int64_t count = std::min(depth, shape.z - z);
    Lattice part = lattice;
    part.box.low[2] = lattice.box.low[2] + z;
    part.box.high[2] = part.box.low[2] + count;
    const Clock::time_point began = Clock::now();
    backend.decode(model, part, out);
    if (form)
      backend.download(voxels.data(), natives.data(),
                       static_cast<std::size_t>(count * slice * voxel));
    // The time is over when the last number can be read.
    float last = 0;
    if (values) backend.download(&last, floats.data() + count * slice - 1, sizeof last);
    seconds += std::chrono::duration<double>(Clock::now() - began).count();
    take({z, count, out.values, form ? voxels.data() : nullptr});
  }
  return seconds;
}

Evaluation evaluate(const Model& model, double low, double high, const Volume& volume,
                    bool with_slices, RawWriter* writer) {
  const Shape& shape = volume.shape;
  const std::int64_t slice = shape.x * shape.y;
  Backend& backend = model.backend();
  const std::unique_ptr<Meter> meter = backend.open_meter(volume, low, high);
  MiddleSlices middle(volume, low, high);
  const VoxelForm form{volume.dtype, low, high};
  Evaluation result;
  std::vector<float> values(static_cast<std::size_t>(with_slices ? slice : 0));
  const auto take = [&](const Slab& slab) {
    if (writer)
      writer->write(slab.voxels,
                    static_cast<std::size_t>(slab.count * slice) * size_of(volume.dtype));
    meter->add(slab.count, slab.values);
    for (std::int64_t i = 0; with_slices && i < slab.count; ++i) {
      backend.download(values.data(), slab.values + i * slice, values.size() * sizeof(float));
      middle.add(slab.z + i, values);
    }
  };
  result.decode_seconds =
      decode_slabs(model, {shape, whole(shape)}, true, writer ? &form : nullptr, take);
  result.metrics = meter->result();
  if (with_slices) result.slices = middle.take();
  return result;
}

}  // namespace kanbench
