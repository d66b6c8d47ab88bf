// What a decoder's edges cost: its law, its gradient by central differences, and in the backends.

#include "kanbench/math/edges.h"

#include <gtest/gtest.h>

#include <cmath>

#include "backend_cases.h"

namespace kanbench {
namespace {

using namespace test;

EdgeSums sums_of(const std::vector<double>& c, int count) {
  EdgeSums sums;
  for (std::size_t i = 0; i < c.size(); i += static_cast<std::size_t>(count)) {
    const double size = edge_size(&c[i], count);
    sums.sizes += size;
    sums.logs += size * std::log(size);
  }
  return sums;
}

TEST(Edges, EqualOnesHaveTheEntropyOfTheirNumberAndOneAloneNone) {
  const std::vector<double> equal(12, -0.3);
  EXPECT_NEAR(sums_of(equal, 1).entropy(), std::log(12), 1e-12);
  EXPECT_NEAR(sums_of(equal, 3).entropy(), std::log(4), 1e-12);
  EXPECT_NEAR(sums_of(equal, 3).sizes, 1.2, 1e-7);
  std::vector<double> alone(6);
  alone[2] = 0.7;
  EXPECT_NEAR(sums_of(alone, 1).entropy(), 0, 2e-6);
  EXPECT_TRUE(std::isfinite(sums_of(std::vector<double>(6), 2).entropy()));
}

TEST(Edges, GradientIsTheCentralDifference) {
  const EdgePenalty penalty{0.3f, 0.7f};
  for (int count : {1, 4}) {
    std::vector<double> c, gradient(24);
    for (int i = 0; i < 24; ++i) c.push_back(std::sin(3 * i + 1) * (i % 5 + 0.2));
    const EdgeSums sums = sums_of(c, count);
    for (int i = 0; i < 24; i += count) add_edge_slope(penalty, sums, &c[i], count, &gradient[i]);
    for (std::size_t i = 0; i < c.size(); ++i) {
      const double kept = c[i], h = 1e-6;
      c[i] = kept + h;
      const double high = sums_of(c, count).penalty(penalty);
      c[i] = kept - h;
      const double low = sums_of(c, count).penalty(penalty);
      c[i] = kept;
      EXPECT_NEAR(gradient[i], (high - low) / (2 * h), 1e-8) << count << " " << i;
    }
  }
}

// One decoder that CUDA fuses, and one that it does not.
std::vector<Case> cases() {
  const Basis identity = basis::Identity{}, relu = basis::Relu{}, rbf = basis::Rbf{5, 1};
  const Encoder grid = encoder::HashGrid{3, 2, 7, 4, 1.7};
  return {{"mlp", chain(grid, {16, 16, 1}, identity, relu, false, false)},
          {"fastkan", chain(grid, {11, 6, 1}, rbf, rbf, true, true)}};
}

// The layers' weights, and nothing else of a model, have the penalty's gradient beside the batch's.
std::vector<double> expected(const Model& model, const std::vector<float>& block,
                             const EdgePenalty& penalty) {
  std::vector<double> gradient(block.size()), c(block.begin(), block.end());
  for (std::size_t l = 0; l < model.spec().layers.size(); ++l) {
    const Layer& layer = model.spec().layers[l];
    const int count = size(layer.basis);
    const std::int64_t begin = model.layout().layers[l].weight;
    const std::int64_t end = begin + std::int64_t{layer.in} * layer.out * count;
    const EdgeSums sums = sums_of({c.begin() + begin, c.begin() + end}, count);
    for (std::int64_t i = begin; i < end; i += count)
      add_edge_slope(penalty, sums, &c[i], count, &gradient[i]);
  }
  return gradient;
}

TEST(Edges, AreAddedToTheGradientOnceABatch) {
  const EdgePenalty penalty{0.02f, 0.05f};
  for (const auto& backend : all_backends())
    for (const Case& c : cases())
      for (std::int64_t rows : {0, 30}) {
        Model plain(*backend, c.spec), costly(*backend, c.spec);
        std::vector<float> block = block_of(c.spec, 3);
        // An edge without any size has a cost and no slope of its own.
        for (int k = 0; k < size(c.spec.layers[0].basis); ++k)
          block[plain.layout().layers[0].weight + k] = 0;
        plain.upload(block);
        costly.upload(block);
        plain.train();
        costly.train();
        const Batch batch(rows, 2);
        const Placed placed(*backend, batch);
        const auto a = backend->gradient(plain, placed.point_rows(), placed.target_rows(),
                                         {loss::L1{}, 1e-2, {}});
        const auto b = backend->gradient(costly, placed.point_rows(), placed.target_rows(),
                                         {loss::L1{}, 1e-2, penalty});
        EXPECT_EQ(a.loss, b.loss);
        const std::vector<float> without = download(plain.gradient(), *backend);
        const std::vector<float> with = download(costly.gradient(), *backend);
        const std::vector<double> want = expected(plain, block, penalty);
        for (std::size_t i = 0; i < want.size(); ++i)
          ASSERT_NEAR(with[i], without[i] + want[i], 2e-7)
              << backend->name() << ", " << c.label << ", " << rows << " rows, " << i;
      }
}

TEST(Edges, OfAStepAreThoseOfItsGradient) {
  const Objective objective{loss::Mse{}, 1.0 / 40, {0.01f, 0.02f}};
  for (const auto& backend : all_backends()) {
    const Case c = cases().front();
    Model together(*backend, c.spec), apart(*backend, c.spec);
    for (Model* model : {&together, &apart}) {
      model->upload(block_of(c.spec, 3));
      model->train();
    }
    const Placed placed(*backend, Batch(40, 4));
    backend->step(together, placed.point_rows(), placed.target_rows(), objective, Adam{}, 1);
    backend->gradient(apart, placed.point_rows(), placed.target_rows(), objective);
    backend->update(apart, Adam{}, 1);
    EXPECT_EQ(together.download(), apart.download()) << backend->name();
  }
}

}  // namespace
}  // namespace kanbench
