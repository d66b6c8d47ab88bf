// The program on a volume of three components: one model of all of them, from synth to figures.

#include <cmath>
#include <cstring>

#include "program_mpirun.h"

namespace kanbench::test {
namespace {

constexpr const char* kVolume = "abc_flow_3x21x18x15_float32.raw";

class ProgramVector : public testing::Test {
 protected:
  void SetUp() override {
    const Outcome made = go({"synth", "abc_flow", "-o", here_.path().string(), "--size", "21x18x15",
                             "--dtype", "float32"});
    ASSERT_EQ(made.status, 0) << made.error;
    write_params(entry());
  }
  static Json entry() {
    Json run = small_run();
    run["epochs"] = 12;
    run["n_neurons"] = 16;
    run["n_features_per_level"] = 4;
    return run;
  }
  void write_params(const Json& run) const {
    write_text(here_ / "p.json", params_of("abc_flow", run));
  }
  Words bench(const std::string& output, const Words& more = {}) const {
    Words words = {"--params",   (here_ / "p.json").string(),
                   "--data-dir", here_.path().string(),
                   "-o",         (here_ / output).string(),
                   "--threads",  "1",
                   "--device",   "cpu"};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }
  Outcome go(const Words& words) const { return run(here_.path(), words); }
  Json train(const std::string& output, const Words& more = {}) const {
    const Outcome done = go(bench(output, more));
    EXPECT_EQ(done.status, 0) << done.error;
    return only_run(here_ / output);
  }
  fs::path file_of(const std::string& output, const std::string& extension) const {
    const std::vector<fs::path> found = files_below(here_ / output, extension);
    EXPECT_EQ(found.size(), 1u) << output << " " << extension;
    return found.empty() ? fs::path() : found[0];
  }
  std::string refusal(const Words& words) const {
    const Outcome refused = go(words);
    EXPECT_EQ(refused.status, 2) << refused.out;
    return refused.error;
  }

