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
std::int64_t slab_depth(const Backend& backend, const Shape& shape) {
  const auto room = static_cast<std::int64_t>(backend.free_bytes() / (4 * kBytesPerVoxel));
  return std::clamp<std::int64_t>(std::min(kSlabFloats, room) / (shape.x * shape.y), 1, shape.z);
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
    field.decode(part, out);
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

Range slices_of(const Shape& shape, int rank, int size) {
  return {start_of_part(shape.z, rank, size), start_of_part(shape.z, rank + 1, size)};
}

Evaluation evaluate(const Field& field, double low, double high, const Volume& volume,
                    Communicator& communicator, bool with_slices, VolumeWriter* writer) {
  const Shape& shape = volume.shape;
  const std::int64_t slice = shape.x * shape.y;
  const Range mine = slices_of(shape, communicator.rank(), communicator.size());
  const Range held = with_halo(mine, shape);
  const bool large = volume.bytes() > kLarge;
  Backend& backend = field.backend();
  std::optional<MiddleSlices> middle;
  if (with_slices) middle.emplace(volume, low, high);
  const VoxelForm form{volume.dtype, low, high};
  MetricSums sums;
  Evaluation result;
  Rounds rounds(communicator);
  rounds.run([&] {
    if (mine.size() == 0) return;
    const std::unique_ptr<Meter> meter = backend.open_meter(volume, low, high, mine);
    std::vector<float> values(static_cast<std::size_t>(with_slices ? slice : 0));
    const auto take = [&](const Slab& slab) {
      const std::int64_t z = held.begin + slab.z;
      const std::int64_t first = std::max(z, mine.begin);
      const std::int64_t last = std::min(z + slab.count, mine.end);
      if (writer && first < last)
        writer->write(first * slice, (last - first) * slice,
                      slab.voxels + (first - z) * slice * std::int64_t(size_of(volume.dtype)));
      meter->add(slab.count, slab.values);
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
    sums = meter->sums();
  });
  add_up(communicator, sums, result.decode_seconds);
  result.metrics = metrics_of(sums, shape);
  if (middle) result.slices = middle->take(communicator);
  return result;
}

}  // namespace kanbench
