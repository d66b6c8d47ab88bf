// Measures slice after slice: a kernel brings voxels and values to [0, 1] into a ring of eleven
// slices and sums their errors, then the SSIM maps that the slice completes are taken.

#include <algorithm>
#include <cmath>

#include "kanbench/error.h"
#include "kernels/device.h"
#include "kernels/meter.h"
#include "kernels/ssim.h"

namespace kanbench::cuda {
namespace {

constexpr int kThreads = 256;
constexpr std::int64_t kErrorBlocks = 1024;

// The totals, in this order in memory.
enum Total { kSquares, kLargest, kPlane, kSpace, kTotals };

// Values of a volume and of a model are (value - low) / range within [0, 1].
struct Ranges {
  double low, range, model_low, model_range;
  bool same;
};

KB_DEVICE float clamped(float x) { return x < 0 ? 0.0f : x > 1 ? 1.0f : x; }

// A model's value in the volume's range. The fma keeps the compiler from fusing product and sum,
// which the host rounds one by one.
KB_DEVICE float brought(const Ranges& r, float value) {
  if (r.same) return clamped(value);
  const double raw =
      r.model_low + std::fma(static_cast<double>(clamped(value)), r.model_range, 0.0);
  return clamped(static_cast<float>((raw - r.low) / r.range));
}

KB_DEVICE double block_largest(double value, double* room) {
  for (int mask = 16; mask; mask /= 2) {
    const double other = shuffle_xor(value, mask);
    value = other > value ? other : value;
  }
  const int t = static_cast<int>(threadIdx.x);
  if (t % 32 == 0) room[t / 32] = value;
  __syncthreads();
  if (t == 0)
    for (int warp = 1; warp < kThreads / 32; ++warp)
      value = room[warp] > value ? room[warp] : value;
  return value;
}

// Block b writes the sum of squared errors to partials[2 b] and the largest to partials[2 b + 1].
template <class Voxel>
KB_KERNEL(kThreads)
take_slice_kernel(const Voxel* voxels, const float* values, std::int64_t count, Ranges ranges,
                  float* original, float* reconstruction, double* partials) {
  KB_SHARED(double, room);
  double squares = 0, largest = 0;
  for (std::int64_t i = std::int64_t{blockIdx.x} * kThreads + threadIdx.x; i < count;
       i += std::int64_t{gridDim.x} * kThreads) {
    const float a =
        static_cast<float>((static_cast<double>(voxels[i]) - ranges.low) / ranges.range);
    const float b = brought(ranges, values[i]);
    const double error = std::fabs(static_cast<double>(b) - static_cast<double>(a));
    squares += error * error;
    largest = error > largest ? error : largest;
    original[i] = a;
    reconstruction[i] = b;
  }
  squares = block_sum(squares, room);
  __syncthreads();
  largest = block_largest(largest, room);
  if (threadIdx.x == 0) {
    partials[2 * blockIdx.x] = squares;
    partials[2 * blockIdx.x + 1] = largest;
  }
}

KB_KERNEL(kThreads)
add_errors_kernel(const double* partials, std::int64_t count, double* totals) {
  KB_SHARED(double, room);
  double squares = 0, largest = 0;
  for (std::int64_t i = threadIdx.x; i < count; i += kThreads) {
    squares += partials[2 * i];
    largest = partials[2 * i + 1] > largest ? partials[2 * i + 1] : largest;
  }
  squares = block_sum(squares, room);
  __syncthreads();
  largest = block_largest(largest, room);
  if (threadIdx.x != 0) return;
  totals[kSquares] += squares;
  if (largest > totals[kLargest]) totals[kLargest] = largest;
}

KB_KERNEL(kThreads)
add_map_kernel(const double* partials, std::int64_t count, double* total) {
  KB_SHARED(double, room);
  double sum = 0;
  for (std::int64_t i = threadIdx.x; i < count; i += kThreads) sum += partials[i];
  sum = block_sum(sum, room);
  if (threadIdx.x == 0) *total += sum;
}

Grid grid_of(std::int64_t blocks, cudaStream_t stream) {
  return {dim3(static_cast<unsigned>(blocks)), dim3(kThreads), 32 * sizeof(double), stream};
}

}  // namespace

struct CudaMeter::State {
  const Volume* volume;
  Shape shape;
  Ranges ranges;
  cudaStream_t stream;
  bool crops_plane, crops_space;
  /// What is measured, what is looked at for it, the next slice, and the next centre along z.
  Range wanted, seen;
  std::int64_t slots, taken = 0, centre = 0, centres_end = 0;
  DeviceArray<std::byte> voxels;
  DeviceArray<float> original, reconstruction;
  DeviceArray<double> partials, totals;

