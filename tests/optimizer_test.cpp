// Optimizers against golden steps, alone and in the backends' passes over a block.

#include "kanbench/math/optimizer.h"

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "backend_cases.h"

namespace kanbench {
namespace {

using namespace test;
using json = nlohmann::json;

json golden() {
  std::ifstream file(std::string(KANBENCH_SOURCE_DIR) + "/tests/golden/optimizers.json");
  return json::parse(file);
}

Optimizer optimizer_of(const json& of) {
  const json& o = of["options"];
  const auto number = [&](const char* key) { return o[key].get<float>(); };
  const std::string name = of["optimizer"];
  if (name == "adam") return Adam{{}, number("beta1"), number("beta2"), number("epsilon")};
  if (name == "adamw")
    return AdamW{{}, number("beta1"), number("beta2"), number("epsilon"), number("weight_decay")};
  if (name == "lion") return Lion{{}, number("beta1"), number("beta2"), number("weight_decay")};
  return Sgd{{}, number("momentum"), o["nesterov"].get<bool>()};
}

TEST(Optimizer, TakesTheGoldenSteps) {
  const json file = golden();
  for (const json& of : file["cases"]) {
    const Optimizer optimizer = optimizer_of(of);
    EXPECT_EQ(name(optimizer), of["optimizer"].get<std::string>());
    for (std::size_t i = 0; i < file["start"].size(); ++i) {
      double w = file["start"][i], m = 0, v = 0;
      for (int t = 1; t <= 10; ++t) {
        const UpdateStep step = step_of(optimizer, file["rate"], t);
        visit_optimizer(step.kind, [&]<class O>(const O&) {
          O::apply(step, file["gradients"][t - 1][i].get<double>(), w, m, v);
        });
        // Coefficients are float32.
        ASSERT_NEAR(w, of["parameters"][t - 1][i].get<double>(), 3e-7) << of["options"] << t;
      }
    }
  }
}

// A model of two levels and a decoder, with a gradient of its own making.
struct Bench {
  ModelSpec spec;
  Model model;
  std::vector<float> start;

