// Models of several outputs on every backend, against the models of one that they are made of.

#include <cmath>
#include <cstring>

#include "kanbench/brick_stream.h"
#include "kanbench/communicator.h"
#include "kanbench/file.h"
#include "kanbench/io.h"
#include "kanbench/reconstruct.h"
#include "kanbench/trainer.h"
#include "support.h"
#include "vector_cases.h"
#include "vector_volume.h"

namespace kanbench {
namespace {

using namespace test;

// Points, and targets of as many numbers as the model has outputs.
struct VectorBatch {
  Buffer<float> points, targets;
  std::int64_t rows;
  int width;

  VectorBatch(Backend& backend, std::int64_t n, int outputs)
      : points(backend, 3 * n), targets(backend, outputs * n), rows(n), width(outputs) {
    for (int o = 0; o < outputs; ++o) {
      const Batch batch(n, 5 + static_cast<std::uint64_t>(o));
      if (o == 0) backend.upload(points.data(), batch.points.data(), points.bytes());
      backend.upload(targets.data() + o * n, batch.targets.data(), 4 * static_cast<std::size_t>(n));
    }
  }
  ConstRows at() const { return {points.data(), rows, 3, rows}; }
  ConstRows wanted() const { return {targets.data(), rows, width, rows}; }
  ConstRows wanted(int output) const { return {targets.data() + output * rows, rows, 1, rows}; }
};

double length(const std::vector<float>& numbers) {
  double sum = 0;
  for (const float number : numbers) sum += double(number) * number;
  return std::sqrt(sum);
}

double distance(const std::vector<float>& a, const std::vector<float>& b) {
  std::vector<float> off(a.size());
  for (std::size_t i = 0; i < a.size(); ++i) off[i] = a[i] - b[i];
  return length(off);
}

std::vector<float> predicted(Backend& backend, const Model& model, const VectorBatch& batch) {
  const int outputs = model.spec().outputs();
  Buffer<float> out(backend, outputs * batch.rows);
  backend.predict(model, batch.at(), {out.data(), batch.rows, outputs, batch.rows});
  return download(out, backend);
}

TEST(Vector, PredictsWhatItsOutputsDoAlone) {
  for (const auto& backend : all_backends())
    for (const Case& c : vector_cases())
      for (const std::int64_t rows : {1, 150}) {
        const std::vector<float> block = block_of(c.spec, 3);
        Model model(*backend, c.spec);
        model.upload(block);
        const VectorBatch batch(*backend, rows, c.spec.outputs());
        const std::vector<float> all = predicted(*backend, model, batch);
        for (int o = 0; o < c.spec.outputs(); ++o) {
          Model one(*backend, scalar_of(c.spec));
          one.upload(scalar_block(c.spec, block, o));
          const std::vector<float> alone = predicted(*backend, one, batch);
          for (std::int64_t i = 0; i < rows; ++i)
            ASSERT_NEAR(all[o * rows + i], alone[i], 2e-5 * c.slack * (1 + std::abs(alone[i])))
                << backend->name() << ", " << c.label << ", output " << o << ", row " << i;
        }
      }
}

// The loss is the mean over outputs: so is the gradient of what they share, and each one's own is
// divided by their number.
void check_gradient(Backend& backend, const Case& c, const Loss& loss) {
  const std::string where = backend.name() + ", " + c.label + ", " + name(loss);
  constexpr std::int64_t rows = 130;
  const int outputs = c.spec.outputs();
  const std::vector<float> block = block_of(c.spec, 4);
  const Objective objective{loss, 1.0 / rows};
  const VectorBatch batch(backend, rows, outputs);
  Model model(backend, c.spec);
  model.upload(block);
  model.train();
  const BatchSums sums = backend.gradient(model, batch.at(), batch.wanted(), objective);
  std::vector<float> want(block.size());
  BatchSums mean;
  for (int o = 0; o < outputs; ++o) {
    Model one(backend, scalar_of(c.spec));
    one.upload(scalar_block(c.spec, block, o));
    one.train();
    const BatchSums alone = backend.gradient(one, batch.at(), batch.wanted(o), objective);
    mean.loss += alone.loss / outputs;
    mean.squared_error += alone.squared_error / outputs;
    const std::vector<float> gradient = download(one.gradient(), backend);
    each_slice(c.spec, o, [&](const Slice& a, const Slice& b, int row) {
      const std::int64_t to = a.offset + (row < 0 ? 0 : row * std::max<std::int64_t>(a.columns, 1));
      for (std::int64_t i = 0; i < b.size(); ++i)
        want[to + i] += gradient[b.offset + i] / static_cast<float>(outputs);
    });
  }
  EXPECT_TRUE(sums.finite) << where;
  EXPECT_NEAR(sums.loss, mean.loss, 1e-4 * mean.loss) << where;
  EXPECT_NEAR(sums.squared_error, mean.squared_error, 1e-4 * mean.squared_error) << where;
  const std::vector<float> got = download(model.gradient(), backend);
  EXPECT_GT(length(want), 0) << where;
  EXPECT_LT(distance(got, want), 2e-4 * c.slack * length(want)) << where;
}

TEST(Vector, GradientIsTheMeanOfItsOutputs) {
  for (const auto& backend : all_backends())
    for (const Case& c : vector_cases()) check_gradient(*backend, c, loss::Mse{});
  for (const auto& backend : all_backends())
    for (const Loss& loss : {Loss{loss::L1{}}, Loss{loss::Huber{0.3f}},
                             Loss{loss::RelativeL1{0.2f}}, Loss{loss::RelativeL2{0.2f}}})
      check_gradient(*backend, vector_cases().front(), loss);
}

// Along the gradient itself, where it is steepest.
TEST(Vector, GradientIsTheCentralDifference) {
  ModelSpec spec = chain(encoder::HashGrid{2, 2, 6, 4, 2}, {12, 3}, basis::Identity{},
                         basis::Sine{2}, false, false);
  constexpr std::int64_t rows = 200;
  for (const auto& backend : all_backends())
    for (const Loss& loss : {Loss{loss::Mse{}}, Loss{loss::Huber{0.3f}}}) {
      const Objective objective{loss, 1.0 / rows};
      const std::vector<float> block = block_of(spec, 9);
      const VectorBatch batch(*backend, rows, 3);
      Model model(*backend, spec);
      model.upload(block);
      model.train();
      backend->gradient(model, batch.at(), batch.wanted(), objective);
      const std::vector<float> gradient = download(model.gradient(), *backend);
      const double norm = length(gradient), h = 1e-2;
      double loss_at[2];
      for (const int side : {0, 1}) {
        std::vector<float> moved = block;
        for (std::size_t i = 0; i < moved.size(); ++i)
          moved[i] += static_cast<float>((side ? h : -h) * gradient[i] / norm);
        model.upload(moved);
        loss_at[side] = backend->gradient(model, batch.at(), batch.wanted(), objective).loss / rows;
      }
      EXPECT_NEAR((loss_at[1] - loss_at[0]) / (2 * h), norm, 5e-3 * norm)
          << backend->name() << ", " << name(loss);
    }
}

TEST(Vector, DecodesWhatItPredicts) {
  const Lattice lattice{{21, 14, 9}, {{2, 1, 3}, {20, 14, 8}}};
  const Shape box = lattice.box.shape();
  const std::int64_t voxels = box.count();
  for (const auto& backend : all_backends())
    for (const Case& c : vector_cases()) {
      Model model(*backend, c.spec);
      model.upload(block_of(c.spec, 3));
      const int outputs = c.spec.outputs();
      std::vector<float> points;
      for (int d = 0; d < 3; ++d)
        for (std::int64_t i = 0; i < voxels; ++i) {
          const std::int64_t at[3] = {i % box.x, i / box.x % box.y, i / (box.x * box.y)};
          const std::int64_t size[3] = {21, 14, 9};
          points.push_back(static_cast<float>(
              (static_cast<double>(lattice.box.low[d] + at[d]) + 0.5) * (1.0 / size[d])));
        }
      VectorBatch batch(*backend, voxels, outputs);
      backend->upload(batch.points.data(), points.data(), batch.points.bytes());
      const std::vector<float> want = predicted(*backend, model, batch);
      Buffer<float> values(*backend, outputs * voxels);
      backend->decode(model, lattice, {values.data()});
      const std::vector<float> got = download(values, *backend);
      for (std::size_t i = 0; i < want.size(); ++i)
        ASSERT_NEAR(got[i], want[i], 1e-4 * c.slack * (1 + std::abs(want[i])))
            << backend->name() << ", " << c.label << ", " << i;
    }
}

struct Drawn {
  std::vector<float> points, targets;
};

template <class Sample>
Drawn drawn(Backend& backend, int components, std::int64_t rows, Sample sample) {
  Buffer<float> points(backend, 3 * rows), targets(backend, components * rows);
  sample(Rows{points.data(), rows, 3, rows}, Rows{targets.data(), rows, components, rows});
  return {download(points, backend), download(targets, backend)};
}

void expect_components(const Drawn& all, const Drawn& one, int component, std::int64_t rows) {
  EXPECT_EQ(all.points, one.points);
  const auto from = all.targets.begin() + component * rows;
  EXPECT_EQ(std::vector<float>(from, from + rows), one.targets) << "component " << component;
}

template <class Voxel>
void check_samples(Backend& backend, Dtype dtype) {
  const Volume volume = vector_volume<Voxel>({13, 11, 9}, dtype);
  constexpr std::int64_t rows = 300;
  const Stream stream = make_stream(4, 1, Purpose::samples, 3);
  for (const Box& box : {whole(volume.shape), Box{{3, 2, 4}, {9, 11, 8}}}) {
    const auto sample = [&](const Volume& of) {
      const VolumeView view = backend.place(of, box);
      return drawn(backend, of.components, rows, [&](Rows points, Rows targets) {
        backend.sample(view, box, stream, 17, points, targets);
      });
    };
    const Drawn all = sample(volume);
    for (int c = 0; c < 3; ++c) expect_components(all, sample(volume.component(c)), c, rows);
  }
  backend.displace();
}

TEST(Vector, SamplesAreThoseOfEachComponent) {
  for (const auto& backend : all_backends()) {
    check_samples<std::uint8_t>(*backend, Dtype::uint8);
    check_samples<std::int16_t>(*backend, Dtype::int16);
    check_samples<float>(*backend, Dtype::float32);
  }
}

TEST(Vector, BricksAreThoseOfEachComponent) {
  const Volume volume = vector_volume<std::uint16_t>({52, 40, 36}, Dtype::uint16);
  for (const auto& backend : all_backends()) {
    const BrickPlan plan = plan_bricks(volume, whole(volume.shape), 16 * 18 * 18 * 18 * 6 + 65536);
    const BrickOrder order{7, 0, 200};
    BrickStream all(*backend, volume, plan, order);
    for (int c = 0; c < 3; ++c) {
      const Volume one = volume.component(c);
      BrickStream alone(*backend, one, plan, order), again(*backend, volume, plan, order);
      for (std::uint64_t step = 0; step < 12; ++step) {
        const auto sample = [&](BrickStream& bricks, int components) {
          return drawn(*backend, components, 200, [&](Rows points, Rows targets) {
            bricks.sample(make_stream(9, 0, Purpose::samples, step), points, targets);
          });
        };
        expect_components(sample(again, 3), sample(alone, 1), c, 200);
      }
    }
  }
}

// Figures and voxels are those of the models of one output, on each component.
TEST(Vector, IsMeasuredComponentByComponent) {
  const Volume volume = vector_volume<std::uint16_t>({19, 17, 15}, Dtype::uint16);
  const ModelSpec spec = vector_cases().front().spec;
  const std::vector<float> block = block_of(spec, 3);
  const std::unique_ptr<Communicator> alone = open_single();
  const TemporaryDirectory directory;
  for (const auto& backend : all_backends()) {
    const auto measure = [&](const Volume& of, const ModelSpec& as, const std::vector<float>& with,
                             const std::string& file) {
      Model model(*backend, as);
      model.upload(with);
      VolumeWriter writer(*alone, directory / file, of.header());
      const Evaluation found = evaluate(ModelField(model), of.ranges(), of, *alone, true, &writer);
      writer.commit();
      return found;
    };
    const Evaluation all = measure(volume, spec, block, "all_3x19x17x15_uint16.raw");
    const std::string mixed = read_file(directory / "all_3x19x17x15_uint16.raw");
    const std::size_t voxels = 19 * 17 * 15;
    ASSERT_EQ(mixed.size(), 6 * voxels);
    ASSERT_EQ(all.components.size(), 3u);
    for (int c = 0; c < 3; ++c) {
      const Evaluation one = measure(volume.component(c), scalar_of(spec),
                                     scalar_block(spec, block, c), "one_19x17x15_uint16.raw");
      const Metrics &got = all.components[c], &want = one.metrics;
      EXPECT_NEAR(got.mse, want.mse, 1e-5 * want.mse) << backend->name() << c;
      EXPECT_NEAR(got.ssim, want.ssim, 1e-5);
      EXPECT_NEAR(got.ssim_3d, want.ssim_3d, 1e-5);
      EXPECT_NEAR(got.max_error, want.max_error, 1e-5);
      const std::string voxels_of_one = read_file(directory / "one_19x17x15_uint16.raw");
      std::size_t off = 0;
      for (std::size_t i = 0; i < voxels; ++i) {
        std::uint16_t a, b;
        std::memcpy(&a, mixed.data() + 2 * (3 * i + c), 2);
        std::memcpy(&b, voxels_of_one.data() + 2 * i, 2);
        ASSERT_LE(std::abs(int(a) - int(b)), 1) << c << " " << i;
        off += a != b;
      }
      EXPECT_LT(off, voxels / 50);
      if (c == 0) {
        EXPECT_EQ(all.slices[0].original, one.slices[0].original);
      }
    }
    EXPECT_EQ(all.metrics.mse, mean_of(all.components).mse);
    // What was written is read as it was.
    const Volume back = open_volume(directory / "all_3x19x17x15_uint16.raw");
    ASSERT_EQ(back.components, 3);
    std::uint16_t first;
    std::memcpy(&first, mixed.data() + 2 * (3 * 5 + 2), 2);
    EXPECT_EQ(static_cast<const std::uint16_t*>(back.data())[2 * voxels + 5], first);
  }
}

struct Outcome {
  std::vector<float> parameters;
  History history;
};

Outcome trained(Backend& backend, const Volume& volume, const ModelSpec& spec,
                const std::vector<float>& block, const Training& training, bool in_bricks = false) {
  Model model(backend, spec);
  model.upload(block);
  const std::unique_ptr<Communicator> alone = open_single();
  const Box box = whole(volume.shape);
  Outcome outcome;
  outcome.history = in_bricks ? train_in_bricks(model, volume, box, training, *alone)
                              : train(model, backend.place(volume, box), box, training, *alone);
  backend.displace();
  outcome.parameters = model.download();
  return outcome;
}

// Three equal components with equal weights learn what one learns: Adam does not see that each
// one's gradient is a third.
void check_equal_components(Backend& backend, const Training& training, const ModelSpec& spec,
                            const std::string& what) {
  const Volume volume = vector_volume<float>({12, 10, 8}, Dtype::float32, true);
  std::vector<float> block = block_of(spec, 6);
  repeat_first_output(spec, block);
  const Outcome all = trained(backend, volume, spec, block, training);
  const Outcome one = trained(backend, volume.component(1), scalar_of(spec),
                              scalar_block(spec, block, 1), training);
  const std::string where = backend.name() + ", " + what;
  ASSERT_EQ(all.history.epochs.size(), one.history.epochs.size());
  const double before = one.history.epochs.front().loss, after = one.history.epochs.back().loss;
  EXPECT_LT(after, before) << where;
  EXPECT_NEAR(all.history.epochs.back().loss, after, 2e-2 * after) << where;
  EXPECT_NEAR(all.history.epochs.back().psnr, one.history.epochs.back().psnr, 0.2) << where;
  for (int o = 0; o < 3; ++o) {
    const std::vector<float> learnt = scalar_block(spec, all.parameters, o);
    EXPECT_LT(distance(learnt, one.parameters),
              0.1 * distance(one.parameters, scalar_block(spec, block, 0)))
        << where << ", output " << o;
  }
}

Training some_training() {
  Training training;
  training.epochs = 2;
  training.batch_size = 64;
  training.lrate = 3e-3;
  training.loss = loss::Mse{};
  training.seed = 2;
  return training;
}

ModelSpec some_spec(const Encoder& encoder = encoder::HashGrid{2, 2, 7, 4, 1.6}) {
  return chain(encoder, {16, 3}, basis::Identity{}, basis::Sine{2}, false, false);
}

TEST(Vector, EqualComponentsLearnAsOne) {
  for (const auto& backend : all_backends()) {
    Training training = some_training();
    check_equal_components(*backend, training, some_spec(), "adam");
    training.error_sampling = {3, 0.5};
    check_equal_components(*backend, training, some_spec(), "errors");
  }
}

TEST(Vector, GridsThatMoveFollowTheErrorOfAllComponents) {
  encoder::AdaptiveMultiGrid grids;
  grids.n_grids = 4;
  grids.resolution = 4;
  for (const auto& backend : all_backends()) {
    Training training = some_training();
    training.epochs = 4;
    check_equal_components(*backend, training, some_spec(grids), "grids that move");
  }
}

TEST(Vector, LearnsByLbfgsAndFromBricks) {
  if (KANBENCH_EMULATED)
    GTEST_SKIP() << "long under the emulator, and nothing of the backend's own";
  for (const auto& backend : all_backends()) {
    const Volume volume = vector_volume<float>({40, 36, 34}, Dtype::float32);
    Training training = some_training();
    training.batch_size = 4096;
    training.lbfgs = true;
    const Outcome newton =
        trained(*backend, volume, some_spec(), block_of(some_spec(), 6), training);
    EXPECT_LT(newton.history.epochs.back().loss, 0.9 * newton.history.epochs.front().loss);
    training.lbfgs = false;
    training.epochs = 3;
    const Outcome pieces =
        trained(*backend, volume, some_spec(), block_of(some_spec(), 6), training, true);
    EXPECT_LT(pieces.history.epochs.back().loss, 0.9 * pieces.history.epochs.front().loss);
  }
}

}  // namespace
}  // namespace kanbench
