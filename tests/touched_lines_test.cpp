// Two models that stand for two ranks: their gradients summed and updated are those of one model
// trained on both batches, whatever each has noted of the lines that it touched.

#include <algorithm>
#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include "backend_cases.h"
#include "support.h"

namespace kanbench {
namespace {

using namespace test;

// A table of which so few rows touch so little that the lines are listed.
ModelSpec sparse_model(int features) {
  return chain(encoder::HashGrid{3, features, 15, 28, 1.7}, {16, 1}, basis::Identity{},
               basis::Relu{}, false, false);
}

Adam adam_at(std::int64_t step, bool skip_untouched) {
  Adam adam;
  adam.encoder_rate = 1e-2f / static_cast<float>(step);
  adam.decoder_rate = 1e-3f;
  adam.skip_untouched = skip_untouched;
  return adam;
}

// Rows first ... first + count - 1 of a batch.
Batch part_of_batch(const Batch& batch, std::int64_t first, std::int64_t count) {
  Batch part(count, 0);
  for (std::int64_t i = 0; i < count; ++i) {
    for (std::int64_t d = 0; d < 3; ++d)
      part.points[static_cast<std::size_t>(d * count + i)] =
          batch.points[static_cast<std::size_t>(d * batch.rows + first + i)];
    part.targets[static_cast<std::size_t>(i)] = batch.targets[static_cast<std::size_t>(first + i)];
  }
  return part;
}

struct Ranks {
  std::vector<std::unique_ptr<Backend>> backends;
  std::vector<Model> models;
  bool pieces;

  Ranks(const ModelSpec& spec, const std::vector<Range>& shares, bool in_pieces)
      : pieces(in_pieces) {
    for (const Range& share : shares) {
      backends.push_back(open_cpu());
      models.emplace_back(*backends.back(), spec);
      models.back().upload(block_of(spec, 4));
      models.back().train(share);
    }
  }

  void gradients(const Batch& batch, const std::vector<std::int64_t>& rows) {
    std::int64_t first = 0;
    for (std::size_t r = 0; r < models.size(); ++r) {
      const Placed placed(*backends[r], part_of_batch(batch, first, rows[r]));
      const Objective objective{loss::Mse{}, 1.0 / static_cast<double>(batch.rows)};
      const Ready ready = pieces ? [](Range) {} : Ready{};
      backends[r]->gradient(models[r], placed.point_rows(), placed.target_rows(), objective, ready);
      first += rows[r];
    }
  }

  void sum() {
    const std::int64_t size = models.front().layout().size;
    for (std::int64_t i = 0; i < size; ++i) {
      float all = 0;
      for (const Model& model : models) all += model.gradient().data()[i];
      for (const Model& model : models) model.gradient().data()[i] = all;
    }
    for (std::size_t r = 0; r < models.size(); ++r) backends[r]->gradient_changed(models[r]);
  }

  void update(const Adam& adam, std::int64_t step) {
    for (std::size_t r = 0; r < models.size(); ++r)
      ASSERT_TRUE(backends[r]->update(models[r], adam, step));
  }

