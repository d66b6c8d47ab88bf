// Every backend against the plain loops in double, for every shape of model.

#include "kanbench/backend.h"

#include <cmath>
#include <string>
#include <vector>

#include "backend_cases.h"
#include "layer_cases.h"
#include "reference.h"

namespace kanbench {
namespace {

using namespace test;

template <std::size_t... I>
void add_every_basis(std::vector<Case>& all, std::index_sequence<I...>) {
  for (const Basis& basis : {Basis(std::variant_alternative_t<I, Basis>{})...})
    all.push_back(
        {std::string("every layer ") + name(basis),
         chain(encoder::HashGrid{2, 2, 6, 4, 2}, {7, 5, 1}, tame(basis), tame(basis), true, true)});
}

std::vector<Case> cases() {
  using encoder::HashGrid;
  const Basis identity = basis::Identity{}, relu = basis::Relu{};
  std::vector<Case> all;
  all.push_back({"mlp, 2 features",
                 chain(HashGrid{4, 2, 8, 4, 1.6}, {16, 16, 1}, identity, relu, false, false)});
  all.push_back(
      {"mlp, 8 features", chain(HashGrid{2, 8, 6, 3, 2}, {32, 1}, identity, relu, false, false)});
  all.push_back({"mlp, 4 features, odd widths",
                 chain(HashGrid{3, 4, 9, 5, 1.3}, {7, 13, 1}, identity, relu, false, false)});
  all.push_back(
      {"mlp, 3 features", chain(HashGrid{2, 3, 7, 4, 1.5}, {5, 1}, identity, relu, false, false)});
  all.push_back({"mlp, 16 features, 3 outputs wide",
                 chain(HashGrid{1, 16, 7, 4, 1.5}, {3, 1}, identity, relu, false, false)});
  all.push_back(
      {"mlp, no encoder", chain(encoder::Identity{}, {70, 1}, identity, relu, false, false)});
  all.push_back({"relu with norm and base",
                 chain(HashGrid{2, 2, 6, 4, 2}, {9, 5, 1}, identity, relu, true, true)});
  all.push_back(
      {"relu with base", chain(HashGrid{2, 2, 6, 4, 2}, {9, 1}, relu, relu, false, true)});
  for (int grids : {2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 70}) {
    const Basis rbf = basis::Rbf{grids, 0.25f * static_cast<float>(grids - 1)};
    all.push_back({"fastkan, " + std::to_string(grids) + " gaussians",
                   chain(HashGrid{3, 2, 7, 4, 1.7}, {11, 6, 1}, rbf, rbf, true, true)});
  }
  for (int neurons : {16, 32, 64, 128}) {
    const Basis rbf = basis::Rbf{};
    ModelSpec kan = chain(HashGrid{3, 2, 7, 4, 1.7}, {neurons, neurons, 1}, rbf, rbf, true, true);
    kan.layers[0].norm = false;
    all.push_back({"fastkan, 2 x " + std::to_string(neurons), kan});
    all.push_back(
        {"mlp, 2 x " + std::to_string(neurons),
         chain(HashGrid{3, 2, 7, 4, 1.7}, {neurons, neurons, 1}, identity, relu, false, false)});
  }
  // What rounding does is not made larger here by further layers, nor by errors of different size.
  ModelSpec shallow =
      chain(HashGrid{3, 2, 7, 4, 1.7}, {32, 1}, basis::Rbf{}, basis::Rbf{}, true, true);
  shallow.layers[0].norm = false;
  all.push_back({"shallow fastkan", shallow});
  all.push_back(
      {"shallow mlp", chain(HashGrid{3, 2, 7, 4, 1.7}, {32, 1}, identity, relu, false, false)});
  all.push_back({"mlp, 8 x 16 behind 18 numbers",
                 chain(HashGrid{9, 2, 7, 4, 1.2}, {16, 16, 16, 16, 16, 16, 16, 16, 1}, identity,
                       relu, false, false)});
  const Basis rbf = basis::Rbf{};
  ModelSpec first = chain(HashGrid{4, 8, 8, 4, 1.5}, {32, 32, 1}, rbf, rbf, true, true);
  first.layers[0].norm = false;
  all.push_back({"fastkan, no first norm", first});
  all.push_back(
      {"fastkan, no base", chain(HashGrid{2, 4, 6, 4, 2}, {16, 1}, rbf, rbf, true, false)});
  all.push_back(
      {"fastkan, no encoder", chain(encoder::Identity{}, {16, 16, 1}, rbf, rbf, true, true)});
  ModelSpec sigmoid = all[0].spec, rectified = all[9].spec;
  sigmoid.output = OutputActivation::sigmoid;
  rectified.output = OutputActivation::relu;
  all.push_back({"sigmoid output", sigmoid});
  all.push_back({"rectified output", rectified});
  add_every_basis(all, std::make_index_sequence<std::variant_size_v<Basis>>{});
  for (auto& [label, layers] : layer_cases(4)) {
    ModelSpec spec;
    spec.encoder = HashGrid{2, 2, 6, 4, 2};
    spec.layers = std::move(layers);
    all.push_back({label, spec, 10});
  }
  return all;
}

// Length of the difference over the length of what is wanted, and `floor` beside it.
double relative(const std::vector<double>& want, const float* got, std::int64_t from,
                std::int64_t count, double floor = 1e-15) {
  double length = floor * floor, off = 0;
  for (std::int64_t i = from; i < from + count; ++i) {
    length += want[i] * want[i];
    off += (want[i] - got[i]) * (want[i] - got[i]);
  }
  return std::sqrt(off / length);
}

double length(const std::vector<double>& numbers) {
  double sum = 0;
  for (double number : numbers) sum += number * number;
  return std::sqrt(sum);
}

// How far rounding may move a prediction, and a tensor's gradient as a whole. In the short formats
// a rectifier here and there lets through what it should not; a wrong term would be all of it.
struct Tolerance {
  double value, gradient;
};
Tolerance tolerance(Precision precision) {
  switch (precision) {
    case Precision::fp32:
      return {5e-5, 2e-4};
    case Precision::tf32:
      return {1.5e-2, 8e-2};
    case Precision::fp16:
      return {1.5e-2, 8e-2};
    default:
      return {1e-1, 2.5e-1};
  }
}

std::vector<std::int64_t> row_counts(std::vector<std::int64_t> all) {
  if (KANBENCH_EMULATED) all = {1, 250};
  return all;
}

// Plain loops take long, and tests run side by side: the cases are shared out among eight.
class BackendPart : public testing::TestWithParam<int> {
 protected:
  static constexpr int kParts = 8;
  static std::vector<Case> cases_of_part() {
    std::vector<Case> all = cases(), part;
    for (std::size_t i = static_cast<std::size_t>(GetParam()); i < all.size(); i += kParts)
      part.push_back(std::move(all[i]));
    return part;
  }
};
INSTANTIATE_TEST_SUITE_P(Part, BackendPart, testing::Range(0, 8));

TEST_P(BackendPart, PredictsAsThePlainLoops) {
  for (const auto& backend : all_backends())
    for (const Case& c : cases_of_part())
      for (Precision precision : backend->precisions(c.spec))
        for (std::int64_t rows : row_counts({1, 33, 700})) {
          const std::vector<float> block = block_of(c.spec, 3);
          Reference reference(c.spec, block);
          Model model(*backend, c.spec, precision);
          model.upload(block);
          const Batch batch(rows, 5);
          const Placed placed(*backend, batch);
          Buffer<float> out(*backend, rows);
          backend->predict(model, placed.point_rows(), {out.data(), rows, 1, rows});
          const std::vector<float> values = download(out, *backend);
          for (std::int64_t i = 0; i < rows; ++i) {
            double p[3];
            batch.point(i, p);
            const double want = reference.predict(p);
            ASSERT_NEAR(values[i], want,
                        (precision == Precision::fp32 ? c.slack : 1) * tolerance(precision).value *
                            (1 + std::abs(want)))
                << backend->name() << ", " << name(precision) << ", " << c.label << ", row " << i
                << " of " << rows;
          }
        }
}

void check_gradient(Backend& backend, const Case& c, Precision precision, const Loss& loss,
                    std::int64_t rows) {
  const std::vector<float> block = block_of(c.spec, 4);
  Reference reference(c.spec, block);
  Model model(backend, c.spec, precision);
  model.upload(block);
  model.train();
  Batch batch(rows, 6);
  // Rounding must not turn an error's sign.
  for (std::int64_t i = 0; i < rows; ++i) {
    double p[3];
    batch.point(i, p);
    const float away = batch.targets[i] < 0.5f ? -0.2f : 0.2f;
    batch.targets[i] += static_cast<float>(reference.predict(p)) - 0.5f + away;
  }
  const Placed placed(backend, batch);
  const double scale = 1.0 / static_cast<double>(rows);
  const BatchSums sums =
      backend.gradient(model, placed.point_rows(), placed.target_rows(), {loss, scale});
  double total = 0;
  for (std::int64_t i = 0; i < rows; ++i) {
    double p[3], dp[3];
    batch.point(i, p);
    total += reference.differentiate(p, batch.targets[i], loss, scale, dp);
  }
  const std::string where = backend.name() + ", " + name(precision) + ", " + c.label + ", " +
                            name(loss) + ", " + std::to_string(rows) + " rows";
  Tolerance near = tolerance(precision);
  near.gradient *= std::max(1.0, static_cast<double>(c.spec.layers.size()) / 3);
  if (c.slack > 1) near.gradient *= precision == Precision::fp32 ? c.slack : 1.5;
  const bool l1 = std::holds_alternative<loss::L1>(loss);
  // A device has rectifiers by the thousand, and its own order of sums.
  if (!KANBENCH_EMULATED && precision != Precision::fp32) near.gradient *= 1.5;
  if (l1 && c.label.rfind("shallow", 0) == 0)
    near.gradient /= !KANBENCH_EMULATED || precision != Precision::fp16 ? 5 : 20;
  EXPECT_TRUE(sums.finite) << where;
  EXPECT_NEAR(sums.loss, total, near.value * static_cast<double>(rows)) << where;
  const std::vector<float> gradient = download(model.gradient(), backend);
  // A tensor whose terms cancel is all rounding: what counts then is how small it is.
  const double floor = precision == Precision::fp32 ? 1e-15 : 0.02 * length(reference.gradient);
  for (const Slice& slice : model.layout().slices)
    EXPECT_LT(relative(reference.gradient, gradient.data(), slice.offset, slice.size(), floor),
              near.gradient)
        << where << ", " << slice.name;
}

// Two decoders are enough: in the backends a loss meets nothing but the decoder's last number.
TEST(Backend, GradientOfEachLossAgreesWithThePlainLoops) {
  const std::vector<Case> all = cases();
  for (const auto& backend : all_backends())
    for (const Case& c : {all.front(), all.back()})
      for (Precision precision : backend->precisions(c.spec))
        for (const Loss& loss :
             {Loss{loss::Huber{0.3f}}, Loss{loss::RelativeL1{0.2f}}, Loss{loss::RelativeL2{0.2f}}})
          check_gradient(*backend, c, precision, loss, 130);
}

TEST_P(BackendPart, GradientAgreesWithThePlainLoops) {
  for (const auto& backend : all_backends())
    for (const Case& c : cases_of_part())
      for (Precision precision : backend->precisions(c.spec))
        for (const Loss& loss : {Loss{loss::L1{}}, Loss{loss::Mse{}}})
          for (std::int64_t rows : row_counts({1, 130, 2100})) {
            // One row is at the mercy of its rounding; many of a wide model take the plain loops
            // long.
            const bool wide = make_layout(c.spec).parameters > 8000;
            if ((rows > 1 || precision == Precision::fp32) && (rows < 1000 || !wide))
              check_gradient(*backend, c, precision, loss, rows);
          }
}

// Infinities of either sign meet in the last layer; the mean absolute error must not hide it.
TEST(Backend, ReportsAPredictionThatIsNotFinite) {
  ModelSpec spec;
  spec.encoder = encoder::Identity{};
  spec.layers = {{3, 2, basis::Identity{}}, {2, 1, basis::Relu{}}};
  const Batch batch(70, 2);
  for (const auto& backend : all_backends())
    for (const Loss& loss : {Loss{loss::L1{}}, Loss{loss::Mse{}}, Loss{loss::Huber{}},
                             Loss{loss::RelativeL1{}}, Loss{loss::RelativeL2{}}}) {
      Model model(*backend, spec);
      std::vector<float> block(static_cast<std::size_t>(model.layout().size));
      for (int i = 0; i < 6; ++i) block[model.layout().layers[0].weight + i] = 1e30f;
      block[model.layout().layers[1].weight] = 3e38f;
      block[model.layout().layers[1].weight + 1] = -3e38f;
      model.upload(block);
      model.train();
      const Placed placed(*backend, batch);
      const BatchSums sums = backend->step(model, placed.point_rows(), placed.target_rows(),
                                           {loss, 1.0 / 70}, Adam{}, 1);
      EXPECT_FALSE(sums.finite) << backend->name() << ", " << name(loss);
    }
}

TEST(Backend, ReferenceGradientIsTheCentralDifference) {
  for (const Case& c : cases()) {
    // Wider layers say nothing more, and take their time.
    if (make_layout(c.spec).parameters > 2000) continue;
    Reference reference(c.spec, block_of(c.spec, 8));
    const Loss loss = loss::Mse{};
    double p[3] = {0.313, 0.577, 0.831}, dp[3];
    const double target = 0.4, h = 1e-6;
    reference.differentiate(p, target, loss, 1, dp);
    const std::vector<double> gradient = reference.gradient;
    const auto value = [&] { return loss::Mse{}.value(reference.predict(p), target); };
    double most = 1e-12;
    for (double g : gradient) most = std::max(most, std::abs(g));
    for (std::size_t i = 0; i < gradient.size(); ++i) {
      double& w = reference.parameters[i];
      const double kept = w;
      w = kept + h;
      const double high = value();
      w = kept - h;
      const double low = value();
      w = kept;
      ASSERT_NEAR(gradient[i], (high - low) / (2 * h), 2e-7 * (1 + most)) << c.label << " " << i;
    }
    for (int d = 0; d < 3; ++d) {
      const double kept = p[d];
      p[d] = kept + h;
      const double high = value();
      p[d] = kept - h;
      const double low = value();
      p[d] = kept;
      EXPECT_NEAR(dp[d], (high - low) / (2 * h), 1e-4 * (1 + std::abs(dp[d]))) << c.label;
    }
  }
}

}  // namespace
}  // namespace kanbench
