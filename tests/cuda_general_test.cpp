// The general decoder of CUDA and its products, run by the emulator, against plain loops in double.

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <string>
#include <vector>

#include "device_memory.h"
#include "emulator.h"
#include "kanbench/math/layer_backward.h"
#include "kanbench/math/random.h"
#include "kernels/general.h"
#include "layer_cases.h"

namespace kanbench::cuda {
namespace {

using test::download;
using test::upload;

struct Case {
  std::string label;
  ModelSpec spec;
  /// How far rounding may move a tensor; steep functions behind each other make it larger.
  double near = 1e-5;
};

Case chain(std::string label, int in, std::vector<int> widths, const Basis& first,
           const Basis& rest, bool norm, bool base) {
  ModelSpec spec;
  spec.encoder = encoder::Identity{};
  for (std::size_t i = 0; i < widths.size(); ++i) {
    spec.layers.push_back({in, widths[i], i ? rest : first, base, base, norm});
    in = widths[i];
  }
  return {std::move(label), spec};
}

template <std::size_t... I>
void add_every_basis(std::vector<Case>& all, std::index_sequence<I...>) {
  for (const Basis& basis : {Basis(std::variant_alternative_t<I, Basis>{})...}) {
    all.push_back(chain(std::string("every layer ") + name(basis), 4, {7, 5, 1}, test::tame(basis),
                        test::tame(basis), true, true));
    all.back().near = 5e-4;
    all.push_back(chain(std::string("bare layers of ") + name(basis), 4, {6, 5, 1},
                        test::tame(basis), test::tame(basis), false, false));
    all.back().near = 5e-4;
  }
}

std::vector<Case> cases() {
  const Basis identity = basis::Identity{}, relu = basis::Relu{}, rbf = basis::Rbf{};
  std::vector<Case> all;
  all.push_back(chain("mlp", 8, {16, 16, 1}, identity, relu, false, false));
  all.push_back(chain("mlp, odd widths", 12, {7, 13, 1}, identity, relu, false, false));
  all.push_back(chain("mlp, wide", 3, {70, 66, 1}, identity, relu, false, false));
  all.push_back(chain("linear", 4, {70, 66, 1}, identity, identity, false, false));
  all.push_back(chain("one layer", 5, {1}, identity, relu, false, false));
  all.push_back(chain("relu with norm and base", 4, {9, 5, 1}, identity, relu, true, true));
  all.push_back(chain("relu with base", 4, {9, 1}, relu, relu, false, true));
  for (int grids : {2, 3, 5, 8, 9, 70}) {
    const Basis other = basis::Rbf{grids, 0.25f * static_cast<float>(grids - 1)};
    all.push_back(chain("fastkan, " + std::to_string(grids) + " gaussians", 6, {11, 6, 1}, other,
                        other, true, true));
  }
  all.push_back(chain("fastkan, no first norm", 32, {32, 1}, rbf, rbf, true, true));
  all.back().spec.layers[0].norm = false;
  all.push_back(chain("fastkan, no base", 8, {16, 1}, rbf, rbf, true, false));
  all.push_back(chain("sigmoid output", 8, {16, 1}, identity, relu, false, false));
  all.back().spec.output = OutputActivation::sigmoid;
  all.push_back(chain("rectified output", 6, {11, 1}, rbf, rbf, true, true));
  all.back().spec.output = OutputActivation::relu;
  add_every_basis(all, std::make_index_sequence<std::variant_size_v<Basis>>{});
  for (auto& [label, layers] : test::layer_cases(4)) {
    ModelSpec spec;
    spec.layers = std::move(layers);
    all.push_back({label, spec, 5e-4});
  }
  return all;
}

std::vector<float> uniform(std::int64_t count, std::uint64_t seed, float low, float high) {
  std::vector<float> values(static_cast<std::size_t>(count));
  const Stream stream{seed, 11};
  for (std::size_t i = 0; i < values.size(); ++i)
    values[i] = low + (high - low) * unit_float(stream.words(i).v[0]);
  return values;
}

// A case with its parameters and a batch, and what plain loops in double make of them.
struct Example {
  ModelSpec spec;
  Layout layout;
  std::int64_t rows;
  std::vector<float> block, features, targets;
  std::vector<double> values, gradient, dfeatures;
  double loss = 0, squared_error = 0;

  Example(const Case& c, std::int64_t n, const Loss& measure, double scale)
      : spec(c.spec), layout(make_layout(spec)), rows(n) {
    const int in = spec.layers[0].in;
    block = draw_parameters(spec, {0.5, 0.1, 1.0, {}}, 3);
    const std::vector<float> shift = uniform(layout.size, 9, -0.15f, 0.15f);
    for (const Slice& slice : layout.slices)
      for (std::int64_t i = slice.offset; i < slice.offset + slice.size(); ++i)
        block[i] += shift[i];
    features = uniform(in * n, 5, -1, 1);
    targets = uniform(n, 6, 0, 1);
    gradient.resize(block.size());
    dfeatures.resize(features.size());
    values.resize(targets.size());
    const std::vector<double> parameters(block.begin(), block.end());
    for (std::int64_t i = 0; i < n; ++i) take(parameters, i, measure, scale);
  }

