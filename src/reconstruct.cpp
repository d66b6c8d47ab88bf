#include "kanbench/reconstruct.h"

#include <algorithm>
#include <chrono>
#include <exception>
#include <optional>

#include "kanbench/buffer.h"
#include "kanbench/error.h"
#include "kanbench/interruption.h"

namespace kanbench {
namespace {

constexpr std::int64_t kSlabFloats = std::int64_t{64} << 18;
// A value and the widest voxel.
constexpr std::size_t kBytesPerVoxel = sizeof(float) + sizeof(double);
// A mapped file of more is let go of while it is read through.
constexpr std::size_t kLarge = std::size_t{256} << 20;

// Slices that are decoded at once.
std::int64_t slab_depth(const Backend& backend, const Shape& shape, int outputs) {
  const auto room = static_cast<std::int64_t>(backend.free_bytes() / (4 * kBytesPerVoxel));
  const std::int64_t slice = shape.x * shape.y * outputs;
  return std::clamp<std::int64_t>(std::min(kSlabFloats, room) / slice, 1, shape.z);
}

// The values [outputs][count] into voxels that lie likewise.
void quantise_outputs(Backend& backend, const float* values, std::int64_t count,
                      const VoxelForm& form, std::byte* voxels) {
  for (const auto& [low, high] : form.ranges) {
    Decoded out;
    out.voxels = voxels;
    out.dtype = form.dtype;
    out.low = low;
    out.high = high;
    backend.quantise(values, count, out);
    values += count;
    voxels += static_cast<std::size_t>(count) * size_of(form.dtype);
  }
}

// What one rank has of the middle slices of a volume and its reconstruction; zeros elsewhere.
class MiddleSlices {
 public:
  MiddleSlices(const Volume& volume, double low, double high)
      : volume_(volume), low_(low), high_(high) {
    const Shape& s = volume.shape;
    slices_.push_back({'z', s.z / 2, s.x, s.y, {}, {}});
    slices_.push_back({'y', s.y / 2, s.x, s.z, {}, {}});
    slices_.push_back({'x', s.x / 2, s.y, s.z, {}, {}});
    for (SlicePair& slice : slices_) {
      slice.original.resize(static_cast<std::size_t>(slice.width * slice.height));
      slice.reconstruction.resize(slice.original.size());
    }
  }

  void add(std::int64_t z, std::vector<float>& values) {
    const auto slice = static_cast<std::int64_t>(values.size());
    rescale(values.data(), slice, low_, high_, volume_.view());
    original_.resize(values.size());
    normalise(volume_.view(), z * slice, slice, original_.data());
    add(z, original_.data(), &SlicePair::original);
    add(z, values.data(), &SlicePair::reconstruction);
  }
  /// On rank 0 the slices of all ranks.
  std::vector<SlicePair> take(Communicator& communicator) {
    if (communicator.size() > 1)
      for (SlicePair& slice : slices_) {
        add_up(communicator, slice.original);
        add_up(communicator, slice.reconstruction);
      }
    if (communicator.rank() != 0) slices_.clear();
    return std::move(slices_);
  }

 private:
  void add(std::int64_t z, const float* slice, std::vector<float> SlicePair::*side) {
    const Shape& shape = volume_.shape;
    if (z == shape.z / 2) std::copy_n(slice, shape.x * shape.y, (slices_[0].*side).data());
    std::copy_n(slice + (shape.y / 2) * shape.x, shape.x, (slices_[1].*side).data() + z * shape.x);
    float* across_x = (slices_[2].*side).data() + z * shape.y;
    for (std::int64_t y = 0; y < shape.y; ++y) across_x[y] = slice[y * shape.x + shape.x / 2];
  }
  static void add_up(Communicator& communicator, std::vector<float>& values) {
    std::vector<double> sums(values.begin(), values.end());
    communicator.sum(sums.data(), static_cast<std::int64_t>(sums.size()));
    for (std::size_t i = 0; i < sums.size(); ++i) values[i] = static_cast<float>(sums[i]);
  }

