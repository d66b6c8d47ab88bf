#pragma once
// The golden rows of the bases (tests/golden/bases.py) and how a basis is asked for its figures.

#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <type_traits>
#include <utility>
#include <vector>

#include "kanbench/math/basis.h"
#include "support.h"

namespace kanbench::test {

/// Calls visit(B{}) for each alternative of Basis, in order.
template <class Visit>
void for_each_basis(Visit visit) {
  [&]<std::size_t... I>(std::index_sequence<I...>) {
    (visit(std::variant_alternative_t<I, Basis>{}), ...);
  }
  (std::make_index_sequence<std::variant_size_v<Basis>>{});
}

/// As a model file has it: an enumeration by its word.
template <class Value>
nlohmann::json written(const Value& value) {
  if constexpr (std::is_enum_v<Value>)
    return words_of(value)[static_cast<std::size_t>(value)];
  else
    return value;
}

template <class Value>
void read_into(const nlohmann::json& j, Value& value) {
  if constexpr (std::is_enum_v<Value>) {
    const auto words = words_of(value);
    std::size_t i = 0;
    while (i < words.size() && words[i] != j) ++i;
    ASSERT_LT(i, words.size()) << j << " is no word of the field's";
    value = static_cast<Value>(i);
  } else {
    value = j.get<Value>();
  }
}

template <class B>
nlohmann::json fields_of(B basis) {
  nlohmann::json j{{"name", B::name}};
  B::fields(basis, [&](const char* key, auto& value) { j[key] = written(value); });
  return j;
}

/// The basis that `j` ({"name", fields}) tells of; fails the test where a field is not known, or
/// one is missing.
inline Basis basis_of(const nlohmann::json& j) {
  std::optional<Basis> found;
  for_each_basis([&](auto b) {
    if (j["name"] != b.name) return;
    std::set<std::string> wanted{"name"}, given;
    for (const auto& [key, value] : j.items()) given.insert(key);
    decltype(b)::fields(b, [&](const char* key, auto& value) {
      wanted.insert(key);
      if (j.contains(key)) read_into(j[key], value);
    });
    EXPECT_EQ(wanted, given);
    found = b;
  });
  EXPECT_TRUE(found) << "there is no basis " << j;
  return found.value_or(basis::Identity{});
}

inline const nlohmann::json& golden_rows() {
  static const nlohmann::json rows = [] {
    std::ifstream file(source_directory() / "tests" / "golden" / "bases.json");
    return nlohmann::json::parse(file);
  }();
  return rows;
}

/// phi_k(x) for all k, each emitted once, by `eval`, which is given what to emit to.
template <class T, class Eval>
std::vector<T> collected(int size, Eval eval) {
  std::vector<T> phi(static_cast<std::size_t>(size));
  std::vector<int> times(phi.size());
  eval([&](int k, T value) {
    phi.at(k) = value;
    ++times.at(k);
  });
  for (int n : times) EXPECT_EQ(n, 1);
  return phi;
}

template <class T, class B>
std::vector<T> values_of(const B& basis, T x) {
  return collected<T>(basis.size(), [&](auto emit) { basis.eval(x, emit); });
}

/// The same with inner parameters: inner(p) is number p.
template <class T, class B, class Inner>
std::vector<T> values_of(const B& basis, T x, const Inner& inner) {
  return collected<T>(basis.size(), [&](auto emit) { basis.eval(x, inner, emit); });
}

template <class B>
std::vector<double> start_of(const B& basis) {
  std::vector<double> inner;
  for (int p = 0; p < basis.inner(); ++p) inner.push_back(basis.start(p));
  return inner;
}

/// phi_k and its slope along the inner parameters for which seeded(p) holds.
template <class T, class B, class Seeded>
std::vector<Dual<T>> inner_duals(const B& basis, T x, const std::vector<double>& inner,
                                 Seeded seeded) {
  return values_of(basis, Dual<T>(x), [&](int p) {
    return Dual<T>(static_cast<T>(inner.at(p)), seeded(p) ? T(1) : T(0));
  });
}

}  // namespace kanbench::test
