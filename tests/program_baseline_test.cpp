// Compressors beside networks: ratios are met, figures are ours, programs' faults are rows.

#include <cmath>
#include <fstream>

#include "kanbench/baseline.h"
#include "kanbench/error.h"
#include "kanbench/io.h"
#include "kanbench/zfp.h"
#include "kanbench/zstd.h"
#include "program.h"

namespace kanbench {
namespace {

using test::Json;
using test::message_of;

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

BaselineResult at_ratio(const std::string& word, const Volume& volume, double target) {
  const test::TemporaryDirectory directory;
  const BaselineResult result =
      run_baseline(parse_baseline(word), volume, target, "signature", directory.path());
  EXPECT_TRUE(test::fs::is_empty(directory.path()));
  return result;
}

Volume cut_of(const Shape& shape, const std::vector<float>& values) {
  const auto kept = std::make_shared<std::vector<float>>(values);
  return Volume("wave", shape, Dtype::float32, {kept, kept->data()}, "wave");
}

Volume wave(const Shape& shape) {
  std::vector<float> values;
  for (std::int64_t z = 0; z < shape.z; ++z)
    for (std::int64_t y = 0; y < shape.y; ++y)
      for (std::int64_t x = 0; x < shape.x; ++x)
        values.push_back(std::sin(0.3f * static_cast<float>(x)) +
                         std::cos(0.2f * static_cast<float>(y * z)));
  return cut_of(shape, values);
}

TEST(Baselines, AimAtPowersThatAreOncePerTwoPercent) {
  const std::vector<double> reached{3.0, 2.98, 2.5, 100, NAN, 0};
  const std::vector<double> targets = target_ratios(reached);
  ASSERT_EQ(targets.size(), 3u);
  EXPECT_NEAR(targets[0], 2.5, 0.026);
  EXPECT_NEAR(targets[1], 3.0, 0.03);
  EXPECT_NEAR(targets[2], 100, 1.0);
  EXPECT_EQ(target_ratios(targets), targets);
}

TEST(Baselines, ZfpReachesWhatItsTolerancesGive) {
  if (!has_zfp()) GTEST_SKIP() << "this build has no ZFP";
  const Volume volume = open_volume(test::demo_volume());
  double ratio = 0, psnr = 1e9;
  for (const double target : {3.0, 6.0, 20.0}) {
    const BaselineResult result = at_ratio("zfp", volume, target);
    ASSERT_EQ(result.status, "finished") << result.failure;
    const double reached = 68921.0 / static_cast<double>(result.bytes);
    // A tolerance twice as large takes about a bit a voxel less.
    EXPECT_LE(reached, 1.02 * target);
    EXPECT_GT(reached, 0.5 * target);
    EXPECT_GT(reached, ratio);
    EXPECT_LT(result.metrics.psnr, psnr);
    EXPECT_GT(result.metrics.psnr, 25);
    EXPECT_TRUE(contains(result.mode, "fixed accuracy ")) << result.mode;
    ratio = reached;
    psnr = result.metrics.psnr;
  }
}

TEST(Baselines, ZfpHasEveryTypeAndFlatVolumes) {
  if (!has_zfp()) GTEST_SKIP() << "this build has no ZFP";
  for (const Shape& shape : {Shape{33, 20, 7}, Shape{50, 40, 1}, Shape{300, 1, 1}}) {
    const Volume volume = wave(shape);
    for (const bool wide : {false, true}) {
      const auto count = static_cast<std::size_t>(shape.count());
      std::vector<float> floats(count);
      std::vector<double> doubles(count), back(count);
      for (std::size_t i = 0; i < count; ++i)
        floats[i] = static_cast<const float*>(volume.data())[i], doubles[i] = floats[i];
      const void* from = wide ? static_cast<const void*>(doubles.data()) : floats.data();
      const auto stream = zfp_compress_volume(from, shape, wide, 1e-3);
      zfp_decompress_volume(stream, shape, wide, back.data());
      for (std::size_t i = 0; i < count; ++i)
        EXPECT_NEAR(wide ? back[i] : reinterpret_cast<float*>(back.data())[i], floats[i], 1e-3);
    }
  }
}

TEST(Baselines, ZstdIsLossless) {
  if (!has_zstd()) GTEST_SKIP() << "this build has no Zstandard";
  for (const Volume& volume : {open_volume(test::demo_volume()), wave({20, 20, 20})}) {
    const BaselineResult result = at_ratio("zstd", volume, 0);
    ASSERT_EQ(result.status, "finished") << result.failure;
    EXPECT_LT(result.bytes, result.data_bytes);
    EXPECT_EQ(result.metrics.mse, 0);
    EXPECT_TRUE(std::isinf(result.metrics.psnr));
    EXPECT_EQ(result.metrics.ssim, 1);
    EXPECT_TRUE(contains(csv_row(result), ",inf,"));
    EXPECT_TRUE(Json::parse(json_line(result))["row"]["avg_psnr"].is_null());
  }
}

TEST(Baselines, ComponentsAddUp) {
  if (!has_zfp()) GTEST_SKIP() << "this build has no ZFP";
  const Volume one = wave({24, 24, 24});
  const auto count = static_cast<std::size_t>(one.shape.count());
  const auto* voxels = static_cast<const float*>(one.data());
  const auto both = std::make_shared<std::vector<float>>(voxels, voxels + count);
  for (std::size_t i = 0; i < count; ++i) both->push_back(100 * voxels[i]);
  const Volume two("two", one.shape, Dtype::float32, {both, both->data()}, "two", 2);
  const BaselineResult alone = at_ratio("zfp", one, 8), together = at_ratio("zfp", two, 8);
  EXPECT_EQ(together.data_bytes, 2 * alone.data_bytes);
  EXPECT_NEAR(static_cast<double>(together.bytes), 2.0 * static_cast<double>(alone.bytes),
              0.3 * static_cast<double>(alone.bytes));
  EXPECT_NEAR(together.metrics.psnr, alone.metrics.psnr, 4);
}

/// Programs that take the documented words: they keep every value in as many bytes as the bound
/// leaves, and say where a word is missing.
class Programs : public testing::Test {
 protected:
  void SetUp() override {
    if (test::fs::exists("/usr/bin/python3") == false) GTEST_SKIP() << "there is no python3";
    write("sz3", R"(
o = options("-f -3:3 -i -z -o -M:2", "-d")
assert ("-f" in o) != ("-d" in o) and o["-M"][0] == "ABS"
wide = "-d" in o
if "-i" in o: compress(o["-i"][0], o["-z"][0], float(o["-M"][1]), wide, o["-3"])
else: decompress(o["-z"][0], o["-o"][0], wide)
)");
    write("tthresh", R"(
o = options("-i -t -s:3 -r -c -o", "")
if "-i" in o:
    compress(o["-i"][0], o["-c"][0], float(o["-r"][0]), o["-t"][0] == "double", o["-s"])
else: decompress(o["-c"][0], o["-o"][0], None)
)");
    write("sperr3d", R"(
o = options("--ftype --dims:3 --bitstream --pwe --decomp_f --decomp_d", "-c -d", 1)
if "-c" in o:
    wide = o["--ftype"][0] == "64"
    compress(o[""][0], o["--bitstream"][0], float(o["--pwe"][0]), wide, o["--dims"])
else: decompress(o[""][0], (o.get("--decomp_f") or o.get("--decomp_d"))[0], None)
)");
    write("mgard", R"(
assert sys.argv[1] in ("compress", "decompress")
do = sys.argv.pop(1)
o = options("--datatype --shape --smoothness --tolerance --input --output", "")
if do == "compress":
    assert o["--smoothness"] == ["inf"]
    wide = o["--datatype"][0] == "double"
    compress(o["--input"][0], o["--output"][0], float(o["--tolerance"][0]), wide,
             o["--shape"][0].split("x")[::-1])
else: decompress(o["--input"][0], o["--output"][0], None)
)");
    write("broken", R"(
print("no such luck"); sys.exit(3)
)");
    path_ = directory_.path().string();
  }