  const Volume& volume_;
  double low_, high_;
  std::vector<float> original_;
  std::vector<SlicePair> slices_;
};

// Ranks that go on slab by slab, each as many as it has, so that they stop together: where one
// fails, and where one is asked to.
class Rounds {
 public:
  explicit Rounds(Communicator& communicator) : communicator_(communicator) {}

  /// Runs this rank's part, which calls end() after each slab.
  void run(const std::function<void()>& part) {
    std::exception_ptr failure;
    try {
      part();
    } catch (const Stopped&) {
    } catch (...) {
      failure = std::current_exception();
    }
    while (state_ == kGoesOn && say(failure ? kFailed : kGoesOn, false)) {
    }
    if (state_ == kGoesOn) return;
    together(communicator_, [&] {
      if (failure) std::rethrow_exception(failure);
      if (state_ == kWished) throw Interrupted("interrupted while a reconstruction was measured");
    });
  }
  void end() {
    say(interruption_wished() ? kWished : kGoesOn, true);
    if (state_ != kGoesOn) throw Stopped();
  }

 private:
  struct Stopped {};
  static constexpr double kGoesOn = 0, kWished = 1, kFailed = 2;

  // Whether any rank has slabs left.
  bool say(double state, bool more) {
    double all[2] = {state, more ? 1.0 : 0.0};
    communicator_.maximum(all, 2);
    state_ = all[0];
    return all[1] > 0;
  }

  Communicator& communicator_;
  double state_ = kGoesOn;
};

// Sums, maxima and the slowest rank's seconds.
void add_up(Communicator& communicator, MetricSums& sums, double& seconds) {
  double added[3] = {sums.squared_error, sums.ssim, sums.ssim_3d};
  communicator.sum(added, 3);
  double largest[3] = {sums.max_error, sums.finite ? 0.0 : 1.0, seconds};
  communicator.maximum(largest, 3);
  sums = {added[0], largest[0], added[1], added[2], largest[1] == 0};
  seconds = largest[2];
}

}  // namespace

double decode_slabs(const Field& field, const Lattice& lattice, bool values, const VoxelForm* form,
                    const std::function<void(const Slab&)>& take) {
  using Clock = std::chrono::steady_clock;
  const Shape shape = lattice.box.shape();
  check(shape.x > 0 && shape.y > 0 && shape.z > 0, "an empty box");
  Backend& backend = field.backend();
  const int outputs = field.outputs();
  check(!form || static_cast<int>(form->ranges.size()) == outputs, "a range for each output");
  const std::int64_t slice = shape.x * shape.y, depth = slab_depth(backend, shape, outputs);
  // Voxels of several outputs are made of their values.
  const bool quantises = form && outputs > 1;
  Buffer<float> floats(backend, values || quantises ? slice * depth * outputs : 0);
  Decoded out;
  out.values = values || quantises ? floats.data() : nullptr;
  const auto voxel = static_cast<std::int64_t>(form ? size_of(form->dtype) : 0);
  Buffer<std::byte> natives(backend, slice * depth * voxel * outputs);
  std::vector<std::byte> voxels(natives.bytes());
  if (form && !quantises) {
    out.voxels = natives.data();
    out.dtype = form->dtype;
    out.low = form->ranges[0][0];
    out.high = form->ranges[0][1];
  }
  double seconds = 0;
  for (std::int64_t z = 0; z < shape.z; z += depth) {
    const std::int64_t count = std::min(depth, shape.z - z);
    Lattice part = lattice;
    part.box.low[2] = lattice.box.low[2] + z;
    part.box.high[2] = part.box.low[2] + count;
    const Clock::time_point began = Clock::now();
    field.decode(part, out);
    if (quantises) quantise_outputs(backend, floats.data(), count * slice, *form, natives.data());
    if (form)
      backend.download(voxels.data(), natives.data(),
                       static_cast<std::size_t>(count * slice * voxel * outputs));
    // The time is over when the last number can be read.
    float last = 0;
    if (values) backend.download(&last, floats.data() + count * slice * outputs - 1, sizeof last);
    seconds += std::chrono::duration<double>(Clock::now() - began).count();
    take({z, count, values ? floats.data() : nullptr, form ? voxels.data() : nullptr});
  }
  return seconds;
}

Range slices_of(const Shape& shape, int rank, int size) {
  return {start_of_part(shape.z, rank, size), start_of_part(shape.z, rank + 1, size)};
}

void write_slab(VolumeWriter& writer, const Slab& slab, const Shape& shape, const VoxelForm& form,
                std::int64_t skip, std::int64_t first, std::int64_t count) {
  const std::int64_t slice = shape.x * shape.y;
  const std::size_t bytes = static_cast<std::size_t>(slice) * size_of(form.dtype);
  std::vector<const void*> planes;
  for (std::size_t o = 0; o < form.ranges.size(); ++o)
    planes.push_back(slab.voxels +
                     (o * static_cast<std::size_t>(slab.count) + static_cast<std::size_t>(skip)) *
                         bytes);
  writer.write(first * slice, count * slice, planes);
}

namespace {

// A rank's meters, one for each component of a volume.
class Meters {
 public:
  Meters(Backend& backend, const std::vector<Volume>& parts, const std::vector<ValueRange>& ranges,
         Range slices)
      : slice_(parts[0].shape.x * parts[0].shape.y) {
    for (std::size_t c = 0; c < parts.size(); ++c)
      meters_.push_back(backend.open_meter(parts[c], ranges[c][0], ranges[c][1], slices));
  }
  void add(const Slab& slab) {
    for (std::size_t c = 0; c < meters_.size(); ++c)
      meters_[c]->add(slab.count, slab.values + static_cast<std::int64_t>(c) * slab.count * slice_);
  }
  std::vector<MetricSums> sums() {
    std::vector<MetricSums> all;
    for (const auto& meter : meters_) all.push_back(meter->sums());
    return all;
  }

