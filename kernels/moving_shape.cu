// The geometry's step (math/density.h): densities and errors of the rows, their targets, slopes,
// and each grid's sums, which blocks add up in a fixed order.

#include <algorithm>
#include <vector>

#include "kanbench/math/density.h"
#include "kernels/device.h"
#include "kernels/moving.h"

namespace kanbench::cuda {

namespace {
constexpr int kThreads = 256;
constexpr std::int64_t kMostBlocks = 64;
}  // namespace

/// What all rows add up to.
struct DensityTotals {
  double rows, density, errors, targets, loss;
};

/// Where the step keeps its numbers; blocks' sums lie behind each other.
struct ShapeRoom {
  double *density, *errors, *targets, *slopes, *partials, *sums;
  DensityTotals* totals;
};

KB_DEVICE DensityGrid<float> load_density(const MovingGrids& grids, const float* parameters,
                                          int g) {
  return {grids.transform, map_of<float>(grids.transform, parameters + grids.transforms +
                                                              g * size(grids.transform))};
}

KB_DEVICE void load_centred(const ConstRows& points, std::int64_t row, float (&x)[3]) {
  for (int d = 0; d < 3; ++d) x[d] = 2 * points.data[d * points.stride + row] - 1;
}

/// Writes the block's sum to its place among those of all.
KB_DEVICE void put_sum(double value, double* room, double* partials, int which, int count) {
  const double sum = block_sum(value, room);
  if (threadIdx.x == 0) partials[std::int64_t{blockIdx.x} * count + which] = sum;
}

// A block prepares the grids once for all its rows.
KB_KERNEL(kThreads)
find_density_kernel(MovingGrids grids, ShapeArguments a, ShapeRoom room) {
  KB_SHARED(double, shared);
  auto* const all = reinterpret_cast<DensityGrid<float>*>(shared + kThreads / 32);
  for (int g = static_cast<int>(threadIdx.x); g < grids.count; g += kThreads)
    all[g] = load_density(grids, a.parameters, g);
  __syncthreads();
  double densities = 0, errors = 0;
  for (std::int64_t i = std::int64_t{blockIdx.x} * kThreads + threadIdx.x; i < a.points.rows;
       i += std::int64_t{gridDim.x} * kThreads) {
    float x[3], power[3], rho = 0;
    load_centred(a.points, i, x);
    for (int g = 0; g < grids.count; ++g) rho += all[g].determinant * all[g].bump(x, power);
    double squares = 0;
    for (int o = 0; o < a.values.width; ++o) {
      const double off = static_cast<double>(a.values.data[o * a.values.stride + i]) -
                         static_cast<double>(a.targets.data[o * a.targets.stride + i]);
      squares += off * off;
    }
    room.density[i] = static_cast<double>(rho);
    room.errors[i] = squares / a.values.width;
    densities += room.density[i];
    errors += room.errors[i];
  }
  put_sum(densities, shared, room.partials, 0, 2);
  put_sum(errors, shared, room.partials, 1, 2);
}

KB_KERNEL(kThreads) find_targets_kernel(std::int64_t rows, ShapeRoom room) {
  KB_SHARED(double, shared);
  const DensityTotals all = *room.totals;
  double sum = 0;
  for (std::int64_t i = std::int64_t{blockIdx.x} * kThreads + threadIdx.x; i < rows;
       i += std::int64_t{gridDim.x} * kThreads) {
    const double target =
        exp(log_target(room.density[i] / all.density, room.errors[i], all.errors / all.rows));
    room.targets[i] = target;
    sum += target;
  }
  put_sum(sum, shared, room.partials, 0, 1);
}

KB_KERNEL(kThreads) find_slopes_kernel(std::int64_t rows, ShapeRoom room) {
  KB_SHARED(double, shared);
  const DensityTotals all = *room.totals;
  double sum = 0;
  for (std::int64_t i = std::int64_t{blockIdx.x} * kThreads + threadIdx.x; i < rows;
       i += std::int64_t{gridDim.x} * kThreads) {
    const double q = all.targets > 0 ? room.targets[i] / all.targets : 0;
    const DensityLoss one = density_loss(room.density[i] / all.density, q, all.rows, all.density);
    room.slopes[i] = one.slope > -1e30 ? one.slope : -1e30;
    sum += one.value;
  }
  put_sum(sum, shared, room.partials, 0, 1);
}

KB_KERNEL(kThreads) sum_density_kernel(MovingGrids grids, ShapeArguments a, ShapeRoom room) {
  KB_SHARED(double, shared);
  const int g = static_cast<int>(blockIdx.y);
  const DensityGrid<float> grid = load_density(grids, a.parameters, g);
  double sums[kDensitySums] = {};
  for (std::int64_t i = std::int64_t{blockIdx.x} * kThreads + threadIdx.x; i < a.points.rows;
       i += std::int64_t{gridDim.x} * kThreads) {
    float x[3], power[3], terms[kDensitySums];
    load_centred(a.points, i, x);
    const float h = grid.bump(x, power);
    density_terms(x, power, static_cast<float>(room.slopes[i]) * h, terms);
#pragma unroll
    for (int k = 0; k < kDensitySums; ++k) sums[k] += static_cast<double>(terms[k]);
  }
  double* const own = room.partials + std::int64_t{g} * gridDim.x * kDensitySums;
#pragma unroll
  for (int k = 0; k < kDensitySums; ++k) put_sum(sums[k], shared, own, k, kDensitySums);
}

/// sums[y][k] of partials[y][blocks][k], k < count.
KB_KERNEL(32) add_blocks_kernel(const double* partials, int blocks, int count, double* sums) {
  const int k = static_cast<int>(threadIdx.x);
  if (k >= count) return;
  const double* own = partials + std::int64_t{blockIdx.x} * blocks * count;
  double sum = 0;
  for (int b = 0; b < blocks; ++b) sum += own[b * count + k];
  sums[std::int64_t{blockIdx.x} * count + k] = sum;
}

KB_KERNEL(32) move_grids_kernel(MovingGrids grids, ShapeArguments a, const double* sums) {
  const int g = static_cast<int>(blockIdx.x * 32 + threadIdx.x);
  if (g >= grids.count) return;
  const int columns = size(grids.transform);
  const std::int64_t at = grids.transforms + g * columns;
  const DensityGrid<double> grid(grids.transform,
                                 map_of<double>(grids.transform, a.parameters + at));
  double d[12];
  map_gradient(grids.transform, a.parameters + at, density_gradient(grid, sums + g * kDensitySums),
               d);
  for (int k = 0; k < columns; ++k) {
    if (at + k < a.share.begin || at + k >= a.share.end) continue;
    const std::int64_t moment = at + k - a.share.begin;
    Adam::apply(a.adam, static_cast<float>(d[k]), a.parameters[at + k], a.first_moment[moment],
                a.second_moment[moment]);
  }
}

namespace {

class Shaping {
 public:
  Shaping(const MovingGrids& grids, const ShapeArguments& arguments, const SumNumbers& sum,
          DeviceArray<double>& memory, cudaStream_t stream)
      : grids_(grids),
        a_(arguments),
        sum_(sum),
        stream_(stream),
        blocks_(std::min(kMostBlocks, ceil_divide(arguments.points.rows, kThreads))) {
    const std::int64_t rows = round_up(std::max<std::int64_t>(a_.points.rows, 1), 16);
    const std::int64_t sums = std::int64_t{grids.count} * kDensitySums;
    constexpr std::int64_t kTotals = sizeof(DensityTotals) / sizeof(double);
    double* at = memory.reserve(4 * rows + (kMostBlocks + 1) * sums + kTotals);
    room_ = {at,
             at + rows,
             at + 2 * rows,
             at + 3 * rows,
             at + 4 * rows,
             at + 4 * rows + kMostBlocks * sums,
             reinterpret_cast<DensityTotals*>(at + 4 * rows + (kMostBlocks + 1) * sums)};
  }