  // Every rank gets what the others updated.
  void gather() {
    const std::vector<Model>& from = models;
    for (const Model& owner : from)
      for (Model& model : models) {
        std::copy_n(owner.parameters().data() + owner.share().begin, owner.share().size(),
                    model.parameters().data() + owner.share().begin);
        model.backend().parameters_changed(model);
      }
  }
};

double relative(const std::vector<float>& want, const std::vector<float>& got) {
  double off = 0, length = 0;
  for (std::size_t i = 0; i < want.size(); ++i) {
    off += std::pow(static_cast<double>(want[i]) - got[i], 2);
    length += std::pow(static_cast<double>(want[i]), 2);
  }
  return std::sqrt(off / length);
}

// Trains on both batches at once and as ranks, for `steps` steps.
void check(const ModelSpec& spec, const std::vector<Range>& shares, bool pieces,
           bool skip_untouched) {
  const auto backend = open_cpu();
  Model alone(*backend, spec);
  alone.upload(block_of(spec, 4));
  alone.train();
  Ranks ranks(spec, shares, pieces);
  for (std::int64_t step = 1; step <= 25; ++step) {
    const Adam adam = adam_at(step, skip_untouched);
    const Batch batch(9, static_cast<std::uint64_t>(step));
    const Placed placed(*backend, batch);
    backend->step(alone, placed.point_rows(), placed.target_rows(), {loss::Mse{}, 1.0 / 9}, adam,
                  step);
    // Now and then a rank draws nothing.
    ranks.gradients(
        batch, step % 5 == 0 ? std::vector<std::int64_t>{9, 0} : std::vector<std::int64_t>{4, 5});
    ranks.sum();
    ranks.update(adam, step);
    ranks.gather();
  }
  const std::string where = std::string(pieces ? "in pieces" : "in one") +
                            (skip_untouched ? ", touched alone" : "") + ", " +
                            std::to_string(shares[0].end) + " floats first";
  for (const Model& model : ranks.models)
    EXPECT_LT(relative(alone.download(), model.download()), 1e-5) << where;
  EXPECT_EQ(ranks.models[0].download(), ranks.models[1].download()) << where;
}

TEST(TouchedLines, OfTwoRanksAreThoseOfOne) {
  for (const int features : {2, 3}) {
    const ModelSpec spec = sparse_model(features);
    const std::int64_t size = make_layout(spec).size;
    for (const std::vector<Range>& shares :
         {std::vector<Range>{{0, size}, {0, size}},
          std::vector<Range>{{0, size / 32 * 16}, {size / 32 * 16, size}}})
      for (const bool pieces : {false, true})
        for (const bool skip_untouched : {false, true}) check(spec, shares, pieces, skip_untouched);
  }
}

// Lists name lines of the whole, and a share has moments of its own lines only.
TEST(TouchedLines, OfAShareAloneAreItsOwn) {
  const ModelSpec spec = sparse_model(2);
  const auto backend = open_cpu();
  Model whole(*backend, spec), part(*backend, spec);
  const std::int64_t size = whole.layout().size;
  const Range share{size / 64 * 16, size / 64 * 48};
  whole.upload(block_of(spec, 4));
  part.upload(block_of(spec, 4));
  whole.train();
  part.train(share);
  const Adam adam = adam_at(1, true);
  for (std::int64_t step = 1; step <= 5; ++step) {
    const Placed placed(*backend, Batch(9, static_cast<std::uint64_t>(step)));
    const std::vector<float> before = block_of(spec, static_cast<std::uint64_t>(step));
    for (Model* model : {&whole, &part}) {
      // The same parameters for both, whose gradients are then the same.
      model->upload(before);
      backend->gradient(*model, placed.point_rows(), placed.target_rows(), {loss::Mse{}, 0.1});
      EXPECT_TRUE(backend->update(*model, adam, step));
    }
    const std::vector<float> all = whole.download(), own = part.download();
    EXPECT_TRUE(
        std::equal(own.begin() + share.begin, own.begin() + share.end, all.begin() + share.begin));
    EXPECT_TRUE(std::equal(own.begin(), own.begin() + share.begin, before.begin()));
    EXPECT_TRUE(std::equal(own.begin() + share.end, own.end(), before.begin() + share.end));
    EXPECT_EQ(download(part.gradient(), *backend), download(whole.gradient(), *backend));
  }
}

// Lists that were dropped for a sum must not be followed later, nor flags stay set.
TEST(TouchedLines, OutliveASumAmongSteps) {
  const ModelSpec spec = sparse_model(2);
  const auto backend = open_cpu();
  Model steady(*backend, spec), mixed(*backend, spec);
  for (Model* model : {&steady, &mixed}) {
    model->upload(block_of(spec, 4));
    model->train();
  }
  const Objective objective{loss::Mse{}, 1.0 / 9};
  for (std::int64_t step = 1; step <= 40; ++step) {
    const Adam adam = adam_at(step, true);
    const Batch batch(9, static_cast<std::uint64_t>(step));
    const Placed placed(*backend, batch);
    const ConstRows points = placed.point_rows(), targets = placed.target_rows();
    backend->step(steady, points, targets, objective, adam, step);
    if (step % 4 == 0) {
      backend->step(mixed, points, targets, objective, adam, step);
      continue;
    }
    // The first half of the batch listed, or not; then the second the other way.
    const Placed a(*backend, part_of_batch(batch, 0, 4)), b(*backend, part_of_batch(batch, 4, 5));
    const Ready said = [](Range) {};
    backend->gradient(mixed, a.point_rows(), a.target_rows(), objective,
                      step % 4 == 1 ? said : Ready{});
    backend->gradient(mixed, b.point_rows(), b.target_rows(), objective,
                      step % 4 == 2 ? said : Ready{});
    if (step % 8 == 3) backend->gradient_changed(mixed);
    EXPECT_TRUE(backend->update(mixed, adam, step));
  }
  EXPECT_LT(relative(steady.download(), mixed.download()), 1e-5);
}

}  // namespace
}  // namespace kanbench
