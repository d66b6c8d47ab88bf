#include "kanbench/estimate.h"

#include "kanbench/error.h"
#include "run_support.h"
#include "support.h"

namespace kanbench::test {
namespace {

Run make_run() {
  return parse_runs(R"({"d": {"lrate": 0.01, "lrate_decay": 0, "epochs": 10, "n_neurons": 64,
    "n_hidden_layers": 2, "n_levels": 8, "n_features_per_level": 2, "per_level_scale": 1.5,
    "log2_hashmap_size": 14, "base_resolution": 8, "network_types": ["mlp"]}})",
                    "x.json")[0];
}

EstimateInput make_input() {
  EstimateInput in;
  in.run = make_run();
  in.shape = {256, 256, 256};
  in.data_bytes = in.shape.count();
  in.row_bytes = 1000;
  in.device = {"", 40, 20e12, 1.5e12};
  in.network = parse_network("nvlink", "x");
  return in;
}

constexpr double kStart = 60;

TEST(Estimate, GrowsWithEpochsAndRepeatsAndShrinksWithTheDevice) {
  EstimateInput in = make_input();
  const double once = RunEstimate(in).seconds(1) - kStart;
  EXPECT_GT(once, 0);
  in.run.repeats = 3;
  EXPECT_NEAR(RunEstimate(in).seconds(1) - kStart, 3 * once, 1e-9 * once);
  in.run.repeats = 1;
  in.run.epochs = 20;
  const double twice = RunEstimate(in).seconds(1) - kStart;
  EXPECT_GT(twice, 1.5 * once);
  EXPECT_LT(twice, 2 * once);
  in.device.flops_per_second *= 1000;
  in.device.bytes_per_second *= 1000;
  EXPECT_LT(RunEstimate(in).seconds(1), kStart + twice);
}

TEST(Estimate, MoreRanksTakeLessTimeAndMemory) {
  EstimateInput in = make_input();
  in.device = {"", 40, 20e10, 1.5e10};
  const RunEstimate estimate(in);
  EXPECT_LT(estimate.seconds(4), 0.5 * estimate.seconds(1));
  EXPECT_LT(estimate.device_bytes(4), estimate.device_bytes(1));
  EXPECT_GT(estimate.host_bytes(4, false), 2e9 + static_cast<double>(in.data_bytes));
  in.run.training.optimizer = "lbfgs";
  EXPECT_EQ(RunEstimate(in).most_ranks(), 1);
  EXPECT_GT(estimate.most_ranks(), 64);
}

TEST(Estimate, CountsParametersVolumeAndRows) {
  EstimateInput in = make_input();
  in.run.batch_size = 1 << 20;
  const double bytes = RunEstimate(in).device_bytes(1) * 16 / 17;
  // Seven blocks of at most 8 levels x 2 x 2^14 numbers and a decoder of some thousand.
  const double model = bytes - static_cast<double>(in.data_bytes) - 1000.0 * (1 << 20);
  EXPECT_GT(model, 7 * 4 * 4096);
  EXPECT_LT(model, 7 * 4 * (8 * 2 * 16384 + 10000));
}

TEST(Estimate, GoesByAMeasuredEpoch) {
  EstimateInput in = make_input();
  const EpochTime time{"key", "cuda:0 X", 1, 65536, 100};
  in.measured = &time;
  const RunEstimate estimate(in);
  EXPECT_TRUE(estimate.measured());
  const double seconds = estimate.seconds(1) - kStart;
  EXPECT_GT(seconds, 10 * 100);
  EXPECT_LT(seconds, 10 * 100 * 1.5);
  // Measured on four, it is that on four.
  const EpochTime on_four{"key", "cuda:0 X", 4, 65536, 100};
  in.measured = &on_four;
  EXPECT_GT(RunEstimate(in).seconds(1), 1.5 * seconds);
  EXPECT_NEAR(RunEstimate(in).seconds(4), 1060, 300);
}

TEST(Estimate, ATimedRunTakesItsTime) {
  EstimateInput in = make_input();
  in.run.training.train_limit_seconds = 500;
  in.run.repeats = 2;
  EXPECT_GE(RunEstimate(in).seconds(1), kStart + 1000);
  EXPECT_LT(RunEstimate(in).seconds(1), kStart + 1100);
}

TEST(Estimate, RunsThatTakeAsLongAnEpochShareAKey) {
  const kanbench::Run run = make_run();
  const std::string key = epoch_key(run, "volume");
  kanbench::Run other = run;
  other.epochs = 99;
  other.seed = 5;
  other.lrate = 0.5;
  other.repeats = 7;
  other.index = 4;
  other.training.train_limit_seconds = 3;
  EXPECT_EQ(epoch_key(other, "volume"), key);
  EXPECT_NE(epoch_key(run, "another"), key);
  for (const auto change :
       {+[](kanbench::Run& r) { r.n_neurons = 32; }, +[](kanbench::Run& r) { r.batch_size = 7; },
        +[](kanbench::Run& r) { r.log2_hashmap_size = 9; },
        +[](kanbench::Run& r) { r.network_type = "siren"; }}) {
    kanbench::Run changed = run;
    change(changed);
    EXPECT_NE(epoch_key(changed, "volume"), key);
  }
}

TEST(Estimate, ReadsTheTimesThatItWrote) {
  const TemporaryDirectory here;
  const auto file = here / "estimates.jsonl";
  EXPECT_TRUE(read_epoch_times(file).empty());
  append_epoch_time(file, {"k1", "cpu \"x\"", 2, 256, 0.125});
  append_epoch_time(file, {"k2", "cuda:0", 1, 512, 3});
  const auto times = read_epoch_times(file);
  ASSERT_EQ(times.size(), 2u);
  EXPECT_EQ(times[0].device, "cpu \"x\"");
  EXPECT_EQ(times[0].ranks, 2);
  EXPECT_EQ(times[1].seconds, 3);
  for (const char* line : {"{", "[]", "{\"key\": 3}",
                           "{\"key\": \"k\", \"device\": \"d\", \"ranks\": 0, \"batch_size\": 1, "
                           "\"epoch_seconds\": 1}",
                           "{\"key\": \"k\", \"device\": \"d\", \"ranks\": 1, \"batch_size\": 1, "
                           "\"epoch_seconds\": -1}"}) {
    write_text(file, std::string("\n") + line + "\n");
    const std::string said = message_of<Error>([&] { read_epoch_times(file); });
    EXPECT_NE(said.find("estimates.jsonl: line 2"), std::string::npos) << said;
  }
}

}  // namespace
}  // namespace kanbench::test