 private:
  std::int64_t slice_;
  std::vector<std::unique_ptr<Meter>> meters_;
};

}  // namespace

Evaluation evaluate(const Field& field, const std::vector<ValueRange>& ranges, const Volume& volume,
                    Communicator& communicator, bool with_slices, VolumeWriter* writer) {
  check(field.outputs() == volume.components && ranges.size() == volume.ranges().size(),
        "a field of another number of outputs than its volume has components");
  const Shape& shape = volume.shape;
  const std::int64_t slice = shape.x * shape.y;
  const Range mine = slices_of(shape, communicator.rank(), communicator.size());
  const Range held = with_halo(mine, shape);
  const bool large = volume.bytes() > kLarge;
  Backend& backend = field.backend();
  std::vector<Volume> parts;
  for (int c = 0; c < volume.components; ++c) parts.push_back(volume.component(c));
  std::optional<MiddleSlices> middle;
  if (with_slices) middle.emplace(parts[0], ranges[0][0], ranges[0][1]);
  const VoxelForm form{volume.dtype, ranges};
  std::vector<MetricSums> sums(parts.size());
  Evaluation result;
  Rounds rounds(communicator);
  rounds.run([&] {
    if (mine.size() == 0) return;
    Meters meters(backend, parts, ranges, mine);
    std::vector<float> values(static_cast<std::size_t>(with_slices ? slice : 0));
    const auto take = [&](const Slab& slab) {
      const std::int64_t z = held.begin + slab.z;
      const std::int64_t first = std::max(z, mine.begin);
      const std::int64_t last = std::min(z + slab.count, mine.end);
      if (writer && first < last)
        write_slab(*writer, slab, shape, form, first - z, first, last - first);
      meters.add(slab);
      for (std::int64_t i = first; middle && i < last; ++i) {
        backend.download(values.data(), slab.values + (i - z) * slice,
                         values.size() * sizeof(float));
        middle->add(i, values);
      }
      if (large) volume.forget();
      rounds.end();
    };
    const Box box{{0, 0, held.begin}, {shape.x, shape.y, held.end}};
    result.decode_seconds = decode_slabs(field, {shape, box}, true, writer ? &form : nullptr, take);
    sums = meters.sums();
  });
  for (MetricSums& one : sums) {
    add_up(communicator, one, result.decode_seconds);
    result.components.push_back(metrics_of(one, shape));
  }
  result.metrics = mean_of(result.components);
  if (middle) result.slices = middle->take(communicator);
  return result;
}

}  // namespace kanbench