  void take(const std::vector<double>& parameters, std::int64_t row, const Loss& measure,
            double scale) {
    std::vector<std::vector<double>> x{{}};
    for (int i = 0; i < spec.layers[0].in; ++i) x[0].push_back(features[i * rows + row]);
    for (const Layer& layer : spec.layers) x.emplace_back(static_cast<std::size_t>(layer.out));
    const auto target_of = [&](std::size_t l) {
      return l + static_cast<std::size_t>(spec.layers[l].base_skip);
    };
    for (std::size_t l = 0; l < spec.layers.size(); ++l) {
      std::vector<double> v(x[l].size());
      layer_forward(spec.layers[l], spec.layers[target_of(l)].out,
                    bind<const double>(layout.layers[l], parameters.data()), x[l].data(), v.data(),
                    x[l + 1].data(), x[target_of(l) + 1].data());
    }
    const double y = x.back()[0], target = targets[row];
    const bool bent = spec.output == OutputActivation::sigmoid;
    const bool cut = spec.output == OutputActivation::relu;
    const double value = bent ? sigmoid(y) : cut ? max0(y) : y;
    values[row] = value;
    loss += std::visit([&](const auto& l) { return l.value(value, target); }, measure);
    squared_error += (value - target) * (value - target);
    const double slope = std::visit([&](const auto& l) { return l.slope(value, target); }, measure);
    std::vector<std::vector<double>> d(x);
    d.back() = {scale * slope * (bent ? value * (1 - value) : cut ? step0(value) : 1)};
    for (std::size_t l = spec.layers.size(); l-- > 0;)
      layer_backward(spec.layers[l], spec.layers[target_of(l)].out,
                     bind<const double>(layout.layers[l], parameters.data()), x[l].data(),
                     d[l + 1].data(), d[target_of(l) + 1].data(),
                     bind(layout.layers[l], gradient.data()), d[l].data());
    const std::vector<double>& dy = d[0];
    for (std::size_t i = 0; i < dy.size(); ++i) dfeatures[i * rows + row] = dy[i];
  }
};

// Length of the difference over the length of what is wanted.
template <class Want>
double relative(const Want* want, const float* got, std::int64_t count) {
  double length = 1e-30, off = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    length += want[i] * want[i];
    off += (want[i] - got[i]) * (want[i] - got[i]);
  }
  return std::sqrt(off / length);
}

// What the device makes of an example.
struct Trained {
  std::vector<float> gradient, dfeatures;
  std::vector<double> sums;
};

// The batch on the device; `gradient` starts at `start` everywhere.
struct Batch {
  DeviceArray<float> parameters, gradient, features, targets, dfeatures;
  DeviceArray<double> sums;
  std::int64_t rows;
  int in;

