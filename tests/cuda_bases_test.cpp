// The fused decoder of any bases against the plain loops in double: every basis, every place that a
// norm, an activation and a base branch can have, every width; and which models it takes.

#include <cmath>

#include "backend_cases.h"
#include "device_bench.h"
#include "kernels/fused.h"
#include "kernels/pair.h"
#include "reference.h"

namespace kanbench {
namespace {

using namespace test;

// Each basis at settings under which it varies as fast as its inputs do, as fp16 asks.
std::vector<Basis> bases() {
  using basis::Squash;
  using Kind = basis::WaveletKind;
  return {basis::Identity{},
          basis::Relu{},
          basis::Rbf{},
          basis::Rbf{12, 2},
          basis::LeakyRelu{0.2f},
          basis::Gelu{},
          basis::Silu{},
          basis::Tanh{},
          basis::Sine{3},
          basis::Gauss{},
          basis::Wire{3, 1},
          basis::Finer{1},
          basis::Snake{2},
          basis::Fkan{2},
          basis::Rswaf{},
          basis::BSpline{},
          basis::BSpline{4, 0, 1, true},
          basis::BSpline{4, 1, 2, true},
          basis::BSpline{3, 2, 2},
          basis::BSpline{4, 4, 2},
          basis::BSpline{3, 5, 2},
          basis::Chebyshev{},
          basis::Chebyshev{2, Squash::clamp},
          basis::Legendre{4},
          basis::Gram{},
          basis::Gram{4, Squash::tanh, false},
          basis::Jacobi{},
          basis::Bernstein{0},
          basis::Bernstein{1},
          basis::Bernstein{2},
          basis::Bernstein{},
          basis::Bernstein{4},
          basis::Bernstein{5},
          basis::Bernstein{6},
          basis::Bernstein{7},
          basis::ReluKan{3, 3},
          basis::Fourier{},
          basis::Wavelet{Kind::mexican_hat},
          basis::Wavelet{Kind::morlet},
          basis::Wavelet{Kind::dog},
          basis::Wavelet{Kind::meyer},
          basis::Wavelet{Kind::shannon},
          basis::Rational{}};
}

ModelSpec make_spec(std::vector<Layer> layers, int neurons) {
  ModelSpec spec;
  spec.encoder = encoder::HashGrid{3, 2, 7, 4, 1.7};
  int in = width(spec.encoder);
  for (std::size_t l = 0; l < layers.size(); ++l) {
    layers[l].in = in;
    in = layers[l].out = l + 1 < layers.size() ? neurons : 1;
  }
  spec.layers = std::move(layers);
  return spec;
}

// A KAN: norm before all layers but the first, a base branch of SiLU before it.
ModelSpec make_kan(const Layer& like, int neurons, int hidden = 2) {
  std::vector<Layer> layers(static_cast<std::size_t>(hidden) + 1, like);
  layers[0].norm = false;
  return make_spec(layers, neurons);
}
ModelSpec make_kan(const Basis& basis, int neurons) {
  Layer layer;
  layer.basis = basis;
  layer.base = layer.bias = layer.norm = true;
  return make_kan(layer, neurons);
}

// An MLP: the first layer takes its inputs as they are, and neurons are as many as you like.
ModelSpec make_mlp(const Basis& basis, int neurons) {
  std::vector<Layer> layers(3);
  for (Layer& layer : layers) {
    layer.basis = basis;
    layer.bias = true;
  }
  layers[0].basis = basis::Identity{};
  return make_spec(layers, neurons);
}

bool is_planned(const ModelSpec& spec, Precision precision = Precision::fp16) {
  return cuda::plan_fused(spec, make_layout(spec), precision).has_value();
}

double length(const std::vector<double>& numbers, std::size_t from, std::size_t to) {
  double sum = 0;
  for (std::size_t i = from; i < to; ++i) sum += numbers[i] * numbers[i];
  return std::sqrt(sum);
}

void expect_gradient(const Model& model, const std::vector<double>& want,
                     const std::vector<float>& got, const std::string& label) {
  const double all = length(want, 0, want.size());
  for (const Slice& slice : model.layout().slices) {
    const auto from = static_cast<std::size_t>(slice.offset);
    const auto to = from + static_cast<std::size_t>(slice.size());
    std::vector<double> off(want);
    for (std::size_t i = from; i < to; ++i) off[i] -= got[i];
    EXPECT_LT(length(off, from, to), 0.02 * length(want, from, to) + 2e-3 * all)
        << label << ", " << slice.name;
  }
}

void check(const ModelSpec& spec, const std::string& label, std::int64_t rows = 37) {
  ASSERT_TRUE(is_planned(spec)) << label;
  const auto device = open_cuda(0, {});
  const std::vector<float> block = block_of(spec, 4);
  Reference reference(spec, block);
  Model model(*device, spec, Precision::fp16);
  model.upload(block);
  model.train();
  const Batch batch(rows, 6);
  const Placed placed(*device, batch);
  Buffer<float> out(*device, rows);
  device->predict(model, placed.point_rows(), {out.data(), rows, 1, rows});
  const std::vector<float> values = download(out, *device);
  const double scale = 1.0 / static_cast<double>(rows);
  const BatchSums sums =
      device->gradient(model, placed.point_rows(), placed.target_rows(), {loss::Mse{}, scale});
  double total = 0;
  for (std::int64_t i = 0; i < rows; ++i) {
    double p[3], dp[3];
    batch.point(i, p);
    const double value = reference.predict(p);
    EXPECT_NEAR(values[i], value, 4e-3 * (1 + std::abs(value))) << label << ", row " << i;
    total += reference.differentiate(p, batch.targets[i], loss::Mse{}, scale, dp);
  }
  EXPECT_TRUE(sums.finite) << label;
  EXPECT_NEAR(sums.loss, total, 1e-2 * total) << label;
  expect_gradient(model, reference.gradient, download(model.gradient(), *device), label);
}

TEST(Pair, ElementaryFunctionsAreThoseOfDouble) {
  for (double x = -60; x <= 60; x += 0.0371) {
    const cuda::Pair pair(static_cast<float>(x), static_cast<float>(-0.5 * x));
    const auto near = [x](cuda::Pair got, double a, double b) {
      EXPECT_NEAR(got.a, a, 3e-6 * (1 + std::abs(a))) << x;
      EXPECT_NEAR(got.b, b, 3e-6 * (1 + std::abs(b))) << x;
    };
    const double a = pair.a, b = pair.b;
    near(exp(pair * cuda::Pair(0.1f)), std::exp(0.1f * pair.a), std::exp(0.1f * pair.b));
    near(tanh(pair), std::tanh(a), std::tanh(b));
    near(normal_cdf(pair), 0.5 * std::erfc(-std::sqrt(0.5) * a),
         0.5 * std::erfc(-std::sqrt(0.5) * b));
    near(floor(pair), std::floor(a), std::floor(b));
    near(cuda::Pair(1) / (pair + cuda::Pair(0.01f)), 1 / (pair.a + 0.01f), 1 / (pair.b + 0.01f));
    near(silu(pair), a / (1 + std::exp(-a)), b / (1 + std::exp(-b)));
    cuda::Pair sine, cosine;
    sin_cos(pair, sine, cosine);
    near(sine, std::sin(a), std::sin(b));
    near(cosine, std::cos(a), std::cos(b));
    // Twenty thousand turns away, as far as float32 knows where that is.
    sin_cos(pair + cuda::Pair(131072), sine, cosine);
    const double far = pair.a + 131072.0f;
    EXPECT_NEAR(sine.a, std::sin(far), 1e-5) << x;
    EXPECT_NEAR(cosine.a, std::cos(far), 1e-5) << x;
  }
}

// Numbers that are none, or beyond all others, are not hidden.
TEST(Pair, KeepsWhatIsNotFinite) {
  const float none = std::numeric_limits<float>::quiet_NaN(), most = 3e38f;
  for (const cuda::Pair y : {exp(cuda::Pair(none)), tanh(cuda::Pair(none)), silu(cuda::Pair(none)),
                             normal_cdf(cuda::Pair(none)), floor(cuda::Pair(none)),
                             hold(cuda::Pair(none), cuda::Pair(-1), cuda::Pair(1))})
    EXPECT_TRUE(std::isnan(y.a) && std::isnan(y.b));
  const cuda::Pair far(most, -most);
  EXPECT_EQ(tanh(far).a, 1);
  EXPECT_EQ(tanh(far).b, -1);
  EXPECT_EQ(normal_cdf(far).a, 1);
  EXPECT_EQ(normal_cdf(far).b, 0);
  EXPECT_EQ(sigmoid(far).a, 1);
  EXPECT_EQ(sigmoid(far).b, 0);
}

TEST(FusedBases, EveryBasisAgreesWithThePlainLoops) {
  int number = 0;
  for (const Basis& basis : bases()) {
    const std::string label = "number " + std::to_string(number++) + ", " + name(basis);
    check(make_kan(basis, 16), label + ", kan");
    check(make_mlp(basis, 13), label + ", mlp");
  }
}

TEST(FusedBases, ActivationsAndBaseBranchesHaveTheirPlaces) {
  for (const Activation activation : {Activation::none, Activation::silu, Activation::gelu})
    for (const Activation base : {Activation::none, Activation::silu, Activation::gelu})
      for (const bool normalised : {false, true})
        for (const bool norm : {false, true}) {
          Layer layer;
          layer.basis = basis::Chebyshev{2};
          layer.activation = activation;
          layer.base = true;
          layer.base_activation = base;
          layer.base_normalised = normalised;
          layer.norm = norm;
          check(make_kan(layer, 16, 1),
                std::string("activation ") + std::to_string(static_cast<int>(activation)) +
                    ", base " + std::to_string(static_cast<int>(base)) +
                    (normalised ? " behind" : " before") + (norm ? ", norm" : ""),
                16);
        }
}

TEST(FusedBases, EveryWidthAndDepth) {
  for (const int neurons : {32, 64}) {
    check(make_kan(basis::BSpline{}, neurons), "kan of " + std::to_string(neurons));
    check(make_mlp(basis::Gelu{}, neurons - 3), "mlp of " + std::to_string(neurons - 3));
  }
  Layer layer;
  layer.basis = basis::Legendre{2};
  layer.norm = true;
  check(make_kan(layer, 16, 8), "eight layers");
}

void check_learned(Inner inner, const std::vector<Basis>& learning) {
  const std::string label = inner == Inner::layer ? "learned " : "learned by input, ";
  for (const Basis& basis : learning) {
    Layer layer;
    layer.basis = basis;
    layer.inner = inner;
    layer.base = layer.norm = true;
    layer.activation = Activation::silu;
    check(make_kan(layer, 16), label + name(basis));
    layer.norm = layer.base = false;
    layer.activation = Activation::none;
    check(make_kan(layer, 29, 1), label + name(basis) + ", alone");
  }
}

TEST(FusedBases, InnerParametersAreLearned) {
  check_learned(Inner::layer, {basis::Gram{}, basis::Gram{4, basis::Squash::clamp, false},
                               basis::Rational{3, 3}, basis::Snake{2}});
  check_learned(Inner::input, {basis::ReluKan{}, basis::ReluKan{7, 5}, basis::Rbf{5, 1},
                               basis::Rswaf{}, basis::Rational{}, basis::Snake{2}});
}

TEST(FusedBases, Trains) {
  Layer layer;
  layer.basis = basis::Gram{};
  layer.inner = Inner::layer;
  layer.base = layer.norm = true;
  Bench bench(make_kan(layer, 16), Precision::fp16);
  const double before = bench.train(1).back().loss;
  EXPECT_LT(bench.train(40).back().loss, 0.7 * before);
}

// A block goes from rows to rows, adding to its partial sums.
TEST(FusedBases, ManyRows) { check(make_kan(basis::Chebyshev{}, 16), "many rows", 1100); }

// Weights that a block has no room for come round by round.
TEST(FusedBases, WeightsThatDoNotFit) {
  Layer layer;
  layer.basis = basis::Rswaf{};
  layer.base = layer.base_normalised = layer.norm = true;
  const ModelSpec spec = make_kan(layer, 64, 4);
  const auto plan = cuda::plan_fused(spec, make_layout(spec), Precision::fp16);
  ASSERT_TRUE(plan);
  EXPECT_FALSE(cuda::shape_fused(*plan, cuda::FusedMode::train, 0, 232448).resident);
  check(spec, "weights that do not fit", 19);
  // Rounds of several chunks, the last of the first layer's not whole.
  ModelSpec mlp = make_mlp(basis::Silu{}, 60);
  mlp.encoder = encoder::HashGrid{13, 8, 6, 3, 1.2};
  mlp.layers[0].in = width(mlp.encoder);
  check(mlp, "a round that is not whole", 19);
}

TEST(FusedBases, BlocksFitTheirDevices) {
  for (const Basis& basis : bases())
    for (const int neurons : {16, 32, 64})
      for (const bool kan : {false, true}) {
        const ModelSpec spec = kan ? make_kan(basis, neurons) : make_mlp(basis, neurons);
        const auto plan = cuda::plan_fused(spec, make_layout(spec), Precision::fp16);
        ASSERT_TRUE(plan) << name(basis);
        for (const std::int64_t shared : {166912, 232448})
          for (const cuda::FusedMode mode : {cuda::FusedMode::predict, cuda::FusedMode::train}) {
            const cuda::FusedShape shape = cuda::shape_fused(*plan, mode, 4, shared);
            EXPECT_GE(shape.warps, 4) << name(basis) << " " << neurons;
            EXPECT_LE(shape.bytes, shared);
          }
      }
}

// The general decoder takes these.
TEST(FusedBases, RefuseWhatTheKernelsCannotDo) {
  const auto changed = [](auto&& change, int neurons = 16) {
    ModelSpec spec = make_kan(basis::Chebyshev{}, neurons);
    for (Layer& layer : spec.layers) change(layer);
    return spec;
  };
  EXPECT_TRUE(is_planned(changed([](Layer&) {})));
  EXPECT_TRUE(is_planned(changed([](Layer& layer) { layer.norm = false; }, 20)));
  EXPECT_TRUE(is_planned(changed([](Layer& layer) { layer.basis = basis::Chebyshev{11}; })));
  EXPECT_FALSE(is_planned(changed([](Layer& layer) { layer.basis = basis::Chebyshev{12}; })));
  EXPECT_FALSE(is_planned(changed([](Layer& layer) { layer.basis = basis::Bernstein{8}; })));
  EXPECT_FALSE(is_planned(changed([](Layer&) {}, 20)));
  EXPECT_FALSE(is_planned(changed([](Layer&) {}, 128)));
  EXPECT_FALSE(is_planned(changed([](Layer& layer) { layer.norm = true; })));
  EXPECT_FALSE(is_planned(changed([](Layer& layer) { layer.activation = Activation::prelu; })));
  const auto learned = [&](const Basis& basis, Inner inner) {
    return is_planned(changed([&](Layer& layer) {
      layer.basis = basis;
      layer.inner = inner;
    }));
  };
  EXPECT_TRUE(learned(basis::Rational{}, Inner::layer));
  EXPECT_TRUE(learned(basis::Rational{}, Inner::input));
  EXPECT_FALSE(learned(basis::Gram{}, Inner::input));
  EXPECT_FALSE(learned(basis::Rational{3, 11}, Inner::fixed));
  EXPECT_FALSE(learned(basis::Rbf{}, Inner::layer));
  EXPECT_FALSE(is_planned(changed([](Layer& layer) {
    layer.basis = basis::Sine{};
    layer.edges = true;
  })));
  ModelSpec skipping = make_kan(basis::Chebyshev{}, 16);
  skipping.layers[0].base_skip = 1;
  EXPECT_FALSE(is_planned(skipping));
  for (const Precision precision : {Precision::fp32, Precision::tf32, Precision::bf16})
    EXPECT_FALSE(is_planned(changed([](Layer&) {}), precision));
}

}  // namespace
}  // namespace kanbench
