// What each family of bases is known for: sums of one, orthogonality, symmetries, supports.

#include <numbers>
#include <numeric>

#include "bases_support.h"

namespace kanbench::test {
namespace {

constexpr double kPi = std::numbers::pi;
constexpr double kTolerance = 1e-6;

using Squash = basis::Squash;

double sum_of(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0);
}

void expect_sum_of_one(const auto& basis, double x, const std::string& what) {
  double slope = 0;
  for (const Dual<double>& phi : values_of(basis, Dual<double>(x, 1.0))) {
    EXPECT_GE(phi.v, 0) << what << " at " << x;
    slope += phi.d;
  }
  EXPECT_NEAR(sum_of(values_of(basis, x)), 1, kTolerance) << what << " at " << x;
  EXPECT_NEAR(slope, 0, 1e-5) << what << " at " << x;
}

std::vector<double> evenly(int count, double low, double high) {
  std::vector<double> points;
  for (int i = 0; i <= count; ++i) points.push_back(low + (high - low) * i / count);
  return points;
}

basis::BSpline splines(int grid, int order, bool clamped, float radius = 1) {
  return {.grid = grid, .order = order, .grid_radius = radius, .clamped = clamped};
}

TEST(BSplines, SumToOneOnTheirRangeAndClampedEverywhere) {
  for (int order = 0; order <= 5; ++order)
    for (int grid : {1, 2, 5, 8}) {
      const std::string what = "order " + std::to_string(order) + " grid " + std::to_string(grid);
      for (double x : evenly(97, -1.5, 1.499))
        expect_sum_of_one(splines(grid, order, false, 1.5f), x, what);
      for (double x : evenly(97, -3, 3))
        expect_sum_of_one(splines(grid, order, true, 1.5f), x, what + " clamped");
      for (double x : {-1e4, 1e4}) expect_sum_of_one(splines(grid, order, true), x, what);
    }
}

TEST(BSplines, AreLocal) {
  for (int order = 0; order <= 5; ++order)
    for (bool clamped : {false, true}) {
      const basis::BSpline basis = splines(4, order, clamped);
      for (double x : evenly(400, -4, 4)) {
        int alive = 0, k = 0;
        for (double phi : values_of(basis, x)) {
          const double low = -1 + (k++ - order) * 0.5, high = low + (order + 1) * 0.5;
          alive += phi != 0;
          if (clamped) continue;
          EXPECT_EQ(phi != 0, (order ? x > low : x >= low) && x < high) << k - 1 << " at " << x;
        }
        EXPECT_LE(alive, order + 1) << x;
      }
    }
}

TEST(BSplines, ClampedHoldTheirEndsOutside) {
  for (int order = 0; order <= 5; ++order) {
    const basis::BSpline basis = splines(5, order, true);
    for (double x : {-1.0, -1.25, -1e4, 1.0, 1.25, 1e4}) {
      const auto phi = values_of(basis, Dual<double>(x, 1.0));
      for (int k = 0; k < basis.size(); ++k) {
        EXPECT_NEAR(phi[k].v, k == (x < 0 ? 0 : basis.size() - 1), kTolerance) << x;
        EXPECT_TRUE(std::abs(x) == 1 || phi[k].d == 0) << x;
      }
    }
  }
}

// With the averages of its inner knots as coefficients a spline is the identity (Greville, 1967).
TEST(BSplines, ReproduceTheIdentity) {
  for (int order = 1; order <= 5; ++order)
    for (bool clamped : {false, true}) {
      const basis::BSpline basis = splines(4, order, clamped);
      for (double x : evenly(60, -1, 1)) {
        double sum = 0;
        basis.eval(x, [&](int k, double phi) {
          double greville = 0;
          for (int i = k + 1; i <= k + order; ++i) {
            const double knot = -1 + (i - order) * 0.5;
            greville += (clamped ? std::clamp(knot, -1.0, 1.0) : knot) / order;
          }
          sum += greville * phi;
        });
        EXPECT_NEAR(sum, x, kTolerance) << order << clamped;
      }
    }
}

TEST(Bernstein, SumsToOneAndReproducesItsArgument) {
  for (int degree : {1, 2, 3, 7}) {
    const basis::Bernstein basis{degree};
    for (double x : evenly(40, -6, 6)) {
      expect_sum_of_one(basis, x, "Bernstein");
      double mean = 0;
      basis.eval(x, [&](int k, double phi) { mean += phi * k / degree; });
      EXPECT_NEAR(mean, 1 / (1 + std::exp(-x)), 1e-12);
    }
  }
}

struct Rule {
  std::vector<double> nodes, weights;
};

// Gauss and Legendre's rule, nodes by Newton's method: exact up to degree 2 count - 1.
Rule gauss_legendre(int count) {
  Rule rule;
  for (int i = 0; i < count; ++i) {
    double x = std::cos(kPi * (i + 0.75) / (count + 0.5)), slope = 1;
    for (int step = 0; step < 50; ++step) {
      const double p = std::legendre(count, x);
      slope = count * (std::legendre(count - 1, x) - x * p) / (1 - x * x);
      x -= p / slope;
    }
    rule.nodes.push_back(x);
    rule.weights.push_back(2 / ((1 - x * x) * slope * slope));
  }
  return rule;
}

// Gauss and Chebyshev's, for the weight (1 - x^2)^(-1/2).
Rule gauss_chebyshev(int count) {
  Rule rule;
  for (int i = 0; i < count; ++i) {
    rule.nodes.push_back(std::cos(kPi * (i + 0.5) / count));
    rule.weights.push_back(kPi / count);
  }
  return rule;
}

// sum_i w_i weight(x_i) phi_m(x_i) phi_n(x_i) is norm(n) where m = n, else zero.
template <class B>
void expect_orthogonal(const B& basis, const Rule& rule, auto weight, auto norm) {
  const int n = basis.size();
  std::vector<double> products(static_cast<std::size_t>(n) * n);
  for (std::size_t i = 0; i < rule.nodes.size(); ++i) {
    const std::vector<double> phi = values_of(basis, rule.nodes[i]);
    for (int a = 0; a < n; ++a)
      for (int b = 0; b < n; ++b)
        products[a * n + b] += rule.weights[i] * weight(rule.nodes[i]) * phi[a] * phi[b];
  }
  for (int a = 0; a < n; ++a)
    for (int b = 0; b < n; ++b)
      EXPECT_NEAR(products[a * n + b], a == b ? norm(a) : 0, 3e-6) << B::name << a << b;
}

double one(double) { return 1; }

TEST(Legendre, IsOrthogonal) {
  expect_orthogonal(basis::Legendre{6, Squash::clamp}, gauss_legendre(12), one,
                    [](int n) { return 2.0 / (2 * n + 1); });
}

TEST(Chebyshev, IsOrthogonal) {
  expect_orthogonal(basis::Chebyshev{6, Squash::clamp}, gauss_chebyshev(12), one,
                    [](int n) { return n == 0 ? kPi : kPi / 2; });
}

TEST(Jacobi, IsOrthogonal) {
  const auto gamma = [](double z) { return std::tgamma(z); };
  for (const auto& [alpha, beta] : {std::pair{1, 1}, {0, 2}, {3, 1}}) {
    const double a = alpha, b = beta;
    expect_orthogonal(
        basis::Jacobi{5, static_cast<float>(a), static_cast<float>(b), Squash::clamp},
        gauss_legendre(12), [&](double u) { return std::pow(1 - u, a) * std::pow(1 + u, b); },
        [&](int n) {
          return std::exp2(a + b + 1) / (2 * n + a + b + 1) * gamma(n + a + 1) * gamma(n + b + 1) /
                 (gamma(n + 1) * gamma(n + a + b + 1));
        });
  }
}

// Jacobi's with alpha = beta = -1/2 are Chebyshev's, each by a factor.
TEST(Jacobi, HoldsChebyshev) {
  const basis::Jacobi jacobi{6, -0.5f, -0.5f, Squash::tanh};
  const basis::Chebyshev chebyshev{6, Squash::tanh};
  const std::vector<double> at_one = values_of(basis::Jacobi{6, -0.5f, -0.5f, Squash::clamp}, 1.0);
  for (double x : evenly(30, -3, 3)) {
    const auto ours = values_of(jacobi, x), theirs = values_of(chebyshev, x);
    for (int n = 0; n <= 6; ++n) EXPECT_NEAR(ours[n] / at_one[n], theirs[n], 1e-5);
  }
}

TEST(Polynomials, AreSquashed) {
  for (double x : {-1e4, -2.5, -0.3, 0.0, 0.8, 40.0}) {
    EXPECT_NEAR(values_of(basis::Legendre{3, Squash::tanh}, x)[1], std::tanh(x), 1e-12);
    EXPECT_EQ(values_of(basis::Legendre{3, Squash::clamp}, x)[1], std::clamp(x, -1.0, 1.0));
  }
}

// With beta_i = q^2 / (4 q^2 - 1) the recurrence is that of Legendre's monic polynomials.
TEST(Gram, HoldsLegendre) {
  const basis::Gram gram{6, Squash::clamp, false};
  const auto weights = [](int p) {
    const double q = p + 1, i = q + 1, root = 4 * q * q - 1;
    return i * i / ((i * i - q * q) * root * root);
  };
  const auto norm = [](int n) {
    double lead = 1;
    for (int q = 1; q <= n; ++q) lead *= (2.0 * q - 1) / q;
    return 2.0 / ((2 * n + 1) * lead * lead);
  };
  const Rule rule = gauss_legendre(12);
  std::vector<std::vector<double>> phi;
  for (double u : rule.nodes) phi.push_back(values_of(gram, u, weights));
  for (int a = 0; a <= 6; ++a)
    for (int b = 0; b <= 6; ++b) {
      double product = 0;
      for (std::size_t i = 0; i < phi.size(); ++i)
        product += rule.weights[i] * phi[i][a] * phi[i][b];
      EXPECT_NEAR(product, a == b ? norm(a) : 0, 1e-6) << a << b;
    }
}

TEST(Rbf, IsOneAtItsCentres) {
  const basis::Rbf rbf{8, 1.5f};
  for (int centre = 0; centre < 8; ++centre)
    rbf.eval(-1.5 + centre * 3.0 / 7, [&](int k, double phi) {
      EXPECT_NEAR(phi, std::exp(-(k - centre) * (k - centre)), kTolerance);
    });
}

TEST(Rswaf, IsOneAtItsCentresAndEven) {
  const basis::Rswaf rswaf{8, -1, 2.5f, 3};
  for (int centre = 0; centre < 8; ++centre) {
    const double at = -1 + centre * 0.5;
    EXPECT_NEAR(values_of(rswaf, at)[centre], 1, kTolerance);
    EXPECT_NEAR(values_of(rswaf, Dual<double>(at, 1.0))[centre].d, 0, 1e-5);
    for (double off : {0.1, 0.7, 4.0})
      EXPECT_NEAR(values_of(rswaf, at - off)[centre], values_of(rswaf, at + off)[centre], 1e-5);
  }
}

TEST(ReluKan, PeaksAtOneWithinATightSupport) {
  for (const basis::ReluKan& basis : {basis::ReluKan{5, 3}, {1, 1}, {4, 2}})
    for (int j = 0; j < basis.size(); ++j) {
      const double low = static_cast<double>(j - basis.span) / basis.grid;
      const double high = static_cast<double>(j + 1) / basis.grid;
      const double middle = (low + high) / 2;
      EXPECT_NEAR(values_of(basis, middle)[j], 1, kTolerance);
      EXPECT_NEAR(values_of(basis, Dual<double>(middle, 1.0))[j].d, 0, 1e-5);
      EXPECT_GT(values_of(basis, low + 1e-3)[j], 0);
      EXPECT_GT(values_of(basis, high - 1e-3)[j], 0);
      for (double x : {low - 1e-6, high + 1e-6, -1e4, 1e4}) {
        const Dual<double> phi = values_of(basis, Dual<double>(x, 1.0))[j];
        EXPECT_EQ(phi.v, 0) << x;
        EXPECT_EQ(phi.d, 0) << x;
      }
    }
}

TEST(Fourier, IsOrthogonalOverAPeriod) {
  Rule rule;
  for (int i = 0; i < 32; ++i) {
    rule.nodes.push_back(2 * kPi * i / 32);
    rule.weights.push_back(2 * kPi / 32);
  }
  expect_orthogonal(basis::Fourier{7}, rule, one, [](int) { return kPi; });
}

// Their derivatives fall as the function itself does, so that sums at even steps are exact.
double integral(basis::WaveletKind kind, int power) {
  double sum = 0;
  for (double x : evenly(2000, -20, 20))
    sum += std::pow(values_of(basis::Wavelet{kind}, x)[0], power);
  return sum * 0.02;
}

TEST(Wavelets, HaveTheirMoments) {
  using Kind = basis::WaveletKind;
  EXPECT_NEAR(integral(Kind::mexican_hat, 1), 0, kTolerance);
  EXPECT_NEAR(integral(Kind::mexican_hat, 2), 1, kTolerance);
  EXPECT_NEAR(integral(Kind::dog, 1), 0, kTolerance);
  EXPECT_NEAR(integral(Kind::dog, 2), std::sqrt(kPi) / 2, kTolerance);
  EXPECT_NEAR(integral(Kind::morlet, 1), std::sqrt(2 * kPi) * std::exp(-12.5), 1e-9);
  EXPECT_NEAR(integral(Kind::morlet, 2), std::sqrt(kPi) / 2 * (1 + std::exp(-25.0)), kTolerance);
}

TEST(Wavelets, OfMeyerFallComplementarily) {
  const auto window = [](double v) {
    return values_of(basis::Wavelet{basis::WaveletKind::meyer}, v)[0] / std::sin(kPi * v);
  };
  for (double off : {0.01, 0.1, 0.2, 0.25, 0.4}) {
    EXPECT_NEAR(std::hypot(window(0.5 + off), window(1 - off)), 1, 1e-5) << off;
    EXPECT_NEAR(window(-off), -1, 1e-6) << off;
    EXPECT_NEAR(window(off), 1, 1e-6) << off;
  }
  for (double v : {1.0, 1.25, 1e4}) EXPECT_NEAR(window(v + 1e-3), 0, 1e-6);
}

TEST(Wavelets, OfShannonAreSinesOverTheirArgument) {
  const basis::Wavelet shannon{basis::WaveletKind::shannon};
  EXPECT_EQ(values_of(shannon, 0.0)[0], 1);
  for (int m : {-7, -2, -1, 1, 3, 100}) EXPECT_NEAR(values_of(shannon, m * kPi)[0], 0, 1e-12);
  for (double x : {-0.2, -0.099, 0.03, 0.0999, 0.1001})
    EXPECT_NEAR(values_of(shannon, x)[0], std::sin(x) / x, 2e-10) << x;
}

TEST(Rational, HasNoPoles) {
  const basis::Rational basis{5, 4};
  const double b[] = {-3, 5, 0.5, -2};
  for (double x : evenly(101, -4, 4)) {
    const auto phi = values_of(basis, x, [&](int p) { return b[p]; });
    const double below = 1 + std::abs(((b[3] * x + b[2]) * x + b[1]) * x * x + b[0] * x);
    for (int k = 0; k <= 5; ++k)
      EXPECT_NEAR(phi[k], std::pow(x, k) / below, 1e-9 * (1 + std::abs(phi[k])));
  }
}

template <class B>
double value(const B& basis, double x) {
  return values_of(basis, x).at(0);
}

TEST(Activations, KeepTheirSymmetries) {
  for (double x : {0.125, 0.7, 1.5, 4.0}) {
    const auto odd = [&](const auto& b) { EXPECT_EQ(value(b, -x), -value(b, x)) << b.name; };
    const auto even = [&](const auto& b) { EXPECT_EQ(value(b, -x), value(b, x)) << b.name; };
    const auto gate = [&](const auto& b, double difference) {
      EXPECT_NEAR(value(b, x) - value(b, -x), difference, kTolerance) << b.name;
    };
    odd(basis::Tanh{});
    odd(basis::Sine{});
    odd(basis::Finer{});
    even(basis::Gauss{});
    even(basis::Wire{});
    gate(basis::Relu{}, x);
    gate(basis::Gelu{}, x);
    gate(basis::Silu{}, x);
    gate(basis::Snake{}, 2 * x);
    gate(basis::LeakyRelu{0.25f}, 1.25 * x);
    EXPECT_NEAR(value(basis::Fkan{}, x) + value(basis::Fkan{}, -x),
                (x + std::tanh(30 * x)) * std::tanh(x / 2), kTolerance);
  }
}

}  // namespace
}  // namespace kanbench::test
