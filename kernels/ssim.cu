// SSIM needs four local means: of a, b, a^2 + b^2 and ab. A block filters a tile and its border
// along z out of the slices, then along x and y within shared memory.

#include <cmath>

#include "kernels/device.h"
#include "kernels/ssim.h"

namespace kanbench::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kFields = 4;
constexpr int kWide = 32, kHigh = 8;
constexpr int kSpreadWide = kWide + 2 * kSsimRadius, kSpreadHigh = kHigh + 2 * kSsimRadius;
constexpr int kSpread = kSpreadWide * kSpreadHigh, kStrip = kWide * kSpreadHigh;
constexpr double kC1 = 0.01 * 0.01, kC2 = 0.03 * 0.03;

// The window along one axis: a Gaussian of sigma 1.5, by distance from the centre.
struct Weights {
  double at[kSsimRadius + 1];
};

Weights window() {
  Weights w;
  double total = 0;
  for (int k = 0; k <= kSsimRadius; ++k) {
    w.at[k] = std::exp(-k * k / (2 * 1.5 * 1.5));
    total += (k ? 2 : 1) * w.at[k];
  }
  for (double& weight : w.at) weight /= total;
  return w;
}

KB_DEVICE double weight_of(const Weights& w, int tap) {
  return w.at[tap < kSsimRadius ? kSsimRadius - tap : tap - kSsimRadius];
}

// The four fields at voxel (x, y), filtered along z, to fields[f * kSpread].
template <int kTaps>
KB_DEVICE void filter_z(const SsimSlices& s, const Weights& w, std::int64_t x, std::int64_t y,
                        double* fields) {
  double means[kFields] = {};
#pragma unroll
  for (int tap = 0; tap < kTaps; ++tap) {
    const std::int64_t at = (s.slots[tap] * s.y.n + y) * s.x.n + x;
    const double a = static_cast<double>(s.original[at]);
    const double b = static_cast<double>(s.reconstruction[at]);
    const double weight = kTaps == 1 ? 1.0 : weight_of(w, tap);
    means[0] += weight * a;
    means[1] += weight * b;
    means[2] += weight * (a * a + b * b);
    means[3] += weight * (a * b);
  }
  for (int f = 0; f < kFields; ++f) fields[f * kSpread] = means[f];
}

// The window over eleven numbers `step` apart.
KB_DEVICE double filter(const Weights& w, const double* from, int step) {
  double sum = w.at[0] * from[kSsimRadius * step];
  for (int k = 1; k <= kSsimRadius; ++k)
    sum += w.at[k] * (from[(kSsimRadius - k) * step] + from[(kSsimRadius + k) * step]);
  return sum;
}

KB_DEVICE double similarity(double a, double b, double squares, double products) {
  const double mean_product = a * b, mean_squares = a * a + b * b;
  return ((2 * mean_product + kC1) * (2 * (products - mean_product) + kC2)) /
         ((mean_squares + kC1) * (squares - mean_squares + kC2));
}

template <int kTaps>
KB_KERNEL2(kThreads, 4)
sum_similarity_kernel(SsimSlices s, Weights w, std::int64_t wide, std::int64_t high, double* sums) {
  KB_SHARED(double, spread);
  double* strip = spread + kFields * kSpread;
  const std::int64_t x = std::int64_t{blockIdx.x} * kWide, y = std::int64_t{blockIdx.y} * kHigh;
  const int t = static_cast<int>(threadIdx.x);
  for (int i = t; i < kSpread; i += kThreads) {
    const int column = i % kSpreadWide, row = i / kSpreadWide;
    const bool inside = x + column < wide + 2 * kSsimRadius && y + row < high + 2 * kSsimRadius;
    if (inside)
      filter_z<kTaps>(s, w, source(s.x, x + column), source(s.y, y + row), spread + i);
    else
      for (int f = 0; f < kFields; ++f) spread[f * kSpread + i] = 0;
  }
  __syncthreads();
  for (int i = t; i < kStrip; i += kThreads) {
    const double* from = spread + i / kWide * kSpreadWide + i % kWide;
    for (int f = 0; f < kFields; ++f) strip[f * kStrip + i] = filter(w, from + f * kSpread, 1);
  }
  __syncthreads();
  double sum = 0;
  if (x + t % kWide < wide && y + t / kWide < high) {
    double means[kFields];
    for (int f = 0; f < kFields; ++f) means[f] = filter(w, strip + f * kStrip + t, kWide);
    sum = similarity(means[0], means[1], means[2], means[3]);
  }
  sum = block_sum(sum, spread);
  if (t == 0) sums[std::int64_t{blockIdx.y} * gridDim.x + blockIdx.x] = sum;
}

}  // namespace

std::int64_t similarity_blocks(const SsimSlices& s) {
  return ceil_divide(s.x.outputs(), kWide) * ceil_divide(s.y.outputs(), kHigh);
}

void sum_similarity(const SsimSlices& s, double* sums, cudaStream_t stream) {
  static_assert(kWide * kHigh == kThreads, "a thread an output");
  const dim3 blocks(static_cast<unsigned>(ceil_divide(s.x.outputs(), kWide)),
                    static_cast<unsigned>(ceil_divide(s.y.outputs(), kHigh)));
  const Grid grid{blocks, dim3(kThreads), kFields * (kSpread + kStrip) * sizeof(double), stream};
  const auto kernel = s.taps == 1 ? sum_similarity_kernel<1> : sum_similarity_kernel<kSsimTaps>;
  launch(kernel, grid, s, window(), s.x.outputs(), s.y.outputs(), sums);
}

}  // namespace kanbench::cuda