  Batch(const Example& e, float start)
      : parameters(upload(e.block)),
        gradient(upload(std::vector<float>(e.block.size(), start))),
        features(upload(e.features)),
        targets(upload(e.targets)),
        dfeatures(upload(std::vector<float>(e.features.size(), NAN))),
        sums(upload(std::vector<double>(2, NAN))),
        rows(e.rows),
        in(e.spec.layers[0].in) {}
  void train(GeneralDecoder& decoder, const Objective& objective, cudaStream_t stream = nullptr) {
    decoder.train(parameters.data(), gradient.data(), {features.data(), rows, in, rows},
                  {targets.data(), rows, 1, rows}, objective, {dfeatures.data(), rows, in, rows},
                  sums.data(), stream);
  }
  Trained result() const {
    checked(cudaDeviceSynchronize());
    return {download(gradient), download(dfeatures), download(sums)};
  }
};

void expect_agreement(const Example& e, const Trained& got, float start, double tolerance,
                      const std::string& where) {
  EXPECT_NEAR(got.sums[0], e.loss, tolerance * (1 + e.loss)) << where;
  EXPECT_NEAR(got.sums[1], e.squared_error, tolerance * (1 + e.squared_error)) << where;
  EXPECT_LT(relative(e.dfeatures.data(), got.dfeatures.data(), std::ssize(e.dfeatures)), tolerance)
      << where;
  for (const Slice& slice : e.layout.slices) {
    std::vector<float> gradient(got.gradient.begin() + slice.offset,
                                got.gradient.begin() + slice.offset + slice.size());
    for (float& g : gradient) g -= start;
    EXPECT_LT(relative(e.gradient.data() + slice.offset, gradient.data(), slice.size()), tolerance)
        << where << ", " << slice.name;
  }
}

// A budget for pieces of 64 rows.
std::size_t small_budget(const Example& e) {
  const GeneralDecoder decoder(e.spec, e.layout, Precision::fp32, GemmChoice::own);
  return 64 * decoder.bytes_per_row();
}

TEST(CudaGeneral, PredictsAsThePlainLoops) {
  for (const Case& c : cases())
    for (std::int64_t rows : {1, 33, 300}) {
      const Example e(c, rows, loss::Mse{}, 1);
      const Batch batch(e, 0);
      GeneralDecoder decoder(e.spec, e.layout, Precision::fp32, GemmChoice::own, small_budget(e));
      DeviceArray<float> values = upload(std::vector<float>(e.values.size(), NAN));
      decoder.predict(batch.parameters.data(), {batch.features.data(), rows, batch.in, rows},
                      {values.data(), rows, 1, rows}, nullptr);
      EXPECT_LT(relative(e.values.data(), download(values).data(), rows), c.near)
          << c.label << ", " << rows << " rows";
    }
}

TEST(CudaGeneral, TrainsAsThePlainLoops) {
  for (const Case& c : cases())
    for (std::int64_t rows : {1, 33, 300}) {
      const Loss loss = rows == 33 ? Loss{loss::L1{}} : Loss{loss::Mse{}};
      const Objective objective{loss, 1.0 / static_cast<double>(rows)};
      const Example e(c, rows, loss, objective.scale);
      Batch batch(e, 0);
      GeneralDecoder decoder(e.spec, e.layout, Precision::fp32, GemmChoice::own, small_budget(e));
      batch.train(decoder, objective);
      expect_agreement(e, batch.result(), 0, c.near,
                       c.label + ", " + std::to_string(rows) + " rows");
    }
}

TEST(CudaGeneral, AddsToTheGradientAndSetsTheSums) {
  const Example e(cases()[7], 40, loss::Mse{}, 1);
  Batch batch(e, 2);
  GeneralDecoder decoder(e.spec, e.layout, Precision::fp32, GemmChoice::own);
  batch.train(decoder, {loss::Mse{}, 1});
  expect_agreement(e, batch.result(), 2, 1e-5, "a gradient of 2");
  batch.rows = 0;
  batch.train(decoder, {loss::Mse{}, 1});
  EXPECT_EQ(batch.result().sums, (std::vector<double>{0, 0}));
}

TEST(CudaGeneral, TakesCublasForLargeLayersAndTf32) {
  ASSERT_EQ(why_no_cublas(), "");
  const Basis identity = basis::Identity{}, relu = basis::Relu{}, rbf = basis::Rbf{};
  for (const Case& c : {chain("mlp", 64, {48, 70, 1}, identity, relu, false, false),
                        chain("fastkan", 17, {33, 1}, rbf, rbf, true, true)})
    for (GemmChoice choice : {GemmChoice::automatic, GemmChoice::own, GemmChoice::cublas})
      for (Precision precision : {Precision::fp32, Precision::tf32}) {
        const Objective objective{loss::Mse{}, 0.01};
        const Example e(c, 100, objective.loss, objective.scale);
        Batch batch(e, 0);
        GeneralDecoder decoder(e.spec, e.layout, precision, choice);
        batch.train(decoder, objective);
        expect_agreement(e, batch.result(), 0, precision == Precision::tf32 ? 5e-3 : 1e-5,
                         c.label + " by choice " + std::to_string(static_cast<int>(choice)) +
                             " in " + name(precision));
      }
}

// A training call recorded into a graph.
class Recorded {
 public:
  Recorded(GeneralDecoder& decoder, Batch& batch, const Objective& objective) {
    checked(cudaStreamCreate(&stream_));
    checked(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal));
    batch.train(decoder, objective, stream_);
    checked(cudaStreamEndCapture(stream_, &graph_));
    checked(cudaGraphInstantiate(&run_, graph_));
  }
  ~Recorded() {
    cudaGraphExecDestroy(run_);
    cudaGraphDestroy(graph_);
    cudaStreamDestroy(stream_);
  }
  void launch() {
    checked(cudaGraphLaunch(run_, stream_));
    checked(cudaStreamSynchronize(stream_));
  }

 private:
  cudaStream_t stream_;
  cudaGraph_t graph_;
  cudaGraphExec_t run_;
};

void expect_same_bits(const Trained& a, const Trained& b, const std::string& where) {
  EXPECT_EQ(a.gradient, b.gradient) << where;
  EXPECT_EQ(a.dfeatures, b.dfeatures) << where;
  EXPECT_EQ(a.sums, b.sums) << where;
}

