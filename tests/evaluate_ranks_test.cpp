// Reconstructions that many ranks decode, measure and write together.

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "backend_cases.h"
#include "kanbench/file.h"
#include "kanbench/interruption.h"
#include "kanbench/io.h"
#include "kanbench/reconstruct.h"
#include "support.h"
#include "thread_ranks.h"

namespace kanbench {
namespace {

using test::messages_on_ranks;
using test::on_ranks;
using test::TemporaryDirectory;

Volume waves(const Shape& shape) {
  auto voxels = std::make_shared<std::vector<std::uint16_t>>();
  for (std::int64_t i = 0; i < shape.count(); ++i)
    voxels->push_back(static_cast<std::uint16_t>(30000 + 20000 * std::sin(0.013 * double(i))));
  return {"waves", shape, Dtype::uint16, std::shared_ptr<const void>(voxels, voxels->data()), ""};
}

ModelSpec some_spec() {
  return test::chain(encoder::HashGrid{3, 2, 9, 4, 2}, {16, 1}, basis::Identity{}, basis::Relu{},
                     false, false);
}

// A model that has learnt nothing, each rank's its own.
class Untrained : public Field {
 public:
  Untrained() : backend_(open_cpu()), model_(*backend_, some_spec()) {
    model_.upload(test::block_of(some_spec(), 3));
  }
  Backend& backend() const override { return *backend_; }
  void decode(const Lattice& lattice, const Decoded& out) const override {
    ++decoded;
    backend_->decode(model_, lattice, out);
  }
  /// Leaves room for slabs of `slices` slices.
  void limit(const Shape& shape, std::size_t slices) {
    const auto slice = static_cast<std::size_t>(shape.x * shape.y);
    backend_->limit_memory(backend_->peak_bytes() + 4 * 12 * slice * slices);
  }
  mutable int decoded = 0;

 private:
  std::unique_ptr<Backend> backend_;
  Model model_;
};

void expect_close(double got, double want, double relative) {
  EXPECT_NEAR(got, want, relative * std::abs(want));
}

void expect_same(const std::vector<SlicePair>& got, const std::vector<SlicePair>& want) {
  ASSERT_EQ(got.size(), want.size());
  for (std::size_t i = 0; i < got.size(); ++i) {
    EXPECT_EQ(got[i].axis, want[i].axis);
    EXPECT_EQ(got[i].index, want[i].index);
    EXPECT_EQ(got[i].original, want[i].original);
    EXPECT_EQ(got[i].reconstruction, want[i].reconstruction);
  }
}

TEST(EvaluateRanks, EqualOne) {
  const TemporaryDirectory directory;
  // The last has fewer slices than ranks.
  for (const Shape shape : {Shape{21, 18, 33}, Shape{14, 9, 17}, Shape{16, 13, 5}}) {
    const Volume volume = waves(shape);
    const auto alone = open_single();
    const auto path = directory / raw_file_name({"one", shape, volume.dtype});
    VolumeWriter writer(*alone, path, volume.header());
    // Another range than the volume's: values are brought to it.
    const double low = volume.low - 100, high = volume.high + 50;
    const Evaluation want = evaluate(Untrained(), {{low, high}}, volume, *alone, true, &writer);
    writer.commit();
    ASSERT_EQ(want.slices.size(), 3u);
    for (const int ranks : {2, 3, 4, 7}) {
      SCOPED_TRACE(text(shape) + " on " + std::to_string(ranks));
      const auto together = directory / raw_file_name({"many", shape, volume.dtype});
      on_ranks(ranks, [&](Communicator& communicator) {
        VolumeWriter parts(communicator, together, volume.header());
        const Evaluation got =
            evaluate(Untrained(), {{low, high}}, volume, communicator, true, &parts);
        parts.commit();
        expect_close(got.metrics.mse, want.metrics.mse, 1e-12);
        expect_close(got.metrics.psnr, want.metrics.psnr, 1e-12);
        expect_close(got.metrics.ssim, want.metrics.ssim, 1e-12);
        expect_close(got.metrics.ssim_3d, want.metrics.ssim_3d, 1e-12);
        EXPECT_EQ(got.metrics.max_error, want.metrics.max_error);
        EXPECT_GT(got.decode_seconds, 0);
        if (communicator.rank() == 0)
          expect_same(got.slices, want.slices);
        else
          EXPECT_TRUE(got.slices.empty());
      });
      EXPECT_EQ(read_file(path), read_file(together));
    }
  }
}

TEST(EvaluateRanks, SlicesAreSharedOut) {
  for (const std::int64_t z : {std::int64_t{1}, std::int64_t{5}, std::int64_t{41}})
    for (const int size : {1, 2, 7, 64}) {
      std::int64_t next = 0;
      for (int rank = 0; rank < size; ++rank) {
        const Range slices = slices_of({9, 9, z}, rank, size);
        EXPECT_EQ(slices.begin, next);
        EXPECT_GE(slices.size(), z / size);
        EXPECT_LE(slices.size(), (z + size - 1) / size);
        next = slices.end;
      }
      EXPECT_EQ(next, z);
    }
  const std::int64_t many = std::int64_t{1} << 56;
  EXPECT_EQ(slices_of({1, 1, many}, 4095, 4096).end, many);
}

// Decodes until it is told not to.
class Failing : public Untrained {
 public:
  explicit Failing(bool fails) : fails_(fails) {}
  void decode(const Lattice& lattice, const Decoded& out) const override {
    if (fails_) throw SystemError("a broken device");
    Untrained::decode(lattice, out);
  }

