// The program with --device cuda, on the emulated device: what it trains, what it says, and what
// it does when the device is missing, too old, too small, or lost on the way.

#include <algorithm>

#include "program.h"

namespace kanbench::test {
namespace {

using Words = std::vector<std::string>;

class ProgramCuda : public testing::Test {
 protected:
  void SetUp() override { synth("12x12x12", "uint8"); }

  void synth(const std::string& size, const std::string& dtype) {
    fs::remove_all(here_ / "data");
    const Outcome made =
        go({"synth", "turbulence", "-o", "data", "--size", size, "--dtype", dtype});
    ASSERT_EQ(made.status, 0) << made.error;
  }

  // `emulator` is KANBENCH_EMULATOR. What is measured is remembered in this test's directory.
  Outcome go(const Words& words, const std::string& emulator = "") {
    return run(here_.path(), words,
               {{"KANBENCH_EMULATOR", emulator}, {"XDG_CACHE_HOME", (here_ / "cache").string()}});
  }

  Outcome train(const Json& entry, const std::string& output, Words more = {},
                const std::string& emulator = "") {
    write_text(here_ / "p.json", params_of("turbulence", entry));
    more.insert(more.begin(), {"--params", "p.json", "--data-dir", "data", "-o", output});
    return go(more, emulator);
  }

  std::vector<std::map<std::string, std::string>> rows(const std::string& output) {
    const fs::path file = here_ / output / "results.csv";
    return fs::exists(file) ? csv(file) : std::vector<std::map<std::string, std::string>>{};
  }

  std::vector<fs::path> files(const std::string& directory, const std::string& extension) {
    std::vector<fs::path> found;
    for (const auto& entry : fs::directory_iterator(here_ / directory))
      if (entry.path().extension() == extension) found.push_back(entry.path());
    std::sort(found.begin(), found.end());
    return found;
  }

  std::string model(const std::string& output) {
    const auto found = files(output + "/models_saved", ".safetensors");
    EXPECT_EQ(found.size(), 1u) << output;
    return found.empty() ? "" : found[0].string();
  }