  double run() {
    DensityTotals totals{static_cast<double>(a_.points.rows), 0, 0, 0, 0};
    put(totals);
    const std::size_t maps = static_cast<std::size_t>(grids_.count) * sizeof(DensityGrid<float>);
    if (blocks_) launch(find_density_kernel, shape(1, maps), grids_, a_, room_);
    add(1, 2, &room_.totals->density);
    share(&room_.totals->rows, 3);
    totals = get();
    if (totals.density > 0) {
      if (blocks_) launch(find_targets_kernel, shape(1), a_.points.rows, room_);
      add(1, 1, &room_.totals->targets);
      share(&room_.totals->targets, 1);
      if (blocks_) launch(find_slopes_kernel, shape(1), a_.points.rows, room_);
      add(1, 1, &room_.totals->loss);
      share(&room_.totals->loss, 1);
      if (blocks_) launch(sum_density_kernel, shape(grids_.count), grids_, a_, room_);
    }
    // Without a row within a grid nothing is followed, but Adam's moments go on.
    add(grids_.count, kDensitySums, room_.sums, totals.density > 0);
    if (totals.density > 0) share(room_.sums, std::int64_t{grids_.count} * kDensitySums);
    launch(move_grids_kernel,
           Grid{dim3(static_cast<unsigned>(ceil_divide(grids_.count, 32))), dim3(32), 0, stream_},
           grids_, a_, static_cast<const double*>(room_.sums));
    return get().loss;
  }