  TemporaryDirectory here_;
};

std::vector<float> numbers(const fs::path& path) {
  const std::string bytes = contents(path);
  std::vector<float> all(bytes.size() / sizeof(float));
  std::memcpy(all.data(), bytes.data(), all.size() * sizeof(float));
  return all;
}

// The mean squared error of numbers side by side, each normalised by its own range.
std::vector<double> errors(const std::vector<float>& original, const std::vector<float>& decoded) {
  std::vector<double> all;
  for (std::size_t c = 0; c < 3; ++c) {
    double low = 1e30, high = -1e30, sum = 0;
    for (std::size_t i = c; i < original.size(); i += 3) {
      low = std::min<double>(low, original[i]);
      high = std::max<double>(high, original[i]);
    }
    for (std::size_t i = c; i < original.size(); i += 3)
      sum += std::pow((double(decoded[i]) - original[i]) / (high - low), 2);
    all.push_back(3 * sum / static_cast<double>(original.size()));
  }
  return all;
}

TEST_F(ProgramVector, SynthWritesTheFlow) {
  const std::vector<float> flow = numbers(here_ / kVolume);
  ASSERT_EQ(flow.size(), 3u * 21 * 18 * 15);
  const double pi = std::acos(-1.0), a = std::sqrt(3.0), b = std::sqrt(2.0);
  for (int z = 0; z < 15; ++z)
    for (int y = 0; y < 18; ++y)
      for (int x = 0; x < 21; ++x) {
        const double u = pi * ((2 * x + 1) / 21.0 - 1), v = pi * ((2 * y + 1) / 18.0 - 1),
                     w = pi * ((2 * z + 1) / 15.0 - 1);
        const float* at = flow.data() + 3 * ((z * 18 + y) * 21 + x);
        ASSERT_NEAR(at[0], a * std::sin(w) + std::cos(v), 1e-6);
        ASSERT_NEAR(at[1], b * std::sin(u) + a * std::cos(w), 1e-6);
        ASSERT_NEAR(at[2], std::sin(v) + b * std::cos(u), 1e-6);
      }
  const std::string header = contents((here_ / kVolume).replace_extension(".nhdr"));
  for (const char* line : {"dimension: 4\n", "sizes: 3 21 18 15\n",
                           "kinds: vector domain domain domain\n", "space directions: none ("})
    EXPECT_NE(header.find(line), std::string::npos) << line << " in\n" << header;
}

TEST_F(ProgramVector, TrainsMeasuresAndReconstructs) {
  const Json found = train("kept");
  const Json row = found.at("row");
  EXPECT_EQ(row.at("n_outputs"), 3);
  EXPECT_EQ(row.at("data_size"), 3 * 21 * 18 * 15 * 4);
  const Json components = found.at("trials")[0].at("components");
  ASSERT_EQ(components.size(), 3u);
  double mse = 0, ssim = 0;
  for (const Json& one : components) {
    EXPECT_GT(one.at("psnr"), 25);
    mse += one.at("mse").get<double>() / 3;
    ssim += one.at("ssim").get<double>() / 3;
  }
  EXPECT_NEAR(row.at("avg_mse").get<double>(), mse, 1e-12);
  EXPECT_NEAR(row.at("avg_psnr").get<double>(), -10 * std::log10(mse), 1e-9);
  EXPECT_NEAR(row.at("avg_ssim").get<double>(), ssim, 1e-12);
  std::istringstream words(row.at("mse_components").get<std::string>());
  for (const Json& one : components) {
    double value = 0;
    words >> value;
    EXPECT_DOUBLE_EQ(value, one.at("mse").get<double>());
  }
  const fs::path raw = file_of("kept", ".raw"), model = file_of("kept", ".safetensors");
  EXPECT_NE(raw.filename().string().find("_3x21x18x15_float32"), std::string::npos) << raw;
  const std::vector<double> measured = errors(numbers(here_ / kVolume), numbers(raw));
  for (std::size_t c = 0; c < 3; ++c)
    EXPECT_NEAR(measured[c], components[c].at("mse").get<double>(), 1e-3 * measured[c]);

  const Outcome judged = go({"evaluate", model.string(), (here_ / kVolume).string(), "--json"});
  ASSERT_EQ(judged.status, 0) << judged.error;
  const Json figures = Json::parse(judged.out);
  EXPECT_EQ(figures.at("components"), components);
  const Outcome table = go({"evaluate", model.string(), (here_ / kVolume).string()});
  EXPECT_NE(table.out.find("component "), std::string::npos) << table.out;

  const Outcome decoded = go({"reconstruct", model.string(), "-o", "again.raw"});
  ASSERT_EQ(decoded.status, 0) << decoded.error;
  EXPECT_TRUE(contents(here_ / "again.raw") == contents(raw));
  ASSERT_EQ(
      go({"reconstruct", model.string(), "-o", "part_3x4x5x6_float32.raw", "--box", "3:7,2:7,4:10"})
          .status,
      0);
  const std::vector<float> whole = numbers(raw), part = numbers(here_ / "part_3x4x5x6_float32.raw");
  ASSERT_EQ(part.size(), 3u * 4 * 5 * 6);
  for (int i = 0; i < 3 * 4 * 5 * 6; ++i) {
    const int c = i % 3, x = i / 3 % 4 + 3, y = i / 12 % 5 + 2, z = i / 60 + 4;
    ASSERT_EQ(part[i], whole[3 * ((z * 18 + y) * 21 + x) + c]);
  }
  const Outcome info = go({"info", model.string(), "--json"});
  const Json described = Json::parse(info.out);
  EXPECT_EQ(described.at("n_outputs"), 3);
  EXPECT_EQ(described.at("low").size(), 3u);
  EXPECT_NEAR(described.at("compression_ratio").get<double>(),
              row.at("compression_ratio").get<double>(), 1e-9);
}

TEST_F(ProgramVector, GoesOnFromACheckpointWithTheSameBits) {
  Json run = entry();
  run["epochs"] = 60;
  run["sampling"] = "error";
  write_params(run);
  train("whole");
  {
    Running running(here_.path(), bench("part", {"--checkpoint-every", "1epoch"}));
    ASSERT_TRUE(wait_until([&] { return files_below(here_ / "part", ".ckpt").size() >= 2; }))
        << running.said();
    EXPECT_EQ(running.wait(SIGKILL).status, 128 + SIGKILL);
  }
  EXPECT_TRUE(files_below(here_ / "part", ".safetensors").empty());
  train("part");
  for (const char* kind : {".safetensors", ".raw"})
    EXPECT_TRUE(contents(file_of("whole", kind)) == contents(file_of("part", kind))) << kind;
}

TEST_F(ProgramVector, TrainsInBricksAndToASize) {
  Json run = entry();
  run["epochs"] = 2;
  write_params(run);
  const Json row = train("small", {"--match-parameters", "2500"}).at("row");
  EXPECT_NEAR(row.at("n_parameters").get<double>(), 2500, 50);
  ASSERT_EQ(go({"synth", "abc_flow", "-o", here_.path().string(), "--size", "60x56x52", "--dtype",
                "uint16"})
                .status,
            0);
  fs::remove(here_ / kVolume);
  fs::remove((here_ / kVolume).replace_extension(".nhdr"));
  run["batch_size"] = 256;
  run["epochs"] = 1;
  write_params(run);
  const Json cut = train("cut", {"--device-memory-limit", "900K"}).at("row");
  EXPECT_NE(cut.at("device").get<std::string>().find("volume in bricks"), std::string::npos);
  EXPECT_GT(cut.at("avg_psnr").get<double>(), 20);
}

TEST_F(ProgramVector, RefusesWhatItCannotDo) {
  for (const char* mode : {"ensemble", "hybrid"})
    EXPECT_NE(refusal(bench("no", {"--decomposition", mode, "--bricks", "2"}))
                  .find("abc_flow has 3 numbers a voxel"),
              std::string::npos)
        << mode;
  Json run = entry();
  run["network_types"] = {"custom"};
  run["layers"] = {{{"out", 8}, {"basis", "relu"}}, {{"out", 2}, {"basis", "relu"}}};
  write_params(run);
  EXPECT_NE(refusal(bench("no")).find("the last layer's 'out' is 2: give it as many"),
            std::string::npos);
  EXPECT_FALSE(fs::exists(here_ / "no/models_saved"));
  run["layers"][1]["out"] = 3;
  run["epochs"] = 1;
  write_params(run);
  train("yes");
  const std::string model = file_of("yes", ".safetensors").string();
  EXPECT_NE(refusal({"evaluate", model, demo_volume().string()}).find("was trained on 21x18x15"),
            std::string::npos);
  const fs::path scalar = here_ / "one_21x18x15_float32.raw";
  write_text(scalar, contents(here_ / kVolume).substr(0, 21 * 18 * 15 * 4));
  EXPECT_NE(refusal({"evaluate", model, scalar.string()}).find("has 1 numbers a voxel"),
            std::string::npos);
  EXPECT_NE(refusal({"perf", "--params", (here_ / "p.json").string(), "--data-dir",
                     here_.path().string(), "--scaling", "--device", "cpu"})
                .find("--scaling: abc_flow has 3 numbers a voxel"),
            std::string::npos);
  write_text(here_ / "short_3x2x2x2_float32.raw", std::string(95, 'x'));
  EXPECT_NE(refusal({"info", "short_3x2x2x2_float32.raw"}).find("expected 96 bytes (3 x 2x2x2"),
            std::string::npos);
  write_text(here_ / "a_64x72057594037927936x1x1_uint64.raw", "");
  EXPECT_NE(refusal({"info", "a_64x72057594037927936x1x1_uint64.raw"}).find("more than 2^56"),
            std::string::npos);
  EXPECT_NE(refusal({"reconstruct", model, "-o", "big.raw", "--size", "72057594037927936x1x1"})
                .find("--size: 3 x 72057594037927936x1x1 is more than 2^56 numbers"),
            std::string::npos);
  for (const char* name : {"a_1x2x2x2_uint8.raw", "a_65x2x2x2_uint8.raw", "a_x2x2x2_uint8.raw"}) {
    write_text(here_ / name, std::string(16, 'x'));
    EXPECT_NE(refusal({"info", name}).find("C from 2 to 64"), std::string::npos) << name;
  }
}

TEST_F(ProgramVector, TwoProcessesReachWhatOneReaches) {
  if (!why_no_mpirun().empty()) GTEST_SKIP() << why_no_mpirun();
  Json run = entry();
  run["epochs"] = 4;
  run["batch_size"] = 512;
  write_params(run);
  const double alone = train("one").at("row").at("avg_psnr");
  const Outcome done = mpirun(here_.path(), on_ranks(2, bench("two")));
  ASSERT_EQ(done.status, 0) << done.error;
  const Json row = only_run(here_ / "two").at("row");
  EXPECT_EQ(row.at("ranks"), 2);
  EXPECT_NEAR(row.at("avg_psnr").get<double>(), alone, 2.5);
  const fs::path model = file_of("two", ".safetensors");
  ASSERT_EQ(mpirun(here_.path(), on_ranks(2, {"reconstruct", model.string(), "-o",
                                              (here_ / "by_two.raw").string(), "--threads", "1"}))
                .status,
            0);
  EXPECT_TRUE(contents(here_ / "by_two.raw") == contents(file_of("two", ".raw")));
}

}  // namespace
}  // namespace kanbench::test
