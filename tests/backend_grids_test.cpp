// Backends with grids that move: encoding, the penalties' gradient, and the geometry's step against
// plain loops in double.

#include <cmath>
#include <string>
#include <vector>

#include "backend_cases.h"
#include "kanbench/math/density.h"
#include "kanbench/parallel.h"
#include "reference.h"

namespace kanbench {
namespace {

using namespace test;

constexpr bool kEmulated = KANBENCH_EMULATED;

encoder::AdaptiveMultiGrid small_grids(Transform transform, int features = 2) {
  encoder::AdaptiveMultiGrid grids;
  grids.n_grids = 5, grids.resolution = 4, grids.features = features;
  grids.transform = transform;
  grids.tv_weight = grids.l1_weight = 0;
  return grids;
}

ModelSpec spec_of(const encoder::AdaptiveMultiGrid& grids) {
  return chain(grids, {9, 1}, basis::Identity{}, basis::Relu{}, false, false);
}

const Slice& transforms_of(const Layout& layout) {
  return layout.slices[static_cast<std::size_t>(layout.transforms)];
}

// Turned, of unequal scales, and some of them far from the middle.
std::vector<float> moved_block(const ModelSpec& spec) {
  std::vector<float> block = block_of(spec, 3);
  const Layout layout = make_layout(spec);
  const Slice& slice = transforms_of(layout);
  const Stream stream{8, 0};
  for (std::int64_t i = 0; i < slice.size(); ++i)
    block[slice.offset + i] += 0.9f * (unit_float(stream.words(i).v[0]) - 0.5f);
  return block;
}

std::vector<ModelSpec> specs() {
  std::vector<ModelSpec> all;
  for (const Transform transform : {Transform::similarity, Transform::affine})
    for (const int features : {1, 2, 4, 8})
      all.push_back(spec_of(small_grids(transform, features)));
  // Small boxes, of which whole packs of points miss some.
  encoder::AdaptiveMultiGrid small = small_grids(Transform::similarity);
  small.initialisation = encoder::GridPlacement::small;
  all.push_back(spec_of(small));
  return all;
}

double distance(const std::vector<double>& want, const float* got, std::int64_t from,
                std::int64_t count) {
  // A part that is small beside the whole is all rounding.
  double whole = 0;
  for (const double number : want) whole += number * number;
  double length = 1e-30 + 0.01 * whole, off = 0;
  for (std::int64_t i = from; i < from + count; ++i) {
    length += want[i] * want[i];
    off += (want[i] - got[i]) * (want[i] - got[i]);
  }
  return std::sqrt(off / length);
}

std::vector<Precision> precisions(const Backend& backend, const ModelSpec& spec) {
  return kEmulated ? backend.precisions(spec) : std::vector<Precision>{Precision::fp32};
}

double loose(Precision precision) { return precision == Precision::fp32 ? 2e-4 : 0.1; }

TEST(BackendGrids, PredictAndDifferentiateAsThePlainLoops) {
  for (const auto& backend : all_backends())
    for (const ModelSpec& spec : specs())
      for (const Precision precision : precisions(*backend, spec)) {
        const std::int64_t rows = kEmulated ? 70 : 333;
        const std::vector<float> block = moved_block(spec);
        Reference reference(spec, block);
        Model model(*backend, spec, precision);
        model.upload(block);
        model.train();
        const Batch batch(rows, 5);
        const Placed placed(*backend, batch);
        Buffer<float> out(*backend, rows);
        backend->predict(model, placed.point_rows(), {out.data(), rows, 1, rows});
        const std::vector<float> values = download(out, *backend);
        backend->gradient(model, placed.point_rows(), placed.target_rows(),
                          {loss::Mse{}, 1.0 / static_cast<double>(rows)});
        std::vector<double> want(rows);
        for (std::int64_t i = 0; i < rows; ++i) {
          double p[3], dp[3];
          batch.point(i, p);
          want[i] = reference.predict(p);
          reference.differentiate(p, batch.targets[i], loss::Mse{}, 1.0 / rows, dp);
        }
        const std::string where = backend->name() + " " + name(precision);
        EXPECT_LT(distance(want, values.data(), 0, rows), loose(precision)) << where;
        const std::vector<float> gradient = download(model.gradient(), *backend);
        for (const Slice& slice : model.layout().slices)
          EXPECT_LT(distance(reference.gradient, gradient.data(), slice.offset, slice.size()),
                    loose(precision))
              << where << " " << slice.name;
        // The reconstruction says nothing of where grids lie.
        const Slice& transforms = transforms_of(model.layout());
        for (std::int64_t i = 0; i < transforms.size(); ++i)
          ASSERT_EQ(gradient[transforms.offset + i], 0);
      }
}

// Also of a model that nothing was asked of before, and once more after its grids have moved.
TEST(BackendGrids, DecodeAsTheyPredict) {
  for (const auto& backend : all_backends()) {
    const ModelSpec spec = specs().back();
    Model model(*backend, spec);
    const Shape size{5, 4, 3};
    Batch centres(size.count(), 1);
    for (std::int64_t i = 0; i < centres.rows; ++i) {
      centres.points[i] = (static_cast<float>(i % 5) + 0.5f) / 5;
      centres.points[centres.rows + i] = (static_cast<float>(i / 5 % 4) + 0.5f) / 4;
      centres.points[2 * centres.rows + i] = (static_cast<float>(i / 20) + 0.5f) / 3;
    }
    const Placed placed(*backend, centres);
    const std::int64_t rows = centres.rows;
    Buffer<float> decoded(*backend, rows), predicted(*backend, rows);
    std::vector<float> block = moved_block(spec);
    for (const bool again : {false, true}) {
      if (again) block[transforms_of(model.layout()).offset + 7] += 0.3f;
      model.upload(block);
      backend->decode(model, {size, whole(size)}, {decoded.data()});
      backend->predict(model, placed.point_rows(), {predicted.data(), rows, 1, rows});
      const std::vector<float> got = download(decoded, *backend);
      const std::vector<float> want = download(predicted, *backend);
      for (std::int64_t i = 0; i < rows; ++i)
        ASSERT_NEAR(got[i], want[i], 1e-5) << backend->name() << " " << again;
    }
  }
}

TEST(BackendGrids, PenaltiesAreAddedOnce) {
  for (const auto& backend : all_backends()) {
    encoder::AdaptiveMultiGrid grids = small_grids(Transform::similarity, 3);
    const ModelSpec plain = spec_of(grids);
    grids.tv_weight = 0.3, grids.l1_weight = 0.2;
    const ModelSpec spec = spec_of(grids);
    const std::vector<float> block = moved_block(spec);
    const std::int64_t rows = 40;
    const Placed placed(*backend, Batch(rows, 5));
    std::vector<float> gradients[2];
    for (const bool with : {false, true}) {
      Model model(*backend, with ? spec : plain);
      model.upload(block);
      model.train();
      backend->gradient(model, placed.point_rows(), placed.target_rows(),
                        {loss::Mse{}, 1.0 / rows, {}, 0.5});
      gradients[with] = download(model.gradient(), *backend);
    }
    const Layout layout = make_layout(spec);
    const encoder::GridPenalty penalty = grids.penalty(0.5);
    const std::int64_t stride = layout.slices[1].offset - layout.slices[0].offset;
    const int r = grids.resolution, f = grids.features;
    for (int g = 0; g < grids.n_grids; ++g)
      for (std::int64_t i = 0; i < layout.slices[g].size(); ++i) {
        const std::int64_t at = layout.slices[g].offset + i;
        const auto x = static_cast<int>(i / f % r), y = static_cast<int>(i / f / r % r),
                   z = static_cast<int>(i / f / r / r);
        const float slope = encoder::penalty_slope(penalty, block.data() + at, x, y, z, r, f, g,
                                                   grids.n_grids, stride);
        EXPECT_NEAR(gradients[1][at] - gradients[0][at], slope, 1e-6) << backend->name();
      }
    EXPECT_EQ(std::vector<float>(gradients[0].begin() + layout.decoder_begin, gradients[0].end()),
              std::vector<float>(gradients[1].begin() + layout.decoder_begin, gradients[1].end()));
  }
}

// The gradient of the density loss at `block`, and the loss, from plain loops.
struct Shaped {
  double loss = 0;
  std::vector<double> gradient;
};
Shaped shape_plainly(const ModelSpec& spec, const std::vector<float>& block, const Batch& batch) {
  const encoder::AdaptiveMultiGrid& grids = *adaptive_grids(spec.encoder);
  const Layout layout = make_layout(spec);
  const float* numbers = block.data() + transforms_of(layout).offset;
  const int columns = size(grids.transform);
  std::vector<DensityGrid<double>> all;
  for (int g = 0; g < grids.n_grids; ++g)
    all.emplace_back(grids.transform, map_of<double>(grids.transform, numbers + g * columns));
  Reference reference(spec, block);
  const auto rows = static_cast<std::size_t>(batch.rows);
  const auto count = static_cast<double>(batch.rows);
  std::vector<double> rho(rows), e(rows), q(rows);
  const auto bump = [&](const DensityGrid<double>& grid, std::size_t i, double(&x)[3],
                        double(&power)[3]) {
    batch.point(static_cast<std::int64_t>(i), x);
    for (double& one : x) one = 2 * one - 1;
    return grid.bump(x, power);
  };
  double sum = 0, mean = 0, total = 0, x[3], power[3];
  for (std::size_t i = 0; i < rows; ++i) {
    double p[3];
    batch.point(static_cast<std::int64_t>(i), p);
    e[i] = std::pow(reference.predict(p) - batch.targets[i], 2);
    for (const auto& grid : all) rho[i] += grid.determinant * bump(grid, i, x, power);
    sum += rho[i];
    mean += e[i] / count;
  }
  for (std::size_t i = 0; i < rows; ++i)
    total += q[i] = std::exp(log_target(rho[i] / sum, e[i], mean));
  Shaped result;
  result.gradient.resize(static_cast<std::size_t>(grids.n_grids * columns));
  std::vector<std::array<double, kDensitySums>> sums(all.size());
  for (std::size_t i = 0; i < rows; ++i) {
    const DensityLoss one = density_loss(rho[i] / sum, q[i] / total, count, sum);
    result.loss += one.value;
    for (std::size_t g = 0; g < all.size(); ++g) {
      double terms[kDensitySums];
      const double h = bump(all[g], i, x, power);
      density_terms(x, power, one.slope * h, terms);
      for (int k = 0; k < kDensitySums; ++k) sums[g][k] += terms[k];
    }
  }
  for (std::size_t g = 0; g < all.size(); ++g)
    map_gradient(grids.transform, numbers + g * columns, density_gradient(all[g], sums[g].data()),
                 result.gradient.data() + g * columns);
  return result;
}

TEST(BackendGrids, TakeTheGeometrysStepOfThePlainLoops) {
  for (const auto& backend : all_backends())
    for (const Transform transform : {Transform::similarity, Transform::affine}) {
      const ModelSpec spec = spec_of(small_grids(transform));
      const std::vector<float> block = moved_block(spec);
      const Batch batch(kEmulated ? 300 : 1500, 5);
      const Shaped want = shape_plainly(spec, block, batch);
      const Placed placed(*backend, batch);
      Model model(*backend, spec);
      model.upload(block);
      model.train();
      const double loss =
          backend->shape(model, placed.point_rows(), placed.target_rows(), {1e-3, 1});
      EXPECT_NEAR(loss, want.loss, 1e-4 * want.loss) << backend->name();
      // The first moment after one step is a tenth of the gradient.
      const Slice& slice = transforms_of(model.layout());
      const std::vector<float> moment = download(model.first_moment(), *backend);
      std::vector<float> gradient;
      for (std::int64_t i = 0; i < slice.size(); ++i)
        gradient.push_back(10 * moment[slice.offset + i]);
      EXPECT_LT(distance(want.gradient, gradient.data(), 0, slice.size()), 2e-3) << backend->name();
      // Adam's first step is the rate, against the gradient; all else stays.
      const std::vector<float> after = model.download();
      for (std::int64_t i = 0; i < static_cast<std::int64_t>(block.size()); ++i) {
        const bool moves = i >= slice.offset && i < slice.offset + slice.size();
        if (!moves) {
          ASSERT_EQ(after[i], block[i]);
        } else if (std::abs(gradient[i - slice.offset]) > 1e-9f) {
          ASSERT_NEAR(block[i] - after[i], gradient[i - slice.offset] > 0 ? 1e-3 : -1e-3, 1e-5);
        }
      }
    }
}

TEST(BackendGrids, OneStepRaisesTheDensityWhereErrorsAre) {
  for (const auto& backend : all_backends()) {
    const ModelSpec spec = spec_of(small_grids(Transform::similarity));
    std::vector<float> block = draw_parameters(spec, {}, 2);
    Model model(*backend, spec);
    model.upload(block);
    model.train();
    Batch batch(kEmulated ? 300 : 2000, 9);
    // A field of nothing but a box in one corner.
    const auto in_box = [&](std::int64_t i) {
      double p[3];
      batch.point(i, p);
      return p[0] < 0.5 && p[1] < 0.5 && p[2] < 0.5;
    };
    for (std::int64_t i = 0; i < batch.rows; ++i) batch.targets[i] = in_box(i) ? 1 : 0;
    const Placed placed(*backend, batch);
    const auto share = [&](const std::vector<float>& numbers) {
      const Slice& slice = transforms_of(model.layout());
      double inside = 0, all = 0;
      for (std::int64_t i = 0; i < batch.rows; ++i)
        for (int g = 0; g < 5; ++g) {
          const DensityGrid<double> grid(
              Transform::similarity,
              map_of<double>(Transform::similarity, numbers.data() + slice.offset + g * 10));
          double x[3], power[3];
          batch.point(i, x);
          for (double& one : x) one = 2 * one - 1;
          const double rho = grid.determinant * grid.bump(x, power);
          all += rho;
          if (in_box(i)) inside += rho;
        }
      return inside / all;
    };
    backend->shape(model, placed.point_rows(), placed.target_rows(), {1e-2, 1});
    EXPECT_GT(share(model.download()), share(block) * 1.001) << backend->name();
  }
}

TEST(BackendGrids, StepsHaveTheSameBitsForAnyNumberOfThreads) {
  if (kEmulated) GTEST_SKIP() << "it is the CPU's threads that are counted";
  encoder::AdaptiveMultiGrid grids = small_grids(Transform::affine);
  grids.tv_weight = 1e-3, grids.l1_weight = 1e-4;
  const ModelSpec spec = spec_of(grids);
  std::vector<float> want;
  for (const int count : {1, 2, 3}) {
    set_threads(count);
    const auto backend = open_cpu();
    Model model(*backend, spec);
    model.upload(moved_block(spec));
    model.train();
    const Placed placed(*backend, Batch(5000, 3));
    for (int step = 1; step <= 3; ++step)
      take_step(*backend, model, placed.point_rows(), placed.target_rows(),
                {loss::Mse{}, 1.0 / 5000}, {{}, {}, step, {1e-3, step}});
    if (want.empty())
      want = model.download();
    else
      EXPECT_EQ(model.download(), want) << count << " threads";
  }
  set_threads(0);
}

TEST(BackendGrids, RanksTogetherTakeTheStepOfOne) {
  for (const auto& backend : all_backends()) {
    const ModelSpec spec = spec_of(small_grids(Transform::similarity));
    const Batch batch(kEmulated ? 200 : 1000, 5);
    const Placed placed(*backend, batch);
    const std::int64_t rows = batch.rows, half = rows / 2;
    const auto shaped = [&](std::int64_t first, std::int64_t count, const SumNumbers& sum) {
      Model model(*backend, spec);
      model.upload(moved_block(spec));
      model.train();
      backend->shape(model, {placed.points.data() + first, count, 3, rows},
                     {placed.targets.data() + first, count, 1, rows}, {1e-3, 1}, sum);
      return model.download();
    };
    const std::vector<float> alone = shaped(0, rows, {});
    // What the other adds is learnt sum after sum, as each depends on those before it.
    std::vector<std::vector<double>> mine, theirs;
    for (std::size_t round = 0; round < 8; ++round) {
      std::vector<std::vector<double>> next[2];
      for (const int rank : {0, 1}) {
        std::size_t at = 0;
        shaped(rank ? half : 0, rank ? rows - half : half,
               [&](double* numbers, std::int64_t count) {
                 next[rank].emplace_back(numbers, numbers + count);
                 const auto& beside = rank ? mine : theirs;
                 for (std::int64_t i = 0; at < beside.size() && i < count; ++i)
                   numbers[i] += beside[at][i];
                 ++at;
               });
      }
      mine = next[0], theirs = next[1];
    }
    std::size_t at = 0;
    const std::vector<float> together = shaped(0, half, [&](double* numbers, std::int64_t count) {
      for (std::int64_t i = 0; i < count; ++i) numbers[i] += theirs[at][i];
      ++at;
    });
    EXPECT_GT(at, 0u);
    for (std::size_t i = 0; i < alone.size(); ++i) ASSERT_NEAR(together[i], alone[i], 1e-6);
  }
}

}  // namespace
}  // namespace kanbench
