#pragma once
// Models of several outputs, each beside the models of one that have the same numbers but for the
// last layer, of which they have one output's.

#include <string>
#include <vector>

#include "backend_cases.h"
#include "layer_cases.h"

namespace kanbench::test {

/// The model with its last layer cut to one output.
inline ModelSpec scalar_of(ModelSpec spec) {
  spec.layers.back().out = 1;
  return spec;
}

/// Calls visit(slice of the vector's layout, slice of the scalar's, row that is the scalar's only
/// one, or -1 for a tensor that both have).
template <class Visit>
void each_slice(const ModelSpec& spec, int output, Visit visit) {
  const Layout many = make_layout(spec), one = make_layout(scalar_of(spec));
  ASSERT_EQ(many.slices.size(), one.slices.size());
  for (std::size_t s = 0; s < many.slices.size(); ++s) {
    const Slice &a = many.slices[s], &b = one.slices[s];
    ASSERT_EQ(a.name, b.name);
    ASSERT_EQ(a.columns, b.columns) << a.name;
    visit(a, b, a.rows == b.rows ? -1 : output);
  }
}

/// The block of the model of one output.
inline std::vector<float> scalar_block(const ModelSpec& spec, const std::vector<float>& block,
                                       int output) {
  std::vector<float> one(static_cast<std::size_t>(make_layout(scalar_of(spec)).size));
  each_slice(spec, output, [&](const Slice& a, const Slice& b, int row) {
    const std::int64_t from = a.offset + (row < 0 ? 0 : row * std::max<std::int64_t>(a.columns, 1));
    for (std::int64_t i = 0; i < b.size(); ++i) one[b.offset + i] = block[from + i];
  });
  return one;
}

/// Makes all outputs the first one.
inline void repeat_first_output(const ModelSpec& spec, std::vector<float>& block) {
  each_slice(spec, 0, [&](const Slice& a, const Slice& b, int row) {
    for (std::int64_t i = b.size(); row >= 0 && i < a.size(); ++i)
      block[a.offset + i] = block[a.offset + i % b.size()];
  });
}

inline std::vector<Case> vector_cases() {
  using encoder::HashGrid;
  const Basis identity = basis::Identity{}, relu = basis::Relu{}, rbf = basis::Rbf{};
  std::vector<Case> all;
  all.push_back(
      {"mlp", chain(HashGrid{3, 2, 7, 4, 1.6}, {16, 16, 3}, identity, relu, false, false)});
  all.push_back({"fastkan", chain(HashGrid{2, 4, 6, 4, 2}, {11, 3}, rbf, rbf, true, true)});
  all.push_back({"more outputs than a pack has lanes",
                 chain(HashGrid{2, 2, 6, 4, 2}, {9, 17}, identity, relu, false, false)});
  all.push_back({"one layer", chain(encoder::DenseGrid{5, 4}, {2}, rbf, rbf, false, true)});
  ModelSpec sigmoid = all[0].spec;
  sigmoid.output = OutputActivation::sigmoid;
  all.push_back({"sigmoid output", sigmoid});
  ModelSpec splines =
      chain(HashGrid{2, 2, 6, 4, 2}, {8, 3}, basis::BSpline{}, basis::BSpline{}, false, true);
  splines.layers.back().basis = basis::BSpline{16, 3, 1, false};
  all.push_back({"splines", splines});
  for (auto& [label, layers] : layer_cases(4)) {
    ModelSpec spec;
    spec.encoder = HashGrid{2, 2, 6, 4, 2};
    spec.layers = std::move(layers);
    spec.layers.back().out = 3;
    all.push_back({label, spec, 10});
  }
  return all;
}

}  // namespace kanbench::test