  void write(const std::string& name, const std::string& body) {
    const test::fs::path file = directory_ / name;
    test::write_text(file, R"(#!/usr/bin/python3
import array, struct, sys, zlib
def options(valued, flags, positional=0):
    counts = {v.split(":")[0]: int((v.split(":") + ["1"])[1]) for v in valued.split()}
    counts.update({f: 0 for f in flags.split()})
    counts["-f"] = 0
    found, words = {}, sys.argv[1:]
    while words:
        word = words.pop(0)
        if word not in counts:
            assert positional, word
            found.setdefault("", []).append(word)
            continue
        found[word], words = words[:counts[word]], words[counts[word]:]
    return found
def compress(source, target, bound, wide, dims):
    values = array.array("d" if wide else "f", open(source, "rb").read())
    assert len(values) == int(dims[0]) * int(dims[1]) * int(dims[2]), dims
    steps = array.array("q", [round(v / (2 * bound)) for v in values])
    open(target, "wb").write(struct.pack("<d?", bound, wide) + zlib.compress(steps.tobytes()))
def decompress(source, target, wide):
    data = open(source, "rb").read()
    bound, was = struct.unpack("<d?", data[:9])
    assert wide is None or was == wide
    steps = array.array("q", zlib.decompress(data[9:]))
    array.array("d" if was else "f", [s * 2 * bound for s in steps]).tofile(open(target, "wb"))
)" + body);
    test::fs::permissions(file, test::fs::perms::owner_all);
  }