 private:
  Grid shape(int layers, std::size_t more = 0) const {
    return {dim3(static_cast<unsigned>(blocks_), static_cast<unsigned>(layers)), dim3(kThreads),
            kThreads / 32 * sizeof(double) + more, stream_};
  }
  void add(int layers, int count, double* sums, bool any = true) const {
    launch(add_blocks_kernel, Grid{dim3(static_cast<unsigned>(layers)), dim3(32), 0, stream_},
           static_cast<const double*>(room_.partials), any ? static_cast<int>(blocks_) : 0, count,
           sums);
  }
  // Sums over ranks, which go by way of the host.
  void share(double* numbers, std::int64_t count) const {
    if (!sum_) return;
    std::vector<double> all(static_cast<std::size_t>(count));
    const std::size_t bytes = all.size() * sizeof(double);
    checked(cudaMemcpyAsync(all.data(), numbers, bytes, cudaMemcpyDeviceToHost, stream_));
    checked(cudaStreamSynchronize(stream_));
    sum_(all.data(), count);
    checked(cudaMemcpyAsync(numbers, all.data(), bytes, cudaMemcpyHostToDevice, stream_));
    checked(cudaStreamSynchronize(stream_));
  }
  void put(const DensityTotals& totals) const {
    checked(cudaMemcpyAsync(room_.totals, &totals, sizeof totals, cudaMemcpyHostToDevice, stream_));
    checked(cudaStreamSynchronize(stream_));
  }
  DensityTotals get() const {
    DensityTotals totals;
    checked(cudaMemcpyAsync(&totals, room_.totals, sizeof totals, cudaMemcpyDeviceToHost, stream_));
    checked(cudaStreamSynchronize(stream_));
    return totals;
  }

  const MovingGrids& grids_;
  const ShapeArguments& a_;
  const SumNumbers& sum_;
  cudaStream_t stream_;
  std::int64_t blocks_;
  ShapeRoom room_{};
};

}  // namespace

double shape_grids(const MovingGrids& grids, const ShapeArguments& arguments, const SumNumbers& sum,
                   DeviceArray<double>& room, cudaStream_t stream) {
  return Shaping(grids, arguments, sum, room, stream).run();
}

}  // namespace kanbench::cuda