  TemporaryDirectory here_;
};

Json entry(const std::string& network_type) {
  Json run = small_run();
  run.update({{"epochs", 4}, {"batch_size", 256}, {"n_neurons", 16}});
  run["network_types"] = {network_type};
  return run;
}

// Three runs, of tables of 2^8, 2^9 and 2^10 entries.
Json sweep() {
  Json run = entry("mlp");
  run.update({{"epochs", 1}, {"log2_hashmap_size", {8, 10}}});
  return run;
}

double psnr(const std::map<std::string, std::string>& row) { return std::stod(row.at("avg_psnr")); }

void expect_one_line(const Outcome& outcome, int status, const Words& says) {
  EXPECT_EQ(outcome.status, status) << outcome.error;
  EXPECT_EQ(lines(outcome.error).size(), 1u) << outcome.error;
  EXPECT_EQ(outcome.error.rfind("kanbench: ", 0), 0u) << outcome.error;
  for (const std::string& word : says)
    EXPECT_NE(outcome.error.find(word), std::string::npos)
        << "no '" << word << "' in: " << outcome.error;
}

struct Config {
  std::string name;
  Json entry;
  /// What "auto" must mean.
  std::string precision;
  /// The others that it must train in.
  Words others;
};

void PrintTo(const Config& c, std::ostream* out) { *out << c.name; }

std::vector<Config> configs() {
  Json wide = entry("fastkan"), coarse = entry("mlp");
  wide["n_neurons"] = 20;
  coarse["log2_hashmap_size"] = 0;
  return {{"Mlp", entry("mlp"), "fp16", {"bf16", "tf32", "fp32"}},
          {"FastKan", entry("fastkan"), "fp16", {"bf16", "tf32", "fp32"}},
          {"GeneralDecoder", wide, "tf32", {"fp32"}},
          {"Sines", entry("siren"), "fp32", {}},
          {"PointsAlone", coarse, "fp16", {"fp32"}}};
}

class ProgramCudaTrains : public ProgramCuda, public testing::WithParamInterface<Config> {};

TEST_P(ProgramCudaTrains, AsTheCpuDoes) {
  const Config& c = GetParam();
  ASSERT_EQ(train(c.entry, "cpu", {"--device", "cpu"}).status, 0);
  const double wanted = psnr(rows("cpu").at(0));
  Words precisions = c.others;
  precisions.insert(precisions.begin(), "auto");
  for (const std::string& precision : precisions) {
    const Outcome done = train(c.entry, precision, {"--device", "cuda", "--precision", precision});
    ASSERT_EQ(done.status, 0) << done.error;
    const auto row = rows(precision).at(0);
    EXPECT_EQ(row.at("status"), "finished");
    EXPECT_EQ(row.at("precision"), precision == "auto" ? c.precision : precision);
    EXPECT_EQ(row.at("device"), "cuda:0 emulated");
    EXPECT_GT(std::stod(row.at("peak_device_bytes")), 1728);
    EXPECT_NEAR(psnr(row), wanted, precision == "fp32" ? 0.1 : 0.2) << precision;
    EXPECT_NE(model(precision), "");
    const auto voxels = files(precision + "/reconstructions_saved", ".raw");
    ASSERT_EQ(voxels.size(), 1u);
    EXPECT_EQ(fs::file_size(voxels[0]), 1728u);
  }
}

INSTANTIATE_TEST_SUITE_P(All, ProgramCudaTrains, testing::ValuesIn(configs()),
                         [](const auto& info) { return info.param.name; });

TEST_F(ProgramCuda, RefusesAPrecisionThatTheModelCannotHave) {
  Json wide = entry("mlp");
  wide["n_neurons"] = 200;
  expect_one_line(train(wide, "o", {"--device", "cuda", "--precision", "bf16"}), 2,
                  {"precision bf16", "cuda:0 emulated", "tf32", "fp32"});
}

TEST_F(ProgramCuda, GivesTheSameBitsWhereThatIsAskedFor) {
  for (const char* type : {"mlp", "fastkan"})
    for (const char* precision : {"auto", "fp32"}) {
      Json one_epoch = entry(type);
      one_epoch["epochs"] = 1;
      const Words words = {"--device", "cuda", "--precision", precision};
      Words fixed = words;
      fixed.push_back("--deterministic");
      const std::string name = std::string(type) + precision;
      const auto bytes = [&](const std::string& output, const Words& options,
                             const std::string& emulator) {
        const Outcome done = train(one_epoch, name + output, options, emulator);
        EXPECT_EQ(done.status, 0) << done.error;
        return contents(model(name + output));
      };
      const std::string one = bytes("1", fixed, "schedule=1");
      EXPECT_FALSE(one.empty());
      EXPECT_TRUE(one == bytes("2", fixed, "schedule=9,lazy=1")) << name;
      // Were any two orders of the additions to give the same bits, the above would say nothing.
      EXPECT_FALSE(bytes("3", words, "schedule=1") == bytes("4", words, "schedule=9")) << name;
    }
}

TEST_F(ProgramCuda, SamplesThroughTextures) {
  for (const char* dtype : {"uint8", "int16", "float32"}) {
    synth("12x12x12", dtype);
    const std::string plain = std::string("plain") + dtype, texture = std::string("tex") + dtype;
    ASSERT_EQ(train(entry("mlp"), plain, {"--device", "cuda"}).status, 0);
    const Outcome done = train(entry("mlp"), texture, {"--device", "cuda", "--texture"});
    ASSERT_EQ(done.status, 0) << done.error;
    const auto history = lines(contents(here_ / texture / "results.jsonl"));
    ASSERT_EQ(history.size(), 1u);
    EXPECT_NE(history[0].find("cuda:0 emulated, texture"), std::string::npos) << history[0];
    const auto figure = [&](const std::string& output) {
      const Outcome measured = go({"evaluate", model(output), files("data", ".raw").at(0).string(),
                                   "--json", "--device", "cpu"});
      EXPECT_EQ(measured.status, 0) << measured.error;
      return Json::parse(measured.out).at("psnr").get<double>();
    };
    EXPECT_NEAR(figure(texture), figure(plain), 0.3) << dtype;
  }
  synth("12x12x12", "float64");
  const Outcome refused = train(entry("mlp"), "refused", {"--device", "cuda", "--texture"});
  EXPECT_EQ(refused.status, 2);
  EXPECT_NE(refused.error.find("leave --texture out"), std::string::npos) << refused.error;
}

TEST_F(ProgramCuda, ReconstructsAndEvaluatesWhatItTrained) {
  ASSERT_EQ(train(entry("fastkan"), "o", {"--device", "cuda"}).status, 0);
  const std::string file = model("o"), volume = files("data", ".raw").at(0).string();
  const Outcome all = go({"reconstruct", file, "-o", "a.raw", "--device", "cuda"});
  ASSERT_EQ(all.status, 0) << all.error;
  const std::string voxels = contents(here_ / "a.raw");
  EXPECT_TRUE(voxels == contents(files("o/reconstructions_saved", ".raw").at(0)));
  const Outcome part =
      go({"reconstruct", file, "-o", "b.raw", "--box", "3:9,4:11,7:10", "--device", "cuda"});
  ASSERT_EQ(part.status, 0) << part.error;
  const std::string box = contents(here_ / "b.raw");
  ASSERT_EQ(box.size(), 6u * 7 * 3);
  for (std::size_t z = 0; z < 3; ++z)
    for (std::size_t y = 0; y < 7; ++y)
      EXPECT_EQ(box.substr((z * 7 + y) * 6, 6), voxels.substr(((z + 7) * 12 + y + 4) * 12 + 3, 6));

  std::map<std::string, Json> found;
  for (const char* device : {"cpu", "cuda"}) {
    const Outcome measured = go({"evaluate", file, volume, "--json", "--device", device});
    ASSERT_EQ(measured.status, 0) << measured.error;
    found[device] = Json::parse(measured.out);
  }
  EXPECT_NEAR(found["cuda"].at("psnr").get<double>(), psnr(rows("o").at(0)), 1e-6);
  EXPECT_NEAR(found["cuda"].at("psnr").get<double>(), found["cpu"].at("psnr").get<double>(), 0.05);
  EXPECT_NEAR(found["cuda"].at("ssim").get<double>(), found["cpu"].at("ssim").get<double>(), 0.01);
}

TEST_F(ProgramCuda, ListsDevices) {
  const Json two = Json::parse(go({"info", "--devices", "--json"}, "devices=2").out);
  ASSERT_EQ(two.size(), 3u) << two;
  EXPECT_EQ(two.at(1).at("name"), "cuda:1");
  EXPECT_EQ(two.back().at("name"), "cpu");
  EXPECT_EQ(Json::parse(go({"info", "--devices", "--json"}, "devices=0").out).size(), 1u);
}

TEST_F(ProgramCuda, TimesItsStages) {
  write_text(here_ / "p.json", params_of("turbulence", entry("mlp")));
  const Outcome timed = go({"perf", "--params", "p.json", "--data-dir", "data", "--device", "cuda",
                            "--seconds", "0.01", "--json", "perf.json"},
                           "memory=64M");
  ASSERT_EQ(timed.status, 0) << timed.error;
  const Json report = Json::parse(contents(here_ / "perf.json"));
  std::vector<std::string> ceilings, stages;
  for (const Json& top : report.at("machine").at("ceilings")) {
    ceilings.push_back(top.at("name"));
    EXPECT_GT(top.at("per_second").get<double>(), 0) << top;
  }
  const Json& result = report.at("results").at(0);
  EXPECT_EQ(result.at("precision"), "fp16");
  EXPECT_EQ(result.at("choices").get<std::string>().rfind("fused decoder in fp16; ", 0), 0u);
  EXPECT_GT(result.at("training_samples_per_second").get<double>(), 0);
  EXPECT_GT(result.at("decoded_voxels_per_second").get<double>(), 0);
  for (const Json& stage : result.at("stages")) {
    stages.push_back(stage.at("name"));
    EXPECT_GT(stage.at("seconds").get<double>(), 0) << stage;
    EXPECT_GT(stage.at("fraction_of_ceiling").get<double>(), 0) << stage;
  }
  for (const char* name : {"bandwidth", "flops", "gather 16 MB", "exp", "mma half", "mma tf32"})
    EXPECT_EQ(std::count(ceilings.begin(), ceilings.end(), name), 1) << name;
  EXPECT_EQ(stages,
            (Words{"sample", "encode", "predict", "decoder", "scatter", "gradient", "update"}));
}

TEST_F(ProgramCuda, SaysAndRemembersWhatItChose) {
  const Outcome first = train(entry("mlp"), "o", {"--device", "cuda", "-v"});
  ASSERT_EQ(first.status, 0) << first.error;
  for (const char* words : {"device cuda:0 emulated", "fused decoder in fp16", ", as measured\n"})
    EXPECT_NE(first.error.find(words), std::string::npos) << words << " in " << first.error;
  const auto kept = files("cache/kanbench", ".txt");
  ASSERT_EQ(kept.size(), 1u);
  const std::string measured = contents(kept[0]);
  EXPECT_EQ(lines(measured).size(), 1u) << measured;
  const Words again = {"--device", "cuda", "-v", "--no-resume"};
  const Outcome second = train(entry("mlp"), "o", again);
  EXPECT_NE(second.error.find(", as measured before\n"), std::string::npos) << second.error;
  EXPECT_EQ(contents(kept[0]), measured);
  // What is written there decides, whichever is faster.
  const std::string key = measured.substr(0, measured.find('\t'));
  for (const bool whole : {false, true}) {
    write_text(kept[0], "junk\n" + key + (whole ? "\t2\t1\n" : "\t1\t2\n"));
    EXPECT_NE(train(entry("mlp"), "o", again)
                  .error.find(whole ? "; one kernel from samples" : "; a kernel for each stage, 2"),
              std::string::npos);
  }
  Words nowhere = again;
  nowhere.insert(nowhere.end(), {"--tuning-file", "p.json/x"});
  EXPECT_EQ(train(entry("mlp"), "o", nowhere).status, 0);
}

TEST_F(ProgramCuda, TrainsOnAVolumeLargerThanItsMemory) {
  synth("16x16x1100", "float64");
  Json run = entry("mlp");
  run.update({{"epochs", 1}, {"batch_size", 2048}});
  ASSERT_EQ(train(run, "whole", {"--device", "cuda"}).status, 0);
  const Outcome done = train(run, "o", {"--device", "cuda", "-v", "--device-memory-limit", "2M"});
  ASSERT_EQ(done.status, 0) << done.error;
  EXPECT_NE(done.error.find("it is trained on in bricks"), std::string::npos) << done.error;
  const auto history = lines(contents(here_ / "o/results.jsonl"));
  const Json row = Json::parse(history.at(0)).at("row");
  EXPECT_EQ(row.at("device"), "cuda:0 emulated, volume in bricks");
  EXPECT_LE(row.at("peak_device_bytes").get<std::int64_t>(), 2 << 20);
  EXPECT_NEAR(row.at("avg_psnr").get<double>(), psnr(rows("whole").at(0)), 0.5);
  for (const bool limited : {true, false}) {
    Words words = {"--device", "cuda"};
    if (limited) words.insert(words.end(), {"--device-memory-limit", "500K"});
    expect_one_line(train(run, "none", words, limited ? "" : "memory=500K"), 2,
                    {"2252800 bytes do not fit", "bricks", "--batch-size"});
  }
}

struct Missing {
  std::string name, emulator, says;
};

void PrintTo(const Missing& m, std::ostream* out) { *out << m.name; }

class ProgramCudaMissing : public ProgramCuda, public testing::WithParamInterface<Missing> {};

TEST_P(ProgramCudaMissing, IsExplained) {
  const Missing& m = GetParam();
  expect_one_line(train(entry("mlp"), "o", {"--device", "cuda"}, m.emulator), 2,
                  {"--device cuda", m.says, "--device cpu"});
  EXPECT_FALSE(fs::exists(here_ / "o/results.csv"));
  const Outcome alone = train(entry("mlp"), "auto", {}, m.emulator);
  ASSERT_EQ(alone.status, 0) << alone.error;
  const std::string first = lines(alone.error).at(0);
  EXPECT_NE(first.find(m.says), std::string::npos) << alone.error;
  EXPECT_TRUE(first.ends_with(" Running on the CPU.")) << first;
  EXPECT_EQ(rows("auto").at(0).at("device").rfind("cpu ", 0), 0u);
  EXPECT_EQ(train(entry("mlp"), "quiet", {"-q"}, m.emulator).error, "");
}

INSTANTIATE_TEST_SUITE_P(
    All, ProgramCudaMissing,
    testing::Values(Missing{"Driver", "driver=0", "No NVIDIA driver"},
                    Missing{"NewDriver", "driver=11040", "serves CUDA 11.4, this build needs 12."},
                    Missing{"Device", "devices=0", "No CUDA device is visible"},
                    Missing{"Answer", "error=999", "do not answer"},
                    Missing{"NewDevice", "capability=75", "compute capability 7.5"}),
    [](const auto& info) { return info.param.name; });

TEST_F(ProgramCuda, OpensTheDeviceOfThatNumber) {
  expect_one_line(train(entry("mlp"), "o", {"--device", "cuda:7"}), 2, {"cuda:7", "1 CUDA device"});
  expect_one_line(train(entry("mlp"), "o", {"--device", "cuda:"}), 2, {"cuda:N"});
  ASSERT_EQ(train(entry("mlp"), "o", {"--device", "cuda:1"}, "devices=2").status, 0);
  EXPECT_EQ(rows("o").at(0).at("device"), "cuda:1 emulated");
}

TEST_F(ProgramCuda, SaysWhatDoesNotFitItsMemory) {
  Json large = entry("mlp");
  large["batch_size"] = 1 << 20;
  expect_one_line(train(large, "o", {"--device", "cuda"}, "memory=1M"), 2,
                  {"run 0", "batch_size of 1048576", "MB free", "use at most"});
  large = entry("mlp");
  large.update({{"log2_hashmap_size", 18}, {"base_resolution", 60}});
  expect_one_line(train(large, "o", {"--device", "cuda"}, "memory=1M"), 2,
                  {"run 0", "log2_hashmap_size", "MB free"});
  expect_one_line(train(large, "o", {"--device", "cuda", "--device-memory-limit", "1M"}), 2,
                  {"run 0", "log2_hashmap_size", "MB free"});
}

// Device calls fail one after the other, over a sweep of three runs: for good (700) or once (2).
TEST_F(ProgramCuda, LosesNothingWhenTheDeviceIsLost) {
  const Words words = {"--device", "cuda", "--tuning-file", "", "-q"};
  std::map<std::size_t, int> left;
  for (const char* code : {"700", "2"})
    for (int call = 20;; call += 90) {
      const std::string output = code + std::string("-") + std::to_string(call);
      const Outcome lost =
          train(sweep(), output, words, "fail=" + std::to_string(call) + ":" + code);
      const auto kept = rows(output);
      ++left[kept.size()];
      if (lost.status == 0) {
        EXPECT_EQ(kept.size(), 3u);
        break;
      }
      expect_one_line(lost, 1, {code[0] == '7' ? "illegal memory access" : "memory"});
      for (const auto& row : kept) EXPECT_EQ(row.at("status"), "finished");
      ASSERT_LT(call, 20000) << "it never ends";
      if (kept.size() != 1) continue;
      const std::string before = contents(here_ / output / "results.csv");
      const Outcome again = train(sweep(), output, {"--device", "cuda"});
      EXPECT_EQ(again.status, 0) << again.error;
      EXPECT_NE(again.error.find("skipped"), std::string::npos) << again.error;
      EXPECT_EQ(rows(output).size(), 3u);
      EXPECT_EQ(contents(here_ / output / "results.csv").rfind(before, 0), 0u);
    }
  for (const std::size_t count : {0u, 1u, 2u, 3u}) EXPECT_GT(left[count], 0) << count;
}

}  // namespace
}  // namespace kanbench::test