  test::TemporaryDirectory directory_;
  std::string path_;
};

TEST_F(Programs, AreCalledByTheirOwnWords) {
  const Volume volume = open_volume(test::demo_volume());
  const Volume part = volume.cut({{10, 10, 10}, {26, 24, 20}});
  for (const char* name : {"sz3", "tthresh", "mgard", "sperr"}) {
    const std::string file = std::string(name) == "sperr" ? "sperr3d" : name;
    const BaselineResult result = at_ratio(std::string(name) + "=" + path_ + "/" + file, part, 2);
    ASSERT_EQ(result.status, "finished") << name << ": " << result.failure;
    EXPECT_NEAR(static_cast<double>(part.bytes()) / static_cast<double>(result.bytes), 2, 0.04);
    EXPECT_GT(result.metrics.psnr, 20);
    EXPECT_TRUE(contains(result.mode, "error ")) << result.mode;
  }
  const auto doubles = std::make_shared<std::vector<double>>();
  for (int i = 0; i < 4000; ++i) doubles->push_back(1 + 1e-12 * std::sin(0.01 * i));
  const Volume wide("w", {40, 10, 10}, Dtype::float64, {doubles, doubles->data()}, "w");
  const BaselineResult fine = at_ratio("sz3=" + path_ + "/sz3", wide, 4);
  EXPECT_EQ(fine.status, "finished") << fine.failure;
  EXPECT_GT(fine.metrics.psnr, 40);
}

TEST_F(Programs, ThatFailMakeARowThatSaysWhy) {
  const Volume volume = open_volume(test::demo_volume());
  const BaselineResult result = at_ratio("sz3=" + path_ + "/broken", volume, 3);
  EXPECT_EQ(result.status, "failed");
  EXPECT_TRUE(contains(result.failure, "ended with status 3: 'no such luck'")) << result.failure;
  EXPECT_TRUE(contains(csv_row(result), ",failed,"));
  EXPECT_EQ(Json::parse(json_line(result))["failure"], result.failure);
}

TEST_F(Programs, AreFoundInPathAndTheEnvironment) {
  const auto bench = [&](const std::string& baselines,
                         const std::map<std::string, std::string>& environment) {
    Json entry = test::small_run();
    test::write_text(directory_ / "p.json", test::params_of("nucleon", entry));
    return test::run(directory_.path(),
                     {"-p", "p.json", "--data-dir", test::demo_data().string(), "-o", "results",
                      "--baselines", baselines},
                     environment);
  };
  const std::string path = std::getenv("PATH");
  const test::Outcome missing = bench("sz3", {{"PATH", "/nowhere"}});
  EXPECT_EQ(missing.status, 2);
  EXPECT_TRUE(contains(missing.error, "--baselines sz3: there is no program 'sz3' in PATH"))
      << missing.error;
  EXPECT_TRUE(contains(bench("sz3=/nowhere/sz3", {}).error, "'/nowhere/sz3'"));
  EXPECT_TRUE(contains(bench("sz4", {}).error, "did you mean 'sz3'?"));
  EXPECT_TRUE(contains(bench("zfp=/bin/true", {}).error, "part of this program"));
  EXPECT_FALSE(test::fs::exists(directory_ / "results/results.csv") &&
               test::csv(directory_ / "results/results.csv").size() > 0);
  const test::Outcome found = bench(
      "tthresh,mgard", {{"PATH", "/nowhere:" + path_}, {"KANBENCH_MGARD", path_ + "/broken"}});
  EXPECT_EQ(found.status, 1) << found.error;
  const auto rows = test::csv(directory_ / "results/results.csv");
  ASSERT_EQ(rows.size(), 3u);
  EXPECT_EQ(rows[1].at("network_type"), "tthresh");
  EXPECT_EQ(rows[1].at("status"), "finished") << found.error;
  EXPECT_NEAR(std::stod(rows[1].at("compression_ratio")),
              std::stod(rows[0].at("compression_ratio")),
              0.04 * std::stod(rows[0].at("compression_ratio")));
  EXPECT_EQ(rows[2].at("network_type"), "mgard");
  EXPECT_EQ(rows[2].at("status"), "failed");
  for (const auto& entry : test::fs::directory_iterator(directory_ / "results"))
    EXPECT_FALSE(contains(entry.path().filename().string(), "baseline"));
}

TEST(ProgramBaseline, DoesEachOnceAndLeavesListsAlone) {
  if (!has_zfp() || !has_zstd()) GTEST_SKIP() << "this build has no ZFP or no Zstandard";
  const test::TemporaryDirectory directory;
  Json entry = test::small_run();
  entry["log2_hashmap_size"] = {{"values", {6, 8}}};
  test::write_text(directory / "p.json", test::params_of("nucleon", entry));
  const auto bench = [&](const std::vector<std::string>& more) {
    std::vector<std::string> words{"-p", "p.json",  "--data-dir",  test::demo_data().string(),
                                   "-o", "results", "--baselines", "zfp,zstd"};
    words.insert(words.end(), more.begin(), more.end());
    const test::Outcome outcome = test::run(directory.path(), words);
    EXPECT_EQ(outcome.status, 0) << outcome.error;
    return outcome;
  };
  bench({"--list"});
  bench({"--test-epoch"});
  EXPECT_FALSE(test::fs::exists(directory / "results/results.csv"));
  EXPECT_TRUE(contains(bench({}).out, "fixed accuracy"));
  const auto rows = test::csv(directory / "results/results.csv");
  ASSERT_EQ(rows.size(), 5u);
  for (std::size_t i = 2; i < 4; ++i) {
    EXPECT_EQ(rows[i].at("network_type"), "zfp");
    EXPECT_EQ(rows[i].at("dataset_name"), "nucleon");
    EXPECT_TRUE(contains(rows[i].at("matched"), "ratio "));
    EXPECT_GT(std::stod(rows[i].at("avg_psnr")), 20);
  }
  EXPECT_EQ(rows[4].at("network_type"), "zstd");
  EXPECT_EQ(rows[4].at("avg_psnr"), "inf");
  const std::string before = test::contents(directory / "results/results.csv");
  EXPECT_TRUE(contains(bench({}).error, "skipped"));
  EXPECT_EQ(test::contents(directory / "results/results.csv"), before);
}

}  // namespace
}  // namespace kanbench