TEST(CudaGeneral, GivesTheSameBitsUnderAnyScheduleAndFromAGraph) {
  const Objective objective{loss::L1{}, 0.1};
  for (const Case& c : {cases()[2], cases()[13]}) {
    const Example e(c, 150, objective.loss, objective.scale);
    std::vector<Trained> runs;
    for (std::uint64_t seed : {1, 2, 3}) {
      emulator::set_schedule(seed);
      GeneralDecoder decoder(e.spec, e.layout, Precision::fp32, GemmChoice::own, small_budget(e));
      Batch warm(e, 0), batch(e, 0);
      warm.train(decoder, objective);
      const std::size_t before = emulator::allocations();
      Recorded(decoder, batch, objective).launch();
      EXPECT_EQ(emulator::allocations(), before);
      runs.push_back(warm.result());
      runs.push_back(batch.result());
    }
    emulator::reset();
    for (const Trained& other : runs) expect_same_bits(other, runs[0], c.label);
  }
}

TEST(CudaGeneral, KeepsWhatGraphsHoldWhenItsMemoryGrows) {
  const Objective objective{loss::Mse{}, 1};
  const Example few(cases()[7], 40, objective.loss, 1), many(cases()[7], 200, objective.loss, 1);
  GeneralDecoder decoder(few.spec, few.layout, Precision::fp32, GemmChoice::own);
  Batch warm(few, 0), batch(few, 0), large(many, 0);
  warm.train(decoder, objective);
  Recorded recorded(decoder, batch, objective);
  large.train(decoder, objective);
  recorded.launch();
  expect_same_bits(batch.result(), warm.result(), "after growth");
}

// To 10 bits of mantissa, ties away from zero.
float rounded(float x) {
  return std::bit_cast<float>((std::bit_cast<std::uint32_t>(x) + 0x1000u) & 0xffffe000u);
}

struct Sizes {
  std::int64_t m, n, k;
};

// The product by the device and by plain loops; `thin` products stay in float32.
void compare_products(const Sizes& s, bool left, bool right, Precision precision,
                      GemmChoice choice) {
  const std::vector<float> a = uniform(s.m * s.k, 1, -1, 1), b = uniform(s.n * s.k, 2, -1, 1);
  const std::vector<float> c = uniform(s.m * s.n, 3, -1, 1);
  const bool thin = right ? std::min(s.m, s.n) <= 4 : s.m <= 2 || s.k <= 4;
  const bool round = precision == Precision::tf32 && !(thin && choice == GemmChoice::own);
  const auto factor = [&](float x) { return static_cast<double>(round ? rounded(x) : x); };
  std::vector<double> want(c.begin(), c.end());
  for (std::int64_t i = 0; i < s.m; ++i)
    for (std::int64_t j = 0; j < s.n; ++j)
      for (std::int64_t k = 0; k < s.k; ++k)
        want[i * s.n + j] += factor(left ? a[k * s.m + i] : a[i * s.k + k]) *
                             factor(right ? b[j * s.k + k] : b[k * s.n + j]);
  const DeviceArray<float> at_a = upload(a), at_b = upload(b), at_c = upload(c);
  Gemm gemm(precision, choice);
  gemm.multiply({s.m,
                 s.n,
                 s.k,
                 {at_a.data(), left ? s.m : s.k, left},
                 {at_b.data(), right ? s.k : s.n, right},
                 at_c.data(),
                 s.n,
                 true},
                nullptr);
  EXPECT_LT(relative(want.data(), download(at_c).data(), s.m * s.n), 2e-6)
      << s.m << " x " << s.n << " x " << s.k << (left ? ", left transposed" : "")
      << (right ? ", right transposed" : "") << ", " << name(precision) << ", choice "
      << static_cast<int>(choice);
}

TEST(CudaGeneral, MultipliesMatricesOfAnyShape) {
  for (const Sizes& s : {Sizes{1, 300, 20}, Sizes{5, 70, 3}, Sizes{65, 130, 17}, Sizes{16, 64, 16},
                         Sizes{3, 9, 900}, Sizes{33, 31, 1100}, Sizes{1, 1, 1}})
    for (Precision precision : {Precision::fp32, Precision::tf32})
      for (GemmChoice choice : {GemmChoice::own, GemmChoice::cublas}) {
        compare_products(s, false, false, precision, choice);
        compare_products(s, true, false, precision, choice);
        compare_products(s, false, true, precision, choice);
      }
}

TEST(CudaGeneral, RefusesProductsItCannotTake) {
  EXPECT_THROW(Gemm(Precision::fp16), std::logic_error);
  Gemm gemm(Precision::fp32, GemmChoice::own);
  EXPECT_THROW(gemm.multiply({1, 1, 1, {nullptr, 1, true}, {nullptr, 1, true}}, nullptr),
               std::logic_error);
}

}  // namespace
}  // namespace kanbench::cuda