  static ModelSpec make_spec() {
    ModelSpec spec;
    spec.encoder = encoder::HashGrid{2, 2, 6, 4, 1.7};
    spec.layers = {{4, 5, basis::Identity{}}, {5, 1, basis::Relu{}}};
    return spec;
  }
  explicit Bench(Backend& backend) : spec(make_spec()), model(backend, spec) {
    start = block_of(spec, 3);
    model.upload(start);
    model.train();
  }
  // Some of which is zero, as of rows that nobody touched.
  std::vector<float> gradient(int t) const {
    std::vector<float> g(start.size());
    const Stream stream{5, static_cast<std::uint64_t>(t)};
    for (const Slice& slice : model.layout().slices)
      for (std::int64_t i = slice.offset; i < slice.offset + slice.size(); ++i) {
        const Words4 words = stream.words(static_cast<std::uint64_t>(i));
        g[i] = words.v[1] % 3 ? unit_float(words.v[0]) - 0.5f : 0.0f;
      }
    return g;
  }
  void set_gradient(const std::vector<float>& g) {
    model.backend().upload(model.gradient().data(), g.data(), model.gradient().bytes());
    model.backend().gradient_changed(model);
  }
};

// What the formulas make of the same gradients, in double.
std::vector<double> expected(const Bench& bench, const Optimizer& optimizer, int steps,
                             double clip = 1) {
  std::vector<double> w(bench.start.begin(), bench.start.end()), m(w.size()), v(w.size());
  const UpdateRule& rule = rule_of(optimizer);
  for (int t = 1; t <= steps; ++t) {
    const std::vector<float> g = bench.gradient(t);
    for (std::size_t i = 0; i < w.size(); ++i) {
      const bool encoder = static_cast<std::int64_t>(i) < bench.model.layout().decoder_begin;
      if (encoder && rule.skip_untouched && g[i] == 0) continue;
      const UpdateStep step =
          step_of(optimizer, encoder ? rule.encoder_rate : rule.decoder_rate, t);
      visit_optimizer(step.kind, [&]<class O>(const O&) {
        O::apply(step, clip * static_cast<double>(g[i]), w[i], m[i], v[i]);
      });
    }
  }
  return w;
}

std::vector<Optimizer> optimizers() {
  std::vector<Optimizer> all{Adam{}, AdamW{}, Lion{{}, 0.9f, 0.99f, 0.1f}, Sgd{},
                             Sgd{{}, 0.9f, true}};
  for (Optimizer& optimizer : all) {
    rule_of(optimizer).encoder_rate = 1e-2f;
    rule_of(optimizer).decoder_rate = 2e-3f;
  }
  return all;
}

void expect_near(const std::vector<float>& got, const std::vector<double>& want,
                 const std::string& where) {
  for (std::size_t i = 0; i < want.size(); ++i)
    ASSERT_NEAR(got[i], want[i], 1e-6) << where << " " << i;
}

TEST(Optimizer, GoesOverABlockAsOverEachParameter) {
  for (const auto& backend : all_backends())
    for (Optimizer optimizer : optimizers())
      for (bool skip : {true, false}) {
        rule_of(optimizer).skip_untouched = skip;
        Bench bench(*backend);
        for (int t = 1; t <= 3; ++t) {
          bench.set_gradient(bench.gradient(t));
          EXPECT_TRUE(backend->update(bench.model, optimizer, t));
        }
        expect_near(bench.model.download(), expected(bench, optimizer, 3),
                    backend->name() + ", " + name(optimizer));
        EXPECT_EQ(download(bench.model.gradient(), *backend),
                  std::vector<float>(bench.start.size(), 0.0f));
      }
}

TEST(Optimizer, ReportsAGradientThatIsNotFinite) {
  for (const auto& backend : all_backends())
    for (Optimizer optimizer : optimizers())
      for (float largest : {0.0f, 1.0f}) {
        rule_of(optimizer).largest_norm = largest;
        Bench bench(*backend);
        std::vector<float> g = bench.gradient(1);
        g[bench.model.layout().layers[0].weight] = -std::numeric_limits<float>::infinity();
        bench.set_gradient(g);
        EXPECT_FALSE(backend->update(bench.model, optimizer, 1)) << name(optimizer);
      }
}

double norm_of(const std::vector<float>& g) {
  double square = 0;
  for (const float x : g) square += static_cast<double>(x) * static_cast<double>(x);
  return std::sqrt(square);
}

// Plain steps, so that a clipped gradient shows.
TEST(Clipping, ScalesAGradientDownToItsLargestNorm) {
  for (const auto& backend : all_backends())
    for (double share : {0.25, 4.0}) {
      Bench bench(*backend);
      const std::vector<float> g = bench.gradient(1);
      const double norm = norm_of(g);
      Sgd sgd;
      sgd.encoder_rate = sgd.decoder_rate = 1;
      sgd.largest_norm = static_cast<float>(share * norm);
      bench.set_gradient(g);
      EXPECT_NEAR(backend->squared_norm(bench.model), norm * norm, 1e-12 * norm * norm);
      EXPECT_TRUE(backend->update(bench.model, sgd, 1));
      expect_near(bench.model.download(), expected(bench, sgd, 1, std::min(1.0, share)),
                  backend->name());
    }
}

TEST(Clipping, OfAStepIsThatOfItsGradient) {
  for (const auto& backend : all_backends()) {
    Bench together(*backend), apart(*backend);
    const Placed placed(*backend, Batch(40, 4));
    Adam adam;
    adam.largest_norm = 1e-4f;
    const Objective objective{loss::Mse{}, 1.0 / 40, {}};
    EXPECT_TRUE(
        backend->step(together.model, placed.point_rows(), placed.target_rows(), objective, adam, 1)
            .finite);
    backend->gradient(apart.model, placed.point_rows(), placed.target_rows(), objective);
    const double square = backend->squared_norm(apart.model);
    EXPECT_GT(square, 1e-8);
    adam.largest_norm = 0;
    adam.gradient_scale = clip_factor(square, 1e-4f);
    EXPECT_TRUE(backend->update(apart.model, adam, 1));
    EXPECT_EQ(together.model.download(), apart.model.download()) << backend->name();
  }
}

}  // namespace
}  // namespace kanbench
