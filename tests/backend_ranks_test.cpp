// What backends do for many ranks: gradients that come in pieces, and shares of an update.

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "backend_cases.h"
#include "kanbench/parallel.h"
#include "support.h"

namespace kanbench {
namespace {

using namespace test;

std::vector<Case> some_cases() {
  using encoder::HashGrid;
  const Basis identity = basis::Identity{}, relu = basis::Relu{}, rbf = basis::Rbf{};
  std::vector<Case> all;
  all.push_back({"mlp, 5 levels of 2",
                 chain(HashGrid{5, 2, 9, 4, 1.6}, {16, 16, 1}, identity, relu, false, false)});
  all.push_back({"mlp, 3 levels of 3, padded",
                 chain(HashGrid{3, 3, 9, 4, 1.4}, {16, 1}, identity, relu, false, false)});
  all.push_back({"fastkan, 2 levels of 8",
                 chain(HashGrid{2, 8, 6, 4, 2}, {16, 16, 1}, rbf, rbf, true, true)});
  all.push_back(
      {"mlp, no encoder", chain(encoder::Identity{}, {16, 1}, identity, relu, false, false)});
  return all;
}

double norm(const std::vector<float>& numbers) {
  double sum = 0;
  for (const float number : numbers) sum += static_cast<double>(number) * number;
  return std::sqrt(sum);
}

// Length of the difference over the length of what is wanted.
double distance(const std::vector<float>& want, std::vector<float> got) {
  for (std::size_t i = 0; i < got.size(); ++i) got[i] -= want[i];
  return norm(got) / (norm(want) + 1e-30);
}

// Where atomics add, one run is not the next.
void expect_same(const Backend& backend, const std::vector<float>& want,
                 const std::vector<float>& got, const std::string& where) {
  ASSERT_EQ(want.size(), got.size()) << where;
  if (backend.is_host())
    EXPECT_EQ(want, got) << where;
  else
    EXPECT_LT(distance(want, got), 1e-5) << where;
}

std::vector<float> download_part(const Model& model, Range part) {
  std::vector<float> numbers(static_cast<std::size_t>(part.size()));
  model.backend().download(numbers.data(), model.gradient().data() + part.begin,
                           numbers.size() * sizeof(float));
  return numbers;
}

// The decoder's part, then each level's or several levels', finest first, without gaps.
void expect_descending(const std::vector<Range>& parts, const Layout& layout,
                       const std::string& where) {
  ASSERT_FALSE(parts.empty()) << where;
  EXPECT_EQ(parts.front(), (Range{layout.decoder_begin, layout.size})) << where;
  for (std::size_t i = 1; i < parts.size(); ++i) {
    EXPECT_EQ(parts[i].end, parts[i - 1].begin) << where;
    EXPECT_GT(parts[i].size(), 0) << where;
    EXPECT_EQ(parts[i].begin % 16, 0) << where;
  }
  EXPECT_EQ(parts.back().begin, 0) << where;
}

TEST(Ranks, PiecesOfAGradientAreFinal) {
  const Slice padded = make_layout(some_cases()[1].spec).slices[1];
  ASSERT_NE(padded.size() % 16, 0) << "no level ends with a gap";
  for (const auto& backend : all_backends())
    for (const Case& c : some_cases())
      for (const Precision precision : backend->precisions(c.spec))
        for (const std::int64_t rows : {std::int64_t{0}, std::int64_t{1}, std::int64_t{250}}) {
          const std::string where = backend->name() + ", " + name(precision) + ", " + c.label +
                                    ", " + std::to_string(rows) + " rows";
          const Batch batch(rows, 6);
          const Placed placed(*backend, batch);
          const Objective objective{loss::L1{}, 1.0 / 300};
          Model plain(*backend, c.spec, precision), pieces(*backend, c.spec, precision);
          for (Model* model : {&plain, &pieces}) {
            model->upload(block_of(c.spec, 4));
            model->train();
          }
          const BatchSums want =
              backend->gradient(plain, placed.point_rows(), placed.target_rows(), objective);
          std::vector<Range> parts;
          std::vector<float> seen(static_cast<std::size_t>(pieces.layout().size));
          const BatchSums got = backend->gradient(
              pieces, placed.point_rows(), placed.target_rows(), objective, [&](Range part) {
                parts.push_back(part);
                const std::vector<float> numbers = download_part(pieces, part);
                std::copy(numbers.begin(), numbers.end(), seen.begin() + part.begin);
              });
          expect_descending(parts, pieces.layout(), where);
          const std::vector<float> whole = download(pieces.gradient(), *backend);
          EXPECT_EQ(seen, whole) << where << ": changed after it was said to be final";
          expect_same(*backend, download(plain.gradient(), *backend), whole, where);
          EXPECT_NEAR(got.loss, want.loss, 1e-5 * std::abs(want.loss)) << where;
          EXPECT_NEAR(got.squared_error, want.squared_error, 1e-5 * want.squared_error) << where;
        }
}

TEST(Ranks, PiecesAreTheSameOnAnyNumberOfThreads) {
  const auto backend = open_cpu();
  // More levels than are scattered at a time, and fewer than threads.
  for (const int levels : {9, 2}) {
    const ModelSpec spec = chain(encoder::HashGrid{levels, 2, 11, 4, 1.4}, {16, 1},
                                 basis::Identity{}, basis::Relu{}, false, false);
    const Batch batch(700, 6);
    const Placed placed(*backend, batch);
    std::vector<float> first;
    for (const int threads : {1, 2, 3, 7}) {
      set_threads(threads);
      Model model(*backend, spec);
      model.upload(block_of(spec, 4));
      model.train();
      std::vector<Range> parts;
      backend->gradient(model, placed.point_rows(), placed.target_rows(), {loss::L1{}, 1e-3},
                        [&](Range part) { parts.push_back(part); });
      expect_descending(parts, model.layout(), std::to_string(threads) + " threads");
      const std::vector<float> gradient = download(model.gradient(), *backend);
      if (first.empty()) first = gradient;
      EXPECT_EQ(gradient, first) << threads << " threads";
    }
  }
  set_threads(0);
}

// A gradient of which much is zero.
std::vector<float> sparse_gradient(const Layout& layout, std::uint64_t step) {
  std::vector<float> block(static_cast<std::size_t>(layout.size));
  const Stream stream{step, 9};
  for (const Slice& slice : layout.slices)
    for (std::int64_t i = 0; i < slice.size(); ++i) {
      const Words4 words = stream.words(static_cast<std::uint64_t>(slice.offset + i));
      if (words.v[0] % 3 == 0 && words.v[1] % 64 < 40)
        block[static_cast<std::size_t>(slice.offset + i)] = unit_float(words.v[2]) - 0.5f;
    }
  return block;
}

// Shares that cut levels, one of them empty, the last within the decoder.
std::vector<Range> awkward_shares(const Layout& layout) {
  const std::int64_t lines = layout.size / 16;
  const std::int64_t a = lines / 3 * 16, b = (lines / 3 + 1) * 16, c = (lines - 1) * 16;
  return {{0, a}, {a, b}, {b, b}, {b, c}, {c, layout.size}};
}

void hand_over(Model& model, const std::vector<float>& gradient) {
  model.backend().upload(model.gradient().data(), gradient.data(), model.gradient().bytes());
  model.backend().gradient_changed(model);
}

// Puts the shares of what `of` gives together.
template <class Of>
std::vector<float> assemble(const std::vector<Model>& ranks, Of of) {
  std::vector<float> all;
  for (const Model& model : ranks) {
    const std::vector<float> part = of(model);
    all.insert(all.end(), part.begin(), part.end());
  }
  return all;
}

void check_shares(Backend& backend, const Case& c, bool skip_untouched) {
  const std::string where =
      backend.name() + ", " + c.label + (skip_untouched ? ", touched alone" : "");
  Adam adam;
  adam.encoder_rate = 1e-2f;
  adam.decoder_rate = 2e-3f;
  adam.skip_untouched = skip_untouched;
  Model whole(backend, c.spec);
  whole.upload(block_of(c.spec, 4));
  whole.train();
  std::vector<Model> ranks;
  for (const Range& share : awkward_shares(whole.layout())) {
    ranks.emplace_back(backend, c.spec);
    ranks.back().upload(block_of(c.spec, 4));
    ranks.back().train(share);
    EXPECT_EQ(ranks.back().share(), share);
    EXPECT_EQ(ranks.back().first_moment().size(), share.size());
    EXPECT_TRUE(ranks.back().training());
  }
  const std::vector<float> zeros(static_cast<std::size_t>(whole.layout().size));
  for (std::int64_t step = 1; step <= 4; ++step) {
    const auto gradient = sparse_gradient(whole.layout(), static_cast<std::uint64_t>(step));
    hand_over(whole, gradient);
    EXPECT_TRUE(backend.update(whole, adam, step)) << where;
    for (Model& rank : ranks) {
      hand_over(rank, gradient);
      EXPECT_TRUE(backend.update(rank, adam, step)) << where;
      EXPECT_EQ(download(rank.gradient(), backend), zeros) << where;
    }
  }
  expect_same(backend, whole.download(),
              assemble(ranks,
                       [](const Model& model) {
                         const std::vector<float> block = model.download();
                         return std::vector<float>(block.begin() + model.share().begin,
                                                   block.begin() + model.share().end);
                       }),
              where);
  const auto first = [&](const Model& model) { return download(model.first_moment(), backend); };
  const auto second = [&](const Model& model) { return download(model.second_moment(), backend); };
  expect_same(backend, first(whole), assemble(ranks, first), where);
  expect_same(backend, second(whole), assemble(ranks, second), where);
}

TEST(Ranks, SharesOfAnUpdateMakeUpTheWhole) {
  for (const auto& backend : all_backends())
    for (const Case& c : some_cases())
      for (const bool skip_untouched : {false, true}) check_shares(*backend, c, skip_untouched);
}

TEST(Ranks, AShareLeavesTheOthersParametersAlone) {
  const Case c = some_cases().front();
  for (const auto& backend : all_backends()) {
    Model model(*backend, c.spec);
    const std::vector<float> before = block_of(c.spec, 4);
    model.upload(before);
    const Range share = awkward_shares(model.layout())[3];
    model.train(share);
    hand_over(model, sparse_gradient(model.layout(), 1));
    backend->update(model, Adam{}, 1);
    const std::vector<float> after = model.download();
    for (std::int64_t i = 0; i < model.layout().size; ++i)
      if (i < share.begin || i >= share.end) {
        ASSERT_EQ(after[static_cast<std::size_t>(i)], before[static_cast<std::size_t>(i)]) << i;
      }
    EXPECT_NE(after, before);
  }
}

TEST(Ranks, AShareIsJudgedByItsOwnGradient) {
  const Case c = some_cases().front();
  for (const auto& backend : all_backends())
    for (const float bad : {std::numeric_limits<float>::infinity(), std::nanf("")})
      for (const std::size_t at : {std::size_t{3}, std::size_t{0}}) {
        Model model(*backend, c.spec);
        model.upload(block_of(c.spec, 4));
        const Layout& layout = model.layout();
        model.train({32, layout.size - 32});
        std::vector<float> gradient = sparse_gradient(layout, 1);
        gradient[at] = gradient[gradient.size() - 1] = bad;
        hand_over(model, gradient);
        EXPECT_TRUE(backend->update(model, Adam{}, 1)) << backend->name();
        gradient[32 + at] = bad;
        hand_over(model, gradient);
        EXPECT_FALSE(backend->update(model, Adam{}, 2)) << backend->name();
      }
}

// step() of a model that keeps a share only must not look for the other moments.
TEST(Ranks, AStepOnAShareIsAGradientAndAnUpdate) {
  const Case c = some_cases().front();
  for (const auto& backend : all_backends()) {
    const Batch batch(100, 6);
    const Placed placed(*backend, batch);
    const Objective objective{loss::L1{}, 0.01};
    Model stepped(*backend, c.spec), updated(*backend, c.spec);
    const Range share = awkward_shares(stepped.layout())[3];
    for (Model* model : {&stepped, &updated}) {
      model->upload(block_of(c.spec, 4));
      model->train(share);
    }
    backend->step(stepped, placed.point_rows(), placed.target_rows(), objective, Adam{}, 1);
    backend->gradient(updated, placed.point_rows(), placed.target_rows(), objective);
    backend->update(updated, Adam{}, 1);
    expect_same(*backend, updated.download(), stepped.download(), backend->name());
  }
}

}  // namespace
}  // namespace kanbench