  std::int64_t slice() const { return shape.x * shape.y; }
  SsimSlices slices(bool cropped) const {
    return {original.data(), reconstruction.data(), {shape.x, cropped}, {shape.y, cropped}};
  }
  /// One past the last slice that the window at the next centre needs.
  std::int64_t needed() const { return std::min(centre + kSsimRadius + 1, shape.z); }
  void take(const float* values);
  void measure(const SsimSlices& slices, Total total);
  void measure_space();
};

CudaMeter::CudaMeter(const Volume& volume, double low, double high, Range slices,
                     cudaStream_t stream) {
  const Shape& s = volume.shape;
  check(slices.begin >= 0 && slices.begin <= slices.end && slices.end <= s.z,
        "slices to measure that the volume has not");
  state_ = std::make_unique<State>();
  state_->volume = &volume;
  state_->shape = s;
  state_->ranges = {volume.low, volume.high - volume.low, low, high - low,
                    low == volume.low && high == volume.high};
  state_->stream = stream;
  state_->crops_plane = std::min(s.x, s.y) >= kSsimTaps;
  state_->crops_space = state_->crops_plane && s.z >= kSsimTaps;
  state_->wanted = slices;
  state_->seen = with_halo(slices, s);
  state_->taken = state_->seen.begin;
  // Cropped, the outermost voxels are centres of no window.
  const std::int64_t border = state_->crops_space ? kSsimRadius : 0;
  state_->centre = std::max(slices.begin, border);
  state_->centres_end = std::min(slices.end, s.z - border);
  state_->slots = std::min<std::int64_t>(s.z, kSsimTaps);
  const std::int64_t slice = state_->slice();
  state_->voxels.reserve(slice * static_cast<std::int64_t>(size_of(volume.dtype)));
  state_->original.reserve(state_->slots * slice);
  state_->reconstruction.reserve(state_->slots * slice);
  // Nothing is cropped from a map that has the most tiles.
  state_->partials.reserve(std::max(2 * kErrorBlocks, similarity_blocks(state_->slices(false))));
  checked(cudaMemsetAsync(state_->totals.reserve(kTotals), 0, kTotals * sizeof(double), stream));
}

CudaMeter::~CudaMeter() = default;

void CudaMeter::State::take(const float* values) {
  const std::int64_t count = slice(), slot = taken % slots * count;
  const std::int64_t blocks = std::min(ceil_divide(count, kThreads), kErrorBlocks);
  const std::size_t bytes = static_cast<std::size_t>(count) * size_of(volume->dtype);
  checked(cudaMemcpyAsync(
      voxels.data(),
      static_cast<const std::byte*>(volume->data()) + static_cast<std::size_t>(taken) * bytes,
      bytes, cudaMemcpyHostToDevice, stream));
  visit(volume->dtype, [&]<class Voxel>(Voxel) {
    launch(take_slice_kernel<Voxel>, grid_of(blocks, stream),
           static_cast<const Voxel*>(static_cast<const void*>(voxels.data())), values, count,
           ranges, original.data() + slot, reconstruction.data() + slot, partials.data());
  });
  if (taken >= wanted.begin && taken < wanted.end)
    launch(add_errors_kernel, grid_of(1, stream), static_cast<const double*>(partials.data()),
           blocks, totals.data());
  ++taken;
}

void CudaMeter::State::measure(const SsimSlices& slices, Total total) {
  sum_similarity(slices, partials.data(), stream);
  launch(add_map_kernel, grid_of(1, stream), static_cast<const double*>(partials.data()),
         similarity_blocks(slices), totals.data() + total);
}

void CudaMeter::State::measure_space() {
  SsimSlices window = slices(crops_space);
  window.taps = kSsimTaps;
  // Cropped, the first output is the centre `kSsimRadius`.
  const std::int64_t output = crops_space ? centre - kSsimRadius : centre;
  for (int tap = 0; tap < kSsimTaps; ++tap)
    window.slots[tap] = static_cast<int>(source({shape.z, crops_space}, output + tap) % slots);
  measure(window, kSpace);
  ++centre;
}

void CudaMeter::add(std::int64_t count, const float* values) {
  State& s = *state_;
  check(s.taken + count <= s.seen.end, "more slices were measured than were to be");
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t z = s.taken;
    s.take(values + i * s.slice());
    if (z >= s.wanted.begin && z < s.wanted.end) {
      SsimSlices plane = s.slices(s.crops_plane);
      plane.slots[0] = static_cast<int>(z % s.slots);
      s.measure(plane, kPlane);
    }
    // The last slice completes several windows where the field is mirrored behind it.
    while (s.centre < s.centres_end && s.needed() <= s.taken) s.measure_space();
  }
}

MetricSums CudaMeter::sums() {
  State& s = *state_;
  check(s.taken == s.seen.end, "fewer slices were measured than were to be");
  double totals[kTotals];
  checked(
      cudaMemcpyAsync(totals, s.totals.data(), sizeof totals, cudaMemcpyDeviceToHost, s.stream));
  checked(cudaStreamSynchronize(s.stream));
  return {totals[kSquares], totals[kLargest], totals[kPlane], totals[kSpace],
          !std::isnan(totals[kSquares])};
}

}  // namespace kanbench::cuda
