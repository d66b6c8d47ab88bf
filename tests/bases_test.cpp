// Every basis against tests/golden/bases.json; slopes against differences; finite in float.

#include <algorithm>
#include <map>

#include "bases_support.h"

namespace kanbench::test {
namespace {

using nlohmann::json;

// Fields are floats, and so are numbers that bases make of them.
constexpr double kTolerance = 2e-6;

void expect_near(double got, double want, const json& where) {
  EXPECT_NEAR(got, want, kTolerance * (1 + std::abs(want))) << where;
}

// A kink's slope is a pair, between which any will do.
void expect_slope(double got, const json& want, const json& where) {
  if (!want.is_array()) return expect_near(got, want, where);
  const auto [low, high] = std::minmax({want[0].get<double>(), want[1].get<double>()});
  const double room = kTolerance * (1 + std::abs(low) + std::abs(high));
  EXPECT_GE(got, low - room) << where;
  EXPECT_LE(got, high + room) << where;
}

// What a row says of point i, for a message.
json place(const json& row, std::size_t i, std::size_t k) {
  return {{"basis", row["basis"]}, {"x", row["x"][i]}, {"k", k}};
}

void expect_row(const json& row, std::size_t i, const std::vector<Dual<double>>& phi) {
  ASSERT_EQ(phi.size(), row["values"][i].size()) << row["basis"];
  for (std::size_t k = 0; k < phi.size(); ++k) {
    expect_near(phi[k].v, row["values"][i][k], place(row, i, k));
    expect_slope(phi[k].d, row["slopes"][i][k], place(row, i, k));
  }
}

/// Calls visit(basis, row) for each golden row.
template <class Visit>
void for_each_row(Visit visit) {
  for (const json& row : golden_rows())
    std::visit([&](const auto& basis) { visit(basis, row); }, basis_of(row["basis"]));
}

TEST(Bases, HaveTheGoldenValuesAndSlopes) {
  for_each_row([](const auto& basis, const json& row) {
    if (!row.value("start", true)) return;
    for (std::size_t i = 0; i < row["x"].size(); ++i)
      expect_row(row, i, values_of(basis, Dual<double>(row["x"][i], 1.0)));
  });
}

TEST(Bases, WithInnerParametersHaveTheGoldenValuesAndSlopes) {
  for_each_row([]<class B>(const B& basis, const json& row) {
    if constexpr (kHasInner<B>) {
      const std::vector<double> at = row.value("at", std::vector<double>{});
      ASSERT_EQ(basis.inner(), at.size()) << row["basis"];
      for (std::size_t i = 0; i < row["x"].size(); ++i)
        expect_row(row, i, values_of(basis, Dual<double>(row["x"][i], 1.0), [&](int p) {
                     return Dual<double>(at.at(p));
                   }));
    } else {
      EXPECT_FALSE(row.contains("at")) << row["basis"];
    }
  });
}

TEST(Bases, StartTheirInnerParametersAsTheTableSays) {
  for_each_row([]<class B>(const B& basis, const json& row) {
    if constexpr (kHasInner<B>) {
      for (int p = 0; p < basis.inner() && row.value("start", false); ++p)
        EXPECT_NEAR(basis.start(p), row["at"][p].template get<double>(), 3e-7) << row["basis"];
    }
  });
}

TEST(Bases, HaveTheGoldenSlopesByInnerParameters) {
  for_each_row([]<class B>(const B& basis, const json& row) {
    if constexpr (kHasInner<B>)
      for (const json& parameter : row.value("inner", json::array()))
        for (std::size_t i = 0; i < row["x"].size(); ++i) {
          const int at = parameter["parameter"];
          const auto phi =
              inner_duals<double>(basis, row["x"][i], row["at"], [&](int p) { return p == at; });
          for (std::size_t k = 0; k < phi.size(); ++k) {
            json where = place(row, i, k);
            where["parameter"] = at;
            expect_slope(phi[k].d, parameter["slopes"][i][k], where);
          }
        }
  });
}

// A row's fields as the basis stores them.
json stored(const json& row) {
  return std::visit([](const auto& b) { return fields_of(b); }, basis_of(row["basis"]));
}

// What `rows` should hold and do not: of every basis one at its defaults, one at another value of
// each field, one for each word of a field, and one with slopes by inner parameters.
std::vector<std::string> missing(const json& rows) {
  std::vector<std::string> gaps;
  for_each_basis([&]<class B>(B basis) {
    const json defaults = fields_of(basis);
    const auto want = [&](const std::string& what, auto fits) {
      if (!std::ranges::any_of(rows, [&](const json& row) {
            return row["basis"]["name"] == B::name && fits(stored(row), row);
          }))
        gaps.push_back(std::string(B::name) + ": " + what);
    };
    want("defaults", [&](const json& fields, const json&) { return fields == defaults; });
    B::fields(basis, [&]<class Value>(const char* key, Value& value) {
      want(std::string("another ") + key,
           [&](const json& fields, const json&) { return fields[key] != defaults[key]; });
      if constexpr (std::is_enum_v<Value>)
        for (const char* word : words_of(value))
          want(word, [&](const json& fields, const json&) { return fields[key] == word; });
    });
    if constexpr (kHasInner<B>)
      want("inner", [](const json&, const json& row) { return row.contains("inner"); });
  });
  return gaps;
}

TEST(Bases, AreAllInTheTable) { EXPECT_EQ(missing(golden_rows()), std::vector<std::string>{}); }

TEST(Bases, ThatTheTableLacksAreMissed) {
  for_each_basis([]<class B>(B) {
    json rows = json::array();
    for (const json& row : golden_rows())
      if (row["basis"]["name"] != B::name) rows.push_back(row);
    ASSERT_FALSE(missing(rows).empty()) << B::name;
    EXPECT_EQ(missing(rows).front(), std::string(B::name) + ": defaults");
  });
  json rows = json::array();
  for (const json& row : golden_rows())
    if (row["basis"].value("kind", "") != "meyer") rows.push_back(row);
  EXPECT_EQ(missing(rows), std::vector<std::string>{"wavelet: meyer"});
}

// Points of no basis' kinks, the same each time.
std::vector<double> irregular(int count, double low, double high) {
  std::vector<double> points;
  for (int i = 1; i <= count; ++i)
    points.push_back(low + (high - low) * std::fmod(i * 0.6180339887498949, 1.0));
  return points;
}

void expect_differences(const std::vector<double>& below, const std::vector<double>& above,
                        double step, const std::vector<Dual<double>>& phi, const json& where) {
  for (std::size_t k = 0; k < phi.size(); ++k) {
    const double difference = (above[k] - below[k]) / (2 * step);
    EXPECT_NEAR(phi[k].d, difference, 2e-7 * (1 + std::abs(difference))) << where << " " << k;
  }
}

TEST(Bases, SlopesAreCentralDifferences) {
  constexpr double step = 1e-6;
  for_each_row([](const auto& basis, const json& row) {
    for (double x : irregular(60, -2.2, 2.2))
      expect_differences(values_of(basis, x - step), values_of(basis, x + step), step,
                         values_of(basis, Dual<double>(x, 1.0)), {row["basis"], x});
  });
}

TEST(Bases, InnerSlopesAreCentralDifferences) {
  constexpr double step = 1e-6;
  for_each_row([]<class B>(const B& basis, const json& row) {
    if constexpr (kHasInner<B>) {
      const std::vector<double> inner = row.value("at", std::vector<double>{});
      for (double x : irregular(20, -2.2, 2.2))
        for (int moved = 0; moved < basis.inner(); ++moved) {
          const auto beside = [&](double by) {
            return values_of(basis, x,
                             [&](int p) { return inner.at(p) + (p == moved ? by : 0.0); });
          };
          expect_differences(
              beside(-step), beside(step), step,
              inner_duals<double>(basis, x, inner, [&](int p) { return p == moved; }),
              {row["basis"], x, moved});
        }
    }
  });
}

TEST(Bases, APassGivesEachParameterItsOwnSlope) {
  for_each_row([]<class B>(const B& basis, const json& row) {
    if constexpr (kHasInner<B>) {
      const std::vector<double> inner = row.value("at", std::vector<double>{});
      std::map<int, int> seen;
      for (int p = 0; p < basis.inner(); ++p) ++seen[basis.pass(p)];
      EXPECT_EQ(static_cast<int>(seen.size()), basis.passes()) << row["basis"];
      for (double x : irregular(20, -2.2, 2.2))
        for (int pass = 0; pass < basis.passes(); ++pass) {
          const auto at_once =
              inner_duals<double>(basis, x, inner, [&](int p) { return basis.pass(p) == pass; });
          for (int k = 0; k < basis.size(); ++k) {
            const int target = basis.target(pass, k);
            const int pass_of_target = target < 0 ? pass : basis.pass(target);
            EXPECT_EQ(pass_of_target, pass) << row["basis"];
            EXPECT_TRUE(target >= 0 || at_once[k].d == 0) << row["basis"] << pass << k;
          }
          for (int alone = 0; alone < basis.inner(); ++alone) {
            if (basis.pass(alone) != pass) continue;
            const auto phi =
                inner_duals<double>(basis, x, inner, [&](int p) { return p == alone; });
            for (int k = 0; k < basis.size(); ++k)
              EXPECT_EQ(phi[k].d, basis.target(pass, k) == alone ? at_once[k].d : 0)
                  << row["basis"] << " parameter " << alone << " coefficient " << k;
          }
        }
    }
  });
}

// In float: far out, at 0 and +-1, at the knots of grids of five and eight, and next to them all.
std::vector<float> extremes() {
  std::vector<float> points;
  for (float x : {0.0f, 0.2f, 0.25f, 0.5f, 0.6f, 1.0f, 1.4f, 9.0f, 30.0f, 90.0f, 1e3f, 1e4f})
    for (float at : {x, std::nextafter(x, 2e4f), std::nextafter(x, -1.0f)})
      points.insert(points.end(), {at, -at});
  return points;
}

void expect_finite(const std::vector<Dual<float>>& phi, const json& where) {
  for (const Dual<float>& value : phi)
    EXPECT_TRUE(std::isfinite(value.v) && std::isfinite(value.d)) << where;
}

template <class B>
void expect_finite(const B& basis, const std::vector<double>& inner) {
  for (float x : extremes()) {
    const json where{fields_of(basis), x};
    expect_finite(values_of(basis, Dual<float>(x, 1.0f)), where);
    if constexpr (kHasInner<B>) {
      for (int pass = 0; pass < basis.passes(); ++pass)
        expect_finite(
            inner_duals<float>(basis, x, inner, [&](int p) { return basis.pass(p) == pass; }),
            where);
    }
  }
}

TEST(Bases, AreFiniteInFloat) {
  for_each_row([](const auto& basis, const json& row) {
    expect_finite(basis, row.value("at", std::vector<double>{}));
  });
}

TEST(Bases, AreFiniteInFloatAtTheLimitsOfTheirFields) {
  const auto clamp = basis::Squash::clamp;
  const std::vector<Basis> all = {basis::LeakyRelu{-1e6f},
                                  basis::Sine{1e6f},
                                  basis::Gauss{1e6f},
                                  basis::Wire{1e6f, 1e6f},
                                  basis::Finer{1e6f},
                                  basis::Snake{1e6f},
                                  basis::Snake{1e-6f},
                                  basis::Fkan{1e6f},
                                  basis::Rbf{64, 1e-3f},
                                  basis::Rbf{64, 1e6f},
                                  basis::Rswaf{64, -1, 1, 1e6f},
                                  basis::BSpline{64, 5, 1, false},
                                  basis::BSpline{64, 5, 1, true},
                                  basis::BSpline{1, 5, 1e6f},
                                  basis::Chebyshev{32, clamp},
                                  basis::Legendre{32, clamp},
                                  basis::Jacobi{32, 64, 64, clamp},
                                  basis::Jacobi{32, -0.999f, -0.999f},
                                  basis::Gram{32, clamp},
                                  basis::Bernstein{32},
                                  basis::ReluKan{64, 16},
                                  basis::ReluKan{1, 16},
                                  basis::Fourier{32},
                                  basis::Rational{8, 8},
                                  basis::Rational{8, 1},
                                  basis::Rational{0, 8}};
  for (const Basis& basis : all)
    std::visit(
        []<class B>(const B& b) {
          if constexpr (kHasInner<B>)
            expect_finite(b, start_of(b));
          else
            expect_finite(b, {});
        },
        basis);
}

// By the largest of a basis' values and slopes: a fast wave's error shows where it is flat.
TEST(Bases, InFloatAreThoseInDouble) {
  for_each_row([](const auto& basis, const json& row) {
    double largest = 1, largest_slope = 1, worst = 0, worst_slope = 0;
    for (double point : irregular(60, -2.2, 2.2)) {
      const float x = static_cast<float>(point);
      const auto got = values_of(basis, Dual<float>(x, 1.0f));
      const auto want = values_of(basis, Dual<double>(x, 1.0));
      for (std::size_t k = 0; k < got.size(); ++k) {
        largest = std::max(largest, std::abs(want[k].v));
        largest_slope = std::max(largest_slope, std::abs(want[k].d));
        worst = std::max(worst, std::abs(got[k].v - want[k].v));
        worst_slope = std::max(worst_slope, std::abs(got[k].d - want[k].d));
      }
    }
    EXPECT_LE(worst, 2e-5 * largest) << row["basis"];
    EXPECT_LE(worst_slope, 2e-5 * largest_slope) << row["basis"];
  });
}

}  // namespace
}  // namespace kanbench::test
