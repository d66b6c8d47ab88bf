// Grids that move: the gradient of what keeps their features smooth and few, and the step of their
// transforms. Sums are cut by the batch alone and added up in a fixed order.

#include <algorithm>
#include <array>
#include <cmath>

#include "cpu/backend.h"
#include "kanbench/error.h"
#include "kanbench/parallel.h"

namespace kanbench::cpu {
namespace {

constexpr std::int64_t kChunkRows = 1024;
using Sums = std::array<double, kDensitySums>;

const encoder::AdaptiveMultiGrid& grids_of(const Model& model) {
  return *adaptive_grids(model.spec().encoder);
}

const Slice& transforms_of(const Model& model) {
  return model.layout().slices[static_cast<std::size_t>(model.layout().transforms)];
}

std::vector<DensityGrid<float>> density_grids(const Model& model) {
  const Slice& slice = transforms_of(model);
  const float* numbers = model.parameters().data() + slice.offset;
  const Transform transform = grids_of(model).transform;
  std::vector<DensityGrid<float>> grids;
  for (std::int64_t g = 0; g < slice.rows; ++g)
    grids.emplace_back(transform, map_of<float>(transform, numbers + g * slice.columns));
  return grids;
}

// A batch as the density loss sees it: points [3][stride], padded to whole chunks; the rows'
// squared errors, logarithms of targets, and slopes.
struct DensityBatch {
  std::int64_t rows, stride;
  float *points, *density, *slopes;
  std::vector<double> errors, targets;