 private:
  bool fails_;
};

TEST(EvaluateRanks, FailTogether) {
  const Volume volume = waves({21, 18, 33});
  for (const int failing : {0, 2}) {
    const auto messages = messages_on_ranks<SystemError>(3, [&](Communicator& communicator) {
      evaluate(Failing(communicator.rank() == failing), volume.ranges(), volume, communicator);
    });
    EXPECT_EQ(messages,
              std::vector<std::string>(3, "rank " + std::to_string(failing) + ": a broken device"));
  }
}

TEST(EvaluateRanks, StopTogetherWhenAskedTo) {
  const Volume volume = waves({21, 18, 33});
  for (const int ranks : {1, 3}) {
    wish_interruption();
    const auto messages = messages_on_ranks<Interrupted>(ranks, [&](Communicator& communicator) {
      evaluate(Untrained(), volume.ranges(), volume, communicator);
    });
    wish_interruption(false);
    for (const std::string& message : messages) {
      EXPECT_EQ(message, messages[0]);
      EXPECT_NE(message.find("interrupted"), std::string::npos);
    }
  }
}

// The slabs' sizes follow from what is free, on each rank; they must not show.
TEST(EvaluateRanks, SlabsDoNotShow) {
  const Shape shape{23, 19, 37};
  const Volume volume = waves(shape);
  const auto alone = open_single();
  const Evaluation want = evaluate(Untrained(), volume.ranges(), volume, *alone, true);
  Untrained small;
  small.limit(shape, 5);
  const Evaluation got = evaluate(small, volume.ranges(), volume, *alone, true);
  EXPECT_GT(small.decoded, 5);
  EXPECT_EQ(got.metrics.mse, want.metrics.mse);
  EXPECT_EQ(got.metrics.ssim, want.metrics.ssim);
  EXPECT_EQ(got.metrics.ssim_3d, want.metrics.ssim_3d);
  expect_same(got.slices, want.slices);
  on_ranks(3, [&](Communicator& communicator) {
    Untrained field;
    if (communicator.rank() > 0)
      field.limit(shape, static_cast<std::size_t>(2 * communicator.rank()));
    const Evaluation part = evaluate(field, volume.ranges(), volume, communicator, true);
    EXPECT_TRUE(communicator.rank() == 0 || field.decoded > 3);
    expect_close(part.metrics.mse, want.metrics.mse, 1e-12);
    expect_close(part.metrics.ssim_3d, want.metrics.ssim_3d, 1e-12);
    if (communicator.rank() == 0) expect_same(part.slices, want.slices);
  });
}

}  // namespace
}  // namespace kanbench
