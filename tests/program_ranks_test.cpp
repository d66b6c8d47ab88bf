// The program under mpirun: any number of ranks reach what one reaches, measure what one measures
// and write what one writes; README's commands.

#include <cmath>

#include "program_mpirun.h"

namespace kanbench::test {
namespace {

using ProgramRanks = ProgramUnderMpirun;

double psnr(const Json& row) { return row.at("avg_psnr"); }

TEST_F(ProgramRanks, ReachWhatOneReachesOnTheNucleon) {
  // Seeds scatter by 0.4 dB whatever the ranks, so that means are known to some tenths only.
  Json run = Json::parse(contents(source_directory() / "params/params.json"));
  run.at("nucleon")["network_types"] = {"mlp"};
  write_text(here_ / "p.json", run.dump());
  constexpr int repeats = 3;
  const Words more = {"--hashmap-size", "10", "--repeats", std::to_string(repeats)};
  const Json one = train(1, "1", more);
  EXPECT_EQ(one.at("decomposition"), "none");
  for (const int ranks : {2, 3, 4, 7}) {
    const Json row = train(ranks, std::to_string(ranks), more);
    EXPECT_EQ(row.at("decomposition").get<std::string>().rfind("shared ", 0), 0u);
    const double error =
        std::hypot(row.at("std_dev_psnr").get<double>(), one.at("std_dev_psnr").get<double>()) /
        std::sqrt(repeats);
    EXPECT_GT(psnr(row), psnr(one) - 0.15 - error) << ranks;
    EXPECT_LT(psnr(row), psnr(one) + 1) << ranks;
  }
}

// The mean jump from slice to slice across `axis`, beside it and at the face in the middle, of what
// a reconstruction has too much or too little.
std::pair<double, double> jumps(const std::string& original, const std::string& decoded, int axis) {
  constexpr int n = 128;
  const auto error = [&](int x, int y, int z) {
    const auto at = static_cast<std::size_t>((z * n + y) * n + x);
    return double(static_cast<unsigned char>(decoded[at])) -
           double(static_cast<unsigned char>(original[at]));
  };
  double face = 0, inside = 0;
  for (int c = 1; c < n; ++c) {
    double sum = 0;
    for (int a = 0; a < n; ++a)
      for (int b = 0; b < n; ++b) {
        const auto of = [&](int i) {
          return axis == 0 ? error(i, a, b) : axis == 1 ? error(a, i, b) : error(a, b, i);
        };
        sum += std::fabs(of(c) - of(c - 1));
      }
    (c == n / 2 ? face : inside) += sum;
  }
  return {face, inside / (n - 2)};
}

TEST_F(ProgramRanks, ReachWhatOneReachesOnTurbulence) {
  ASSERT_EQ(
      run(here_.path(), {"synth", "turbulence", "-o", "data", "--size", "128x128x128"}).status, 0);
  Json large = {{"lrate", 0.01},
                {"lrate_decay", 0},
                {"epochs", 2},
                {"n_neurons", 32},
                {"n_hidden_layers", 2},
                {"n_levels", 6},
                {"n_features_per_level", 4},
                {"per_level_scale", 1.7},
                {"log2_hashmap_size", 15},
                {"base_resolution", 8},
                {"network_types", {"mlp"}},
                {"batch_size", 4096}};
  write_text(here_ / "p.json", params_of("turbulence", large));
  const fs::path data = here_ / "data";
  const Json one = train(1, "1", {}, data);
  const std::tuple<int, const char*, Words> ways[] = {
      {2, "2", {}}, {4, "4", {}}, {2, "fp16", {"--wire", "fp16"}}, {2, "sharded", {"--sharded"}}};
  for (const auto& [ranks, output, more] : ways)
    EXPECT_NEAR(psnr(train(ranks, output, more, data)), psnr(one), 0.15) << output;

  // An eighth of the table a brick, its coarsest cells as large, and a smaller decoder.
  large.update(
      {{"log2_hashmap_size", 12}, {"base_resolution", 4}, {"n_neurons", 16}, {"batch_size", 512}});
  write_text(here_ / "p.json", params_of("turbulence", large));
  const Json row = train(2, "bricks", {"--decomposition", "ensemble", "--bricks", "8"}, data);
  EXPECT_EQ(row.at("decomposition"), "ensemble 2x2x2 ghost 1");
  EXPECT_LE(row.at("n_parameters").get<double>(), 1.01 * one.at("n_parameters").get<double>());
  EXPECT_GT(psnr(row), psnr(one) - 0.5);
  const std::string original = contents(data / "turbulence_128x128x128_uint8.raw");
  const std::string decoded = contents(file_of("bricks", ".raw"));
  for (int axis = 0; axis < 3; ++axis) {
    const auto [face, inside] = jumps(original, decoded, axis);
    EXPECT_LT(face, 1.5 * inside) << "axis " << axis;
  }
}

TEST_F(ProgramRanks, MeasureAndWriteWhatOneDoes) {
  const Outcome one = run(here_.path(), bench("one"));
  const Words eight = {"--decomposition", "ensemble", "--bricks", "8"};
  Words words = bench("bricks", eight);
  ASSERT_EQ(one.status, 0) << one.error;
  ASSERT_EQ(run(here_.path(), words).status, 0);
  for (const fs::path& model : {file_of("one", ".safetensors"),
                                files_below(here_ / "bricks/models_saved", ".json").at(0)}) {
    const Words measure = {"evaluate", model.string(), demo_volume().string(),
                           "--json",   "--threads",    "1",
                           "--device", "cpu"};
    const Words decode = {"reconstruct", model.string(), "-o",       (here_ / "r.raw").string(),
                          "--size",      "40x33x50",     "--box",    "1:39,:,2:50",
                          "--dtype",     "float32",      "--device", "cpu"};
    const Json alone = Json::parse(run(here_.path(), measure).out);
    ASSERT_EQ(run(here_.path(), decode).status, 0);
    const std::string voxels = contents(here_ / "r.raw");
    for (const int ranks : {1, 2, 3, 7}) {
      const Outcome measured = go(ranks, measure);
      ASSERT_EQ(measured.status, 0) << measured.error;
      const Json found = Json::parse(measured.out);
      const double mse = alone.at("mse");
      EXPECT_NEAR(found.at("mse"), mse, 1e-12 * mse) << ranks;
      for (const char* figure : {"ssim", "ssim_3d"})
        EXPECT_NEAR(found.at(figure), alone.at(figure), 1e-6) << ranks;
      EXPECT_EQ(found.at("max_error"), alone.at("max_error"));
      fs::remove(here_ / "r.raw");
      const Outcome decoded = go(ranks, decode);
      ASSERT_EQ(decoded.status, 0) << decoded.error;
      EXPECT_EQ(lines(decoded.out).size(), 1u) << decoded.out;
      EXPECT_TRUE(contents(here_ / "r.raw") == voxels) << ranks;
    }
  }
}

TEST_F(ProgramRanks, WriteTheSameBitsFromRunToRun) {
  for (const Words& more : {Words{}, Words{"--sharded"}, Words{"--wire", "fp16"},
                            Words{"--decomposition", "hybrid", "--bricks", "5"},
                            Words{"--decomposition", "ensemble", "--bricks", "5"}}) {
    std::string models[2];
    for (int i = 0; i < 2; ++i) {
      const std::string output = "o" + std::to_string(i);
      train(3, output, more);
      for (const fs::path& model : files_below(here_ / output, ".safetensors"))
        models[i] += contents(model);
      fs::remove_all(here_ / output);
    }
    EXPECT_FALSE(models[0].empty());
    EXPECT_TRUE(models[0] == models[1]) << (more.empty() ? "shared" : more.back());
  }
}

TEST_F(ProgramRanks, SpeakWithOneVoice) {
  const Outcome done = go(3, bench("o", {"-v"}));
  ASSERT_EQ(done.status, 0) << done.error;
  const std::vector<std::string> said = lines(done.error), printed = lines(done.out);
  EXPECT_EQ(std::set(said.begin(), said.end()).size(), said.size()) << done.error;
  EXPECT_EQ(std::set(printed.begin(), printed.end()).size(), printed.size()) << done.out;
  EXPECT_EQ(count_of("epoch 1/1", done.error), 1u);
  EXPECT_EQ(count_of("3 ranks, mpi", done.error), 1u);
  const Outcome again = go(3, bench("o"));
  EXPECT_EQ(again.status, 0);
  EXPECT_EQ(count_of("skipped", again.error), 1u) << again.error;
  const Outcome quiet = go(3, bench("o", {"-q", "--no-resume"}));
  EXPECT_EQ(quiet.out + quiet.error, "");
}

// Commands of README's section `title`, one a line.
std::vector<std::string> commands_of(const std::string& title) {
  std::vector<std::string> found;
  bool within = false, block = false;
  for (const std::string& line : lines(contents(source_directory() / "README.md"))) {
    if (line.starts_with("#") && !block) within = line.ends_with("# " + title);
    if (line.starts_with("```")) block = line == "```sh";
    if (within && block && !line.starts_with("```") && !line.starts_with("#"))
      found.push_back(line);
  }
  return found;
}

TEST_F(ProgramRanks, RunWhatTheReadmeSays) {
  // A cluster's srun is mpirun here.
  const std::string prelude = "set -e; PATH='" + fs::path(KANBENCH_PROGRAM).parent_path().string() +
                              "':$PATH; srun() { mpirun -n 4 \"$@\"; }; ";
  const std::vector<std::string> commands = commands_of("Many processes");
  ASSERT_GE(commands.size(), 3u);
  int number = 0;
  for (const std::string& command : commands) {
    const fs::path place = here_ / std::to_string(number++);
    fs::create_directories(place);
    fs::create_directory_symlink(source_directory() / "params", place / "params");
    fs::create_directory_symlink(demo_data(), place / "demo_data");
    write_text(place / "sweep.json", params_of("nucleon", small_run()));
    const Outcome done =
        Running(place, {"-c", prelude + command}, mpirun_environment(), "bash").wait();
    ASSERT_EQ(done.status, 0) << command << "\n" << done.error;
    for (const Json& run : histories(place / "results")) EXPECT_EQ(run.at("status"), "finished");
    EXPECT_FALSE(histories(place / "results").empty()) << command;
  }
}

}  // namespace
}  // namespace kanbench::test
