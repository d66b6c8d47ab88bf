// Checkpoints: every number comes back, on whatever ranks; what is damaged is passed over, said so,
// and the older one taken.

#include "kanbench/checkpoint.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "checkpoint_file.h"
#include "checkpoint_support.h"
#include "kanbench/error.h"
#include "kanbench/file.h"
#include "kanbench/safetensors.h"

namespace kanbench {
namespace {

namespace fs = std::filesystem;
using test::Case;

constexpr double kInfinity = std::numeric_limits<double>::infinity();

class Checkpoints : public ::testing::Test {
 protected:
  CheckpointStore store(const std::string& name = "x") const { return {directory.path(), name}; }
  fs::path file(std::int64_t step) const {
    const std::string digits = std::to_string(step);
    return directory / ("x." + std::string(12 - digits.size(), '0') + digits + ".ckpt");
  }
  test::TemporaryDirectory directory;
};

TEST_F(Checkpoints, ComeBackOnAnyRanks) {
  for (const bool sharded : {false, true})
    for (const int writers : {1, 2, 3}) {
      Case training;
      training.sharded = sharded;
      training.save(store(), writers, writers);
      for (const int readers : {1, 2, 3})
        EXPECT_EQ(training.load(store(), readers), writers) << writers << " " << readers;
    }
}

TEST_F(Checkpoints, OfManyModelsComeBackOnAnyRanks) {
  Case training;
  training.count = 5;
  training.spread = true;
  for (const int writers : {1, 2, 3}) {
    training.save(store(), writers, writers);
    for (const int readers : {1, 2, 5}) EXPECT_EQ(training.load(store(), readers), writers);
  }
}

// Of a share for two ranks one is empty where there is a line of floats only.
TEST_F(Checkpoints, OfTheSmallestModelComeBack) {
  Case training;
  training.spec = {"mlp", encoder::Identity{}, {Layer{3, 1, basis::Identity{}}}};
  training.spec.layers[0].bias = false;
  ASSERT_EQ(make_layout(training.spec).size, 16);
  training.sharded = true;
  for (const int writers : {1, 2, 3}) {
    training.save(store(), writers, writers);
    for (const int readers : {1, 2, 3}) EXPECT_EQ(training.load(store(), readers), writers);
  }
}

TEST_F(Checkpoints, AreTheSameFileFromAnyRanks) {
  Case training;
  training.save(store(), 1, 9);
  const std::string alone = read_file(file(9));
  for (const int ranks : {2, 3})
    for (const bool sharded : {false, true}) {
      training.sharded = sharded;
      training.save(store(), ranks, 9);
      EXPECT_EQ(read_file(file(9)), alone) << ranks << sharded;
    }
}

TEST_F(Checkpoints, AreSafetensors) {
  Case training;
  training.count = 2;
  training.save(store(), 1, 3);
  const Safetensors all = read_safetensors(file(3));
  ASSERT_EQ(all.tensors.size(), 7u);
  const Tensor* moment = all.find("second_moment.1");
  ASSERT_TRUE(moment);
  float second;
  std::memcpy(&second, moment->data.data() + sizeof second, sizeof second);
  EXPECT_EQ(second, test::number_at(1, 2, 1, 3));
}

TEST_F(Checkpoints, KeepTheWholeState) {
  TrainingState state;
  state.step = (std::int64_t{1} << 53) + 1;
  state.adam_steps = 12;
  state.epoch = 3;
  state.halvings = 2;
  state.failures = 1;
  state.good_steps = 63;
  state.loss = 0.1 + 0.2;
  state.plateau = {0.25, 2, 3};
  state.memory = {0.5, 1e-9};
  state.squared_error = 5e-324;
  state.rows = std::int64_t{1} << 61;
  state.seconds = std::nextafter(1.0, 2.0);
  state.history.epochs = {{NAN, -kInfinity, -0.0, 7}, {kInfinity, 1e308, 1.0 / 3, 0}};
  state.history.recoveries = {{1, std::int64_t{1} << 40, 0.30000000000000004}};
  state.history.interrupted = true;
  state.history.seconds = 1e-9;
  state.history.communication_seconds = 2;
  state.finished = true;
  const TrainingState back = decode_state(encode_state(state));
  EXPECT_EQ(back.step, state.step);
  EXPECT_EQ(back.adam_steps, 12);
  EXPECT_EQ(back.epoch, 3);
  EXPECT_EQ(back.halvings, 2);
  EXPECT_EQ(back.failures, 1);
  EXPECT_EQ(back.good_steps, 63);
  EXPECT_EQ(back.loss, state.loss);
  EXPECT_EQ(back.memory, state.memory);
  EXPECT_EQ(back.plateau.best, 0.25);
  EXPECT_EQ(back.plateau.stale_epochs, 2);
  EXPECT_EQ(back.plateau.reductions, 3);
  EXPECT_EQ(back.squared_error, 5e-324);
  EXPECT_EQ(back.rows, state.rows);
  EXPECT_EQ(back.seconds, state.seconds);
  ASSERT_EQ(back.history.epochs.size(), 2u);
  EXPECT_TRUE(std::isnan(back.history.epochs[0].loss));
  EXPECT_EQ(back.history.epochs[0].psnr, -kInfinity);
  EXPECT_TRUE(std::signbit(back.history.epochs[0].seconds));
  EXPECT_EQ(back.history.epochs[0].samples, 7);
  EXPECT_EQ(back.history.epochs[1].loss, kInfinity);
  EXPECT_EQ(back.history.epochs[1].psnr, 1e308);
  EXPECT_EQ(back.history.epochs[1].seconds, 1.0 / 3);
  ASSERT_EQ(back.history.recoveries.size(), 1u);
  EXPECT_EQ(back.history.recoveries[0].epoch, 1);
  EXPECT_EQ(back.history.recoveries[0].step, std::int64_t{1} << 40);
  EXPECT_EQ(back.history.recoveries[0].lrate, 0.30000000000000004);
  EXPECT_TRUE(back.history.interrupted);
  EXPECT_FALSE(back.history.failed);
  EXPECT_EQ(back.history.seconds, 1e-9);
  EXPECT_EQ(back.history.communication_seconds, 2);
  EXPECT_TRUE(back.finished);
  EXPECT_EQ(encode_state(back), encode_state(state));
}

TEST_F(Checkpoints, AreAbsentBeforeTheFirst) {
  std::vector<std::string> said;
  EXPECT_EQ(Case{}.load(store(), 2, &said), -1);
  const CheckpointStore nowhere(directory / "no" / "such", "x");
  EXPECT_EQ(Case{}.load(nowhere, 2, &said), -1);
  EXPECT_TRUE(said.empty());
  Case{}.save(nowhere, 2, 1);
  EXPECT_EQ(Case{}.load(nowhere, 2), 1);
}

TEST_F(Checkpoints, TwoAreKept) {
  for (const std::int64_t step : {1, 2, 10}) Case{}.save(store(), 2, step);
  EXPECT_EQ(test::files_in(directory.path()),
            (std::vector<std::string>{file(2).filename(), file(10).filename()}));
  EXPECT_EQ(Case{}.load(store(), 1), 10);
}

// As when the newest was damaged, or the training began anew.
TEST_F(Checkpoints, LaterOnesGoWhenTheTrainingWentAnotherWay) {
  for (const std::int64_t step : {1, 2, 10, 9}) Case{}.save(store(), 2, step);
  EXPECT_EQ(test::files_in(directory.path()),
            (std::vector<std::string>{file(2).filename(), file(9).filename()}));
  EXPECT_EQ(Case{}.load(store(), 1), 9);
}

TEST_F(Checkpoints, AreRemovedWithAnEmptyDirectory) {
  const fs::path place = directory / "checkpoints";
  const CheckpointStore mine(place, "x"), other(place, "x.y");
  Case{}.save(mine, 1, 1);
  Case{}.save(mine, 1, 2);
  Case{}.save(other, 1, 3);
  mine.remove();
  EXPECT_EQ(test::files_in(place), std::vector<std::string>{"x.y.000000000003.ckpt"});
  other.remove();
  EXPECT_FALSE(fs::exists(place));
  other.remove();
}

TEST_F(Checkpoints, OfOthersAreLeftAlone) {
  Case{}.save(store("x.y"), 1, 8);
  for (const char* name : {"x.1.ckpt", "x.000000000001.ckpt.partial-1-2", "x.ckpt", "x..ckpt",
                           "x.-00000000001.ckpt", "x.0000000000001.ckpt", "x.00000000000a.ckpt"})
    test::write_text(directory / name, "no checkpoint");
  std::vector<std::string> said;
  EXPECT_EQ(Case{}.load(store(), 1, &said), -1);
  EXPECT_TRUE(said.empty());
  const std::size_t before = test::files_in(directory.path()).size();
  store().remove();
  EXPECT_EQ(test::files_in(directory.path()).size(), before);
}

// A chunk is 64 MB; a block of these is more.
TEST_F(Checkpoints, LargerThanAChunkComeBack) {
  Case large;
  large.spec = test::small_spec(1, 21, 8, 512);
  ASSERT_GT(make_layout(large.spec).size, 16 << 20);
  large.save(store(), 1, 1);
  EXPECT_EQ(large.load(store(), 1), 1);
}

// Beyond what 32 bits, and what 31 bits of floats, can count.
TEST_F(Checkpoints, HaveRoomForLargeModels) {
  const std::int64_t floats = std::int64_t{1} << 34;
  const CheckpointLayout layout("x", "{}", {floats, 16});
  const auto header = static_cast<std::int64_t>(layout.header().size());
  EXPECT_EQ(layout.offset(0, CheckpointLayout::second_moment, floats - 1),
            header + 4 * (3 * floats - 1));
  EXPECT_EQ(layout.offset(1, CheckpointLayout::parameters, 0), header + 12 * floats);
  EXPECT_EQ(layout.bytes(), header + 12 * floats + 12 * 16 + 8);
}

TEST_F(Checkpoints, HashDoesNotDependOnTheCut) {
  std::vector<std::uint64_t> words(1000);
  for (std::size_t i = 0; i < words.size(); ++i) words[i] = i * i;
  const std::uint64_t all = hash_part(words.data(), 8000, 64);
  EXPECT_EQ(hash_part(words.data() + 300, 5600, 64 + 2400) + hash_part(words.data(), 2400, 64),
            all);
  std::swap(words[10], words[11]);
  EXPECT_NE(hash_part(words.data(), 8000, 64), all);
}

TEST(CheckpointIntervals, AreMinutesOrEpochs) {
  EXPECT_EQ(parse_interval("10min", "--x").minutes, 10);
  EXPECT_EQ(parse_interval("0.5min", "--x").minutes, 0.5);
  EXPECT_EQ(parse_interval("5epochs", "--x").epochs, 5);
  EXPECT_EQ(parse_interval("1epoch", "--x").epochs, 1);
  EXPECT_EQ(parse_interval("1epoch", "--x").minutes, 0);
  for (const char* word :
       {"", "10", "min", "0min", "-1min", "nanmin", "infmin", "0epochs", "epochs", "1.5epochs",
        "3000000000epochs", "10 min", "10mins", "1e400min", "10h"})
    EXPECT_EQ(test::message_of<Error>([&] { parse_interval(word, "--checkpoint-every"); }),
              "--checkpoint-every: expected minutes as 10min or epochs as 5epochs, more than none "
              "of them, found '" +
                  std::string(word) + "'");
}

}  // namespace
}  // namespace kanbench
