// The program where models are stored in fewer bits: what it says of them, and compress.

#include "kanbench/zstd.h"
#include "program.h"

namespace kanbench {
namespace {

using test::Json;

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST(ProgramStorage, BenchSaysHowItWasStored) {
  if (!has_zstd()) GTEST_SKIP() << "this build has no Zstandard";
  const test::TemporaryDirectory directory;
  Json entry = test::small_run();
  entry["store"] = {{"values", {"fp32", "fp16", "int8", "auto:0.5dB"}}};
  test::write_text(directory / "p.json", test::params_of("nucleon", entry));
  const std::vector<std::string> words{"-p", "p.json",  "--data-dir",  test::demo_data().string(),
                                       "-o", "results", "--save-mode", "all"};
  const test::Outcome outcome = test::run(directory.path(), words);
  ASSERT_EQ(outcome.status, 0) << outcome.error;
  const auto rows = test::csv(directory / "results/results.csv");
  ASSERT_EQ(rows.size(), 4u);
  double before = 1e9;
  for (const auto& row : rows) {
    const double size = std::stod(row.at("inr_size"));
    EXPECT_LT(size, before) << row.at("store");
    before = size;
    const std::string file = "nucleon_mlp_8_" + row.at("run_id") + ".safetensors";
    EXPECT_EQ(
        static_cast<double>(test::fs::file_size(directory / ("results/models_saved/" + file))),
        size);
  }
  EXPECT_EQ(rows[0].at("store"), "fp32");
  EXPECT_EQ(rows[3].at("store"), "auto:0.5dB");
  EXPECT_LE(std::stod(rows[0].at("avg_psnr")) - std::stod(rows[3].at("avg_psnr")), 0.5);
  const auto lines = test::lines(test::contents(directory / "results/results.jsonl"));
  EXPECT_TRUE(contains(Json::parse(lines[3])["trials"][0]["stored"], "dB")) << lines[3];
  EXPECT_EQ(Json::parse(lines[3])["run"]["store"], "auto:0.5dB");
}

TEST(ProgramStorage, CompressesModelsAndEnsembles) {
  if (!has_zstd()) GTEST_SKIP() << "this build has no Zstandard";
  const test::TemporaryDirectory directory;
  const auto bench = [&](const std::vector<std::string>& more) {
    test::write_text(directory / "p.json", test::params_of("nucleon", test::small_run()));
    std::vector<std::string> words{"-p", "p.json", "--data-dir", test::demo_data().string(),
                                   "-o", "results"};
    words.insert(words.end(), more.begin(), more.end());
    const test::Outcome outcome = test::run(directory.path(), words);
    ASSERT_EQ(outcome.status, 0) << outcome.error;
  };
  bench({});
  bench({"--decomposition", "ensemble", "--bricks", "2"});
  std::string model, manifest;
  for (const auto& entry :
       test::fs::recursive_directory_iterator(directory / "results/models_saved")) {
    const std::string name = entry.path().string();
    if (name.ends_with(".ensemble.json")) manifest = name;
    if (name.ends_with(".safetensors") && !contains(name, "brick_")) model = name;
  }
  const std::string volume = test::demo_volume().string();
  const auto compress = [&](const std::vector<std::string>& words) {
    std::vector<std::string> all{"compress"};
    all.insert(all.end(), words.begin(), words.end());
    return test::run(directory.path(), all);
  };
  for (const auto& [from, to] : {std::pair{model, std::string("small.safetensors")},
                                 std::pair{manifest, std::string("small/all.ensemble.json")}}) {
    const test::Outcome outcome =
        compress({from, "-o", to, "--store", "auto:0.3dB", "--volume", volume});
    EXPECT_EQ(outcome.status, 0) << outcome.error;
    EXPECT_TRUE(contains(outcome.out, "times smaller")) << outcome.out;
    const std::size_t at = outcome.out.find("a loss of ");
    ASSERT_NE(at, std::string::npos) << outcome.out;
    // Where bricks are blended, their errors are.
    EXPECT_LE(std::stod(outcome.out.substr(at + 10)), from == model ? 0.3005 : 0.33);
    EXPECT_EQ(test::run(directory.path(), {"info", to}).status, 0);
    EXPECT_EQ(test::run(directory.path(), {"evaluate", to, volume}).status, 0);
  }
  EXPECT_TRUE(contains(test::run(directory.path(), {"info", "small.safetensors"}).out, "steps of"));
  const auto refused = [&](const std::vector<std::string>& words, const std::string& part) {
    const test::Outcome outcome = compress(words);
    EXPECT_EQ(outcome.status, 2);
    EXPECT_TRUE(contains(outcome.error, part)) << outcome.error;
  };
  refused({model, "-o", "x.safetensors", "--store", "auto:0.3dB"}, "--volume");
  refused({model, "-o", model, "--store", "int8"}, "would overwrite");
  refused({model, "-o", "x.safetensors", "--store", "int7"}, "int8");
  refused({manifest, "-o", "x.safetensors", "--store", "int8"}, ".ensemble.json");
  refused({manifest, "-o", test::fs::path(manifest).parent_path() / "b.ensemble.json", "--store",
           "int8"},
          "would overwrite");
}

}  // namespace
}  // namespace kanbench
