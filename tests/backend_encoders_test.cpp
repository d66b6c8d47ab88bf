// Every encoder on every backend: against the plain loops in double, the loops against central
// differences, and sums that do not depend on who adds them.

#include <algorithm>
#include <cmath>

#include "backend_cases.h"
#include "encoder_cases.h"
#include "kanbench/parallel.h"
#include "reference.h"

namespace kanbench {
namespace {

using namespace test;

ModelSpec model_of(const Encoder& encoder) {
  return chain(encoder, {16, 16, 1}, basis::Identity{}, basis::Relu{}, false, false);
}

double relative(const std::vector<double>& want, const std::vector<float>& got, const Slice& slice,
                double floor) {
  double length = floor * floor, off = 0;
  for (std::int64_t i = slice.offset; i < slice.offset + slice.size(); ++i) {
    length += want[i] * want[i];
    off += (want[i] - got[i]) * (want[i] - got[i]);
  }
  return std::sqrt(off / length);
}

double tolerance(Precision precision) {
  return precision == Precision::fp32 ? 2e-4 : precision == Precision::bf16 ? 2.5e-1 : 8e-2;
}

double length(const std::vector<double>& numbers) {
  double sum = 0;
  for (const double number : numbers) sum += number * number;
  return std::sqrt(sum);
}

// Prediction and gradient of one batch.
void check_batch(Backend& backend, const ModelSpec& spec, Precision precision, std::int64_t rows) {
  const std::string where = backend.name() + ", " + name(precision) + ", " + label(spec.encoder) +
                            ", " + std::to_string(rows) + " rows";
  const std::vector<float> block = block_of(spec, 4);
  Reference reference(spec, block);
  Model model(backend, spec, precision);
  model.upload(block);
  model.train();
  Batch batch(rows, 6);
  const Placed placed(backend, batch);
  Buffer<float> out(backend, rows);
  backend.predict(model, placed.point_rows(), {out.data(), rows, 1, rows});
  const std::vector<float> values = download(out, backend);
  const double scale = 1.0 / static_cast<double>(rows);
  backend.gradient(model, placed.point_rows(), placed.target_rows(), {loss::Mse{}, scale});
  for (std::int64_t i = 0; i < rows; ++i) {
    double p[3], dp[3];
    batch.point(i, p);
    const double want = reference.predict(p);
    ASSERT_NEAR(values[i], want, tolerance(precision) * (1 + std::abs(want)) / 4) << where;
    reference.differentiate(p, batch.targets[i], loss::Mse{}, scale, dp);
  }
  const std::vector<float> gradient = download(model.gradient(), backend);
  const double floor = precision == Precision::fp32 ? 1e-15 : 0.02 * length(reference.gradient);
  for (const Slice& slice : model.layout().slices)
    EXPECT_LT(relative(reference.gradient, gradient, slice, floor), tolerance(precision))
        << where << ", " << slice.name;
}

TEST(Encoders, AgreeWithThePlainLoops) {
  for (const auto& backend : all_backends())
    for (const Encoder& encoder : small_encoders()) {
      const ModelSpec spec = model_of(encoder);
      for (const Precision precision : backend->precisions(spec)) {
        const bool exact = precision == Precision::fp32;
        check_batch(*backend, spec, precision, KANBENCH_EMULATED ? 65 : 333);
        if (exact && !KANBENCH_EMULATED) check_batch(*backend, spec, precision, 1);
      }
    }
}

// The corners of the domain, where a cell has no neighbour.
TEST(Encoders, AgreeAtTheBorder) {
  Batch batch(27, 1);
  for (std::int64_t i = 0; i < 27; ++i)
    for (int d = 0; d < 3; ++d)
      batch.points[d * 27 + i] = 0.5f * static_cast<float>(i / (d == 0 ? 1 : d == 1 ? 3 : 9) % 3);
  for (const auto& backend : all_backends())
    for (const Encoder& encoder : small_encoders()) {
      const ModelSpec spec = model_of(encoder);
      const std::vector<float> block = block_of(spec, 4);
      Reference reference(spec, block);
      Model model(*backend, spec);
      model.upload(block);
      const Placed placed(*backend, batch);
      Buffer<float> out(*backend, 27);
      backend->predict(model, placed.point_rows(), {out.data(), 27, 1, 27});
      const std::vector<float> values = download(out, *backend);
      for (std::int64_t i = 0; i < 27; ++i) {
        double p[3];
        batch.point(i, p);
        EXPECT_NEAR(values[i], reference.predict(p), 1e-4) << backend->name() << label(encoder);
      }
    }
}

// As the trainer does: steps on a batch.
double loss_after(Backend& backend, const ModelSpec& spec, int steps, std::vector<float>* block) {
  Model model(backend, spec);
  model.upload(block_of(spec, 2));
  model.train();
  const std::int64_t rows = KANBENCH_EMULATED ? 96 : 1000;
  Batch batch(rows, 3);
  for (std::int64_t i = 0; i < rows; ++i)
    batch.targets[i] =
        0.5f + 0.3f * std::sin(5 * batch.points[i]) * std::cos(4 * batch.points[rows + i]);
  const Placed placed(backend, batch);
  Adam adam;
  adam.encoder_rate = adam.decoder_rate = 1e-2f;
  double loss = 0;
  for (int s = 1; s <= steps; ++s)
    loss = backend
               .step(model, placed.point_rows(), placed.target_rows(),
                     {loss::Mse{}, 1.0 / static_cast<double>(rows)}, adam, s)
               .loss;
  if (block) *block = model.download();
  return loss;
}

TEST(Encoders, AreTrained) {
  for (const auto& backend : all_backends())
    for (const Encoder& encoder : small_encoders()) {
      const ModelSpec spec = model_of(encoder);
      EXPECT_LT(loss_after(*backend, spec, 20, nullptr),
                0.8 * loss_after(*backend, spec, 1, nullptr))
          << backend->name() << ", " << label(encoder);
    }
}

TEST(Encoders, HaveTheSameBitsForAnyThreadCount) {
  if (KANBENCH_EMULATED) GTEST_SKIP() << "threads are the CPU's";
  const auto backend = open_cpu();
  for (const Encoder& encoder : small_encoders()) {
    std::vector<float> one, many;
    set_threads(1);
    loss_after(*backend, model_of(encoder), 3, &one);
    set_threads(5);
    loss_after(*backend, model_of(encoder), 3, &many);
    set_threads(0);
    EXPECT_EQ(one, many) << label(encoder);
  }
}

TEST(Encoders, AreDeterministicOnADeviceWhereAsked) {
  if (list_cuda_devices().empty()) GTEST_SKIP() << "no CUDA device: " << why_no_cuda();
  DeviceSettings settings;
  settings.deterministic = true;
  const auto backend = open_cuda(0, settings);
  for (const Encoder& encoder : small_encoders()) {
    const ModelSpec spec = model_of(encoder);
    check_batch(*backend, spec, Precision::fp32, 40);
    std::vector<float> once, again;
    loss_after(*backend, spec, 2, &once);
    loss_after(*backend, spec, 2, &again);
    EXPECT_EQ(once, again) << label(encoder);
  }
}

TEST(Encoders, HaveTheCentralDifferencesSlopes) {
  if (KANBENCH_EMULATED) GTEST_SKIP() << "the plain loops need no device";
  for (const Encoder& encoder : small_encoders()) {
    Reference reference(model_of(encoder), block_of(model_of(encoder), 8));
    double p[3] = {0.313, 0.577, 0.831}, dp[3];
    const double target = 0.4, h = 1e-6;
    reference.differentiate(p, target, loss::Mse{}, 1, dp);
    const std::vector<double> gradient = reference.gradient;
    const auto slope = [&](double& x) {
      const double kept = x;
      x = kept + h;
      const double high = loss::Mse{}.value(reference.predict(p), target);
      x = kept - h;
      const double low = loss::Mse{}.value(reference.predict(p), target);
      x = kept;
      return (high - low) / (2 * h);
    };
    double most = 1e-12;
    for (const double g : gradient) most = std::max(most, std::abs(g));
    const Layout layout = make_layout(model_of(encoder));
    const auto decoder = static_cast<std::size_t>(layout.decoder_begin),
               tables = static_cast<std::size_t>(tables_end(layout));
    // Where grids lie is held while they are trained.
    for (std::size_t i = 0; i < gradient.size(); i = i + 1 == tables ? decoder : i + 1)
      ASSERT_NEAR(gradient[i], slope(reference.parameters[i]), 2e-7 * (1 + most))
          << label(encoder) << " " << i;
    for (int d = 0; d < 3; ++d)
      EXPECT_NEAR(dp[d], slope(p[d]), 1e-5 * (1 + std::abs(dp[d]))) << label(encoder);
  }
}

}  // namespace
}  // namespace kanbench