  std::int64_t chunks() const { return stride / kChunkRows; }
  std::int64_t end(std::int64_t chunk) const { return std::min(rows, (chunk + 1) * kChunkRows); }
  DensityArguments part(const DensityGrid<float>& grid, std::int64_t chunk) const {
    const float* at = points + chunk * kChunkRows;
    const std::int64_t valid = end(chunk) - chunk * kChunkRows;
    return {&grid, {at, at + stride, at + 2 * stride}, ceil_divide(valid, kMaxWidth) * kMaxWidth};
  }
};

// What add(row, numbers) adds up over the rows, over all ranks.
template <std::size_t N, class Add>
std::array<double, N> sum_rows(const DensityBatch& batch, const SumNumbers& sum, Add add) {
  std::vector<std::array<double, N>> parts(static_cast<std::size_t>(batch.chunks()));
  parallel(batch.chunks(), [&](std::int64_t chunk) {
    auto& part = parts[static_cast<std::size_t>(chunk)];
    part.fill(0);
    for (std::int64_t i = chunk * kChunkRows; i < batch.end(chunk); ++i) add(i, part);
  });
  std::array<double, N> all{};
  for (const auto& part : parts)
    for (std::size_t k = 0; k < N; ++k) all[k] += part[k];
  if (sum) sum(all.data(), static_cast<std::int64_t>(N));
  return all;
}

// Sets the rows' slopes by their densities; returns the loss.
double density_slopes(DensityBatch& batch, const SumNumbers& sum) {
  const auto row = [](std::int64_t i) { return static_cast<std::size_t>(i); };
  const auto all = sum_rows<3>(batch, sum, [&](std::int64_t i, auto& part) {
    part[0] += 1;
    part[1] += batch.density[i];
    part[2] += batch.errors[row(i)];
  });
  const double rows = all[0], density = all[1], mean = all[2] / all[0];
  // No point lies within a grid: there is nothing to follow.
  if (!(density > 0)) return 0;
  batch.targets.resize(batch.errors.size());
  const auto share = [&](std::int64_t i) { return batch.density[i] / density; };
  const auto targets = sum_rows<1>(batch, sum, [&](std::int64_t i, auto& part) {
    double& target = batch.targets[row(i)];
    target = std::exp(log_target(share(i), batch.errors[row(i)], mean));
    part[0] += target;
  });
  const auto loss = sum_rows<1>(batch, sum, [&](std::int64_t i, auto& part) {
    const double q = targets[0] > 0 ? batch.targets[row(i)] / targets[0] : 0;
    const DensityLoss one = density_loss(share(i), q, rows, density);
    batch.slopes[i] = static_cast<float>(std::max(one.slope, -1e30));
    part[0] += one.value;
  });
  return loss[0];
}

// Each grid's sums over the batch, of all ranks.
std::vector<Sums> density_sums(const Kernels& kernels, const std::vector<DensityGrid<float>>& grids,
                               const DensityBatch& batch, const SumNumbers& sum) {
  const auto count = static_cast<std::int64_t>(grids.size());
  std::vector<Sums> all(grids.size());
  parallel(count, [&](std::int64_t g) {
    Sums& own = all[static_cast<std::size_t>(g)];
    own.fill(0);
    for (std::int64_t chunk = 0; chunk < batch.chunks(); ++chunk)
      kernels.sum_density(batch.part(grids[static_cast<std::size_t>(g)], chunk),
                          batch.slopes + chunk * kChunkRows, own.data());
  });
  if (sum) sum(all.front().data(), count * kDensitySums);
  return all;
}

void update_transforms(Model& model, const std::vector<Sums>& sums, const GeometryStep& step) {
  const Slice& slice = transforms_of(model);
  const Transform transform = grids_of(model).transform;
  const UpdateStep adam = geometry_adam(step);
  const Range share = model.share();
  for (std::int64_t g = 0; g < slice.rows; ++g) {
    const std::int64_t at = slice.offset + g * slice.columns;
    float* numbers = model.parameters().data() + at;
    const AffineMap<double> map = map_of<double>(transform, numbers);
    const AffineMap<double> dmap = density_gradient(DensityGrid<double>(transform, map),
                                                    sums[static_cast<std::size_t>(g)].data());
    double d[12];
    map_gradient(transform, numbers, dmap, d);
    for (std::int64_t k = 0; k < slice.columns; ++k) {
      if (at + k < share.begin || at + k >= share.end) continue;
      const std::int64_t moment = at + k - share.begin;
      Adam::apply(adam, static_cast<float>(d[k]), numbers[k], model.first_moment().data()[moment],
                  model.second_moment().data()[moment]);
    }
  }
}

}  // namespace

double CpuBackend::shape(Model& model, ConstRows points, ConstRows targets,
                         const GeometryStep& step, const SumNumbers& sum) {
  check(model.training(), "shape() of a model without room for it");
  if (model.layout().transforms < 0) return 0;
  DensityBatch batch;
  batch.rows = points.rows;
  batch.stride = ceil_divide(std::max<std::int64_t>(points.rows, 1), kChunkRows) * kChunkRows;
  const int outputs = model.spec().outputs();
  batch.points = floats(density_, (5 + outputs) * batch.stride);
  batch.density = batch.points + 3 * batch.stride;
  batch.slopes = batch.density + batch.stride;
  float* values = batch.slopes + batch.stride;
  std::fill_n(batch.points, (5 + outputs) * batch.stride, 0.0f);
  for (int d = 0; d < 3; ++d)
    std::copy_n(points.data + d * points.stride, points.rows, batch.points + d * batch.stride);
  predict(model, points, {values, points.rows, outputs, batch.stride});
  batch.errors.resize(static_cast<std::size_t>(points.rows));
  const std::vector<DensityGrid<float>> grids = density_grids(model);
  parallel(batch.chunks(), [&](std::int64_t chunk) {
    for (const DensityGrid<float>& grid : grids)
      kernels_.add_density(batch.part(grid, chunk), batch.density + chunk * kChunkRows);
    for (std::int64_t i = chunk * kChunkRows; i < batch.end(chunk); ++i) {
      double squares = 0;
      for (int o = 0; o < outputs; ++o) {
        const double error = static_cast<double>(values[o * batch.stride + i]) -
                             targets.data[o * targets.stride + i];
        squares += error * error;
      }
      batch.errors[static_cast<std::size_t>(i)] = squares / outputs;
    }
  });
  const double loss = density_slopes(batch, sum);
  update_transforms(model, density_sums(kernels_, grids, batch, sum), step);
  return loss;
}

void CpuBackend::penalise(Model& model, const Objective& objective) {
  const Layout& layout = model.layout();
  if (layout.transforms < 0) return;
  const encoder::AdaptiveMultiGrid& grids = grids_of(model);
  const encoder::GridPenalty penalty = grids.penalty(objective.penalty);
  if (!penalty.any()) return;
  const Slice& first = layout.slices[static_cast<std::size_t>(layout.first_grid)];
  const std::int64_t stride = ceil_divide(first.size(), kMaxWidth) * kMaxWidth;
  const int r = grids.resolution, f = grids.features;
  parallel(std::int64_t{grids.n_grids} * r, [&](std::int64_t task) {
    const auto g = static_cast<int>(task / r), z = static_cast<int>(task % r);
    const std::int64_t at = first.offset + g * stride + std::int64_t{z} * r * r * f;
    const float* table = model.parameters().data() + at;
    float* gradient = model.gradient().data() + at;
    for (int y = 0; y < r; ++y)
      for (int x = 0; x < r; ++x)
        for (int k = 0; k < f; ++k, ++table, ++gradient)
          *gradient +=
              encoder::penalty_slope(penalty, table, x, y, z, r, f, g, grids.n_grids, stride);
  });
  gradient_changed(model);
}

}  // namespace kanbench::cpu
