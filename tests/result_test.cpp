// Results as a CSV row and a JSON line: columns, numbers, means, and what the table in
// docs/results.md says of them.

#include "kanbench/result.h"

#include <cmath>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <sstream>

#include "result_support.h"
#include "support.h"

namespace kanbench {
namespace {

using test::cell;
using test::sample_result;
using Json = nlohmann::json;

std::vector<std::string> words(const std::string& text) {
  std::istringstream stream(text);
  return {std::istream_iterator<std::string>(stream), {}};
}

TEST(CsvColumns, AreThoseOfTheFormat) {
  EXPECT_EQ(
      csv_columns(),
      words("dataset_name data_size inr_size network_type epoch_count num_neurons "
            "num_hidden_layers num_levels num_features_per_level per_level_scale "
            "log2_hashmap_size base_resolution num_repeats avg_time_per_epoch num_gpus "
            "compression_ratio kan_grid_radius kan_grid_radius_step kan_num_grids "
            "kan_num_grids_step batch_size pbs_job_id pbs_array_index epoch_time_hash "
            "avg_psnr std_dev_psnr avg_ssim std_dev_ssim avg_mse std_dev_mse avg_ssim_3d "
            "status run_index run_id encoder encoder_params precision loss lrate lrate_decay "
            "n_parameters "
            "ranks decomposition device samples_per_second train_seconds "
            "reconstruct_seconds peak_device_bytes peak_host_bytes seed kanbench_version "
            "hostname started_at decoder_params matched optimizer schedule sampling beta1 beta2 "
            "epsilon weight_decay "
            "momentum nesterov decay_factor final_lrate patience warmup loss_delta loss_epsilon "
            "clip_gradient l1_edges entropy_edges sampling_bricks sampling_mix train_limit_seconds "
            "sampling_seconds n_outputs psnr_components ssim_components mse_components "
            "store"));
}

TEST(CsvColumns, AreAllExplainedInOrder) {
  std::ifstream file(test::source_directory() / "docs" / "results.md");
  ASSERT_TRUE(file);
  std::vector<std::string> explained;
  for (std::string line; std::getline(file, line) && line != "## JSON lines";)
    if (line.starts_with("| `")) explained.push_back(line.substr(3, line.find('`', 3) - 3));
  EXPECT_EQ(explained, csv_columns());
}

TEST(CsvRow, HoldsTheComponents) {
  Result result = sample_result("0a1b2c3d");
  EXPECT_EQ(cell(result, "n_outputs"), "1");
  EXPECT_EQ(cell(result, "psnr_components"), "");
  EXPECT_FALSE(Json::parse(json_line(result)).at("trials")[0].contains("components"));
  result.run.n_outputs = 2;
  double psnr = 30;
  for (Trial& trial : result.trials) {
    trial.components = {{1e-3, psnr, 0.5, 0.25, 0.125}, {2e-3, 40, 0.75, 0.5, 1}};
    ++psnr;
  }
  ASSERT_EQ(result.trials.size(), 2u);
  EXPECT_EQ(cell(result, "n_outputs"), "2");
  EXPECT_EQ(cell(result, "psnr_components"), "30.5 40");
  EXPECT_EQ(cell(result, "ssim_components"), "0.5 0.75");
  EXPECT_EQ(cell(result, "mse_components"), "0.001 0.002");
  const Json trial = Json::parse(json_line(result)).at("trials")[1];
  EXPECT_EQ(trial.at("components")[0].at("psnr"), 31);
  EXPECT_EQ(trial.at("components")[1].at("max_error"), 1);
}

TEST(CsvRow, HoldsTheRun) {
  const Result result = sample_result("0a1b2c3d");
  EXPECT_EQ(cell(result, "dataset_name"), "nucleon");
  EXPECT_EQ(cell(result, "data_size"), "68921");
  EXPECT_EQ(cell(result, "inr_size"), "1500");
  EXPECT_EQ(cell(result, "network_type"), "fastkan");
  EXPECT_EQ(cell(result, "per_level_scale"), "1.38");
  EXPECT_EQ(cell(result, "lrate"), "0.01");
  EXPECT_EQ(cell(result, "kan_grid_radius"), "1");
  EXPECT_EQ(cell(result, "kan_grid_radius_step"), "0.5");
  EXPECT_EQ(cell(result, "kan_num_grids"), "8");
  EXPECT_EQ(cell(result, "kan_num_grids_step"), "0");
  EXPECT_EQ(cell(result, "status"), "finished");
  EXPECT_EQ(cell(result, "run_id"), "0a1b2c3d");
  EXPECT_EQ(cell(result, "seed"), "18446744073709551615");
  EXPECT_EQ(cell(result, "num_gpus"), "0");
}

TEST(CsvRow, AveragesOverTrials) {
  const Result result = sample_result("0a1b2c3d");
  EXPECT_EQ(cell(result, "avg_psnr"), "41");
  EXPECT_EQ(cell(result, "std_dev_psnr"), "1");
  EXPECT_EQ(cell(result, "avg_mse"), "0.25");
  EXPECT_EQ(cell(result, "std_dev_mse"), "0");
  EXPECT_EQ(std::stod(cell(result, "compression_ratio")), 68921 / 1500.0);
  // Epochs of 1 and 3 s of 100 samples, twice.
  EXPECT_EQ(cell(result, "avg_time_per_epoch"), "2");
  EXPECT_EQ(cell(result, "samples_per_second"), "50");
  EXPECT_EQ(cell(result, "train_seconds"), "4.5");
  EXPECT_EQ(cell(result, "reconstruct_seconds"), "0.25");
}

TEST(CsvRow, LeavesWhatDoesNotApplyEmpty) {
  Result result = sample_result("0a1b2c3d");
  result.run.network_type = "mlp";
  for (const char* name :
       {"kan_grid_radius", "kan_grid_radius_step", "kan_num_grids", "kan_num_grids_step"})
    EXPECT_EQ(cell(result, name), "") << name;
  result.trials.clear();
  for (const char* name : {"inr_size", "avg_psnr", "std_dev_psnr", "avg_ssim", "avg_mse",
                           "compression_ratio", "avg_time_per_epoch", "samples_per_second"})
    EXPECT_EQ(cell(result, name), "") << name;
}

TEST(CsvRow, DoesNotAverageTrialsThatFailed) {
  Result result = sample_result("0a1b2c3d");
  result.trials[1].history.failed = true;
  EXPECT_EQ(cell(result, "avg_psnr"), "40");
  EXPECT_EQ(cell(result, "inr_size"), "1000");
}

TEST(CsvRow, WritesWhatIsNotFinite) {
  Result result = sample_result("0a1b2c3d");
  for (Trial& trial : result.trials) {
    trial.metrics.psnr = std::numeric_limits<double>::infinity();
    trial.metrics.ssim = std::numeric_limits<double>::quiet_NaN();
  }
  EXPECT_EQ(cell(result, "avg_psnr"), "inf");
  EXPECT_EQ(cell(result, "std_dev_psnr"), "0");
  EXPECT_EQ(cell(result, "avg_ssim"), "nan");
  const Json row = Json::parse(json_line(result))["row"];
  EXPECT_TRUE(row["avg_psnr"].is_null());
  EXPECT_TRUE(row["avg_ssim"].is_null());
}

TEST(CsvRow, WritesNumbersThatReadBackTheSame) {
  Result result = sample_result("0a1b2c3d");
  for (const double value : {0.1, 1.0 / 3, 1e-300, 6.02214076e23, 44.19}) {
    result.run.lrate = value;
    EXPECT_EQ(std::stod(cell(result, "lrate")), value);
  }
}

TEST(CsvRow, QuotesWhatMustBe) {
  Result result = sample_result("0a1b2c3d");
  result.hostname = "a \"b\", c\nd";
  EXPECT_NE(csv_row(result).find(",\"a \"\"b\"\", c d\","), std::string::npos);
  EXPECT_EQ(cell(result, "hostname"), "a \"b\", c d");
  EXPECT_EQ(cell(result, "started_at"), result.started_at);
}

TEST(CsvRow, NamesTheBatchJob) {
  const Result result = sample_result("0a1b2c3d");
  for (const char* name : {"PBS_JOBID", "PBS_ARRAY_INDEX", "SLURM_JOB_ID", "SLURM_ARRAY_TASK_ID"})
    unsetenv(name);
  EXPECT_EQ(cell(result, "pbs_job_id"), "");
  setenv("SLURM_JOB_ID", "77", 1);
  setenv("SLURM_ARRAY_TASK_ID", "3", 1);
  EXPECT_EQ(cell(result, "pbs_job_id"), "77");
  EXPECT_EQ(cell(result, "pbs_array_index"), "3");
  setenv("PBS_JOBID", "12.server", 1);
  setenv("PBS_ARRAY_INDEX", "5", 1);
  EXPECT_EQ(cell(result, "pbs_job_id"), "12.server");
  EXPECT_EQ(cell(result, "pbs_array_index"), "5");
  for (const char* name : {"PBS_JOBID", "PBS_ARRAY_INDEX", "SLURM_JOB_ID", "SLURM_ARRAY_TASK_ID"})
    unsetenv(name);
}

TEST(CsvRow, EpochTimeHashFollowsWhatDecidesTheTime) {
  const auto hash = [](const Result& result) { return cell(result, "epoch_time_hash"); };
  const Result result = sample_result("0a1b2c3d");
  EXPECT_EQ(hash(result).size(), 8u);
  Result other = result;
  other.run.seed = 1;
  other.run.epochs = 1;
  other.run.lrate = 1;
  EXPECT_EQ(hash(other), hash(result));
  other = result;
  other.batch_size *= 2;
  EXPECT_NE(hash(other), hash(result));
  other = result;
  other.run.n_levels *= 2;
  EXPECT_NE(hash(other), hash(result));
  other = result;
  other.device = "cuda:0";
  EXPECT_NE(hash(other), hash(result));
  other = result;
  other.data_bytes *= 2;
  EXPECT_NE(hash(other), hash(result));
}

TEST(JsonLine, HoldsConfigurationRowAndHistory) {
  const Result result = sample_result("0a1b2c3d");
  const std::string line = json_line(result);
  EXPECT_EQ(line.find('\n'), std::string::npos);
  const Json json = Json::parse(line);
  EXPECT_EQ(json["run_id"], "0a1b2c3d");
  EXPECT_EQ(json["csv_row"], csv_row(result));
  EXPECT_EQ(json["run"], Json::parse(to_json(result.run)));
  EXPECT_EQ(json["ssim_variant"], result.ssim_variant);
  EXPECT_EQ(json["row"].size(), csv_columns().size());
  for (const std::string& name : csv_columns()) EXPECT_TRUE(json["row"].contains(name)) << name;
  EXPECT_EQ(json["row"]["avg_psnr"], 41.0);
  EXPECT_EQ(json["row"]["seed"], 18446744073709551615u);
  ASSERT_EQ(json["trials"].size(), 2u);
  const Json& trial = json["trials"][1];
  EXPECT_EQ(trial["seed"], 8);
  EXPECT_EQ(trial["metrics"]["psnr"], 42.0);
  ASSERT_EQ(trial["epochs"].size(), 2u);
  EXPECT_EQ(trial["epochs"][1], Json::parse(R"({"loss": 0.25, "psnr": 20.0, "seconds": 3.0,
                                               "samples": 100, "lrate": 0.0})"));
  EXPECT_EQ(trial["recoveries"], Json::parse(R"([{"epoch": 1, "step": 5, "lrate": 0.005}])"));
}

TEST(JsonLine, SurvivesTextThatIsNotUtf8) {
  Result result = sample_result("0a1b2c3d");
  result.failure = "bad \xff byte";
  EXPECT_TRUE(Json::accept(json_line(result)));
}

}  // namespace
}  // namespace kanbench
