// Volumes in files of all kinds, through the program: trained on, converted, reconstructed, filled.

#include "program_running.h"
#include "volume_files.h"

namespace kanbench::test {
namespace {

class ProgramFormats : public testing::Test {
 protected:
  Outcome go(const Words& words) const { return run(here_.path(), words); }
  Json info(const std::string& volume, const Words& more = {}) const {
    Words words = {"info", volume, "--json"};
    words.insert(words.end(), more.begin(), more.end());
    const Outcome said = go(words);
    EXPECT_EQ(said.status, 0) << said.error;
    return said.status == 0 ? Json::parse(said.out) : Json{};
  }
  void write_params(const Json& entries) const { write_text(here_ / "p.json", entries.dump()); }
  Outcome bench(const Words& more) const {
    Words words = {"--params", "p.json", "--save-mode", "all", "--threads", "1", "--device", "cpu"};
    words.insert(words.end(), more.begin(), more.end());
    return go(words);
  }
  std::vector<fs::path> models() const {
    return files_below(here_ / "results" / "models_saved", ".safetensors");
  }
  void expect_refused(const Outcome& outcome, const std::string& part) const {
    EXPECT_EQ(outcome.status, 2) << outcome.out;
    EXPECT_EQ(lines(outcome.error).size(), 1u) << outcome.error;
    EXPECT_TRUE(contains(outcome.error, part)) << outcome.error;
  }
  TemporaryDirectory here_;
};

const std::string kItk = golden_volume("itk.nrrd").string();

TEST_F(ProgramFormats, TrainsOnAFileByItsPath) {
  write_params({{"a", small_run()}, {"b", small_run()}});
  expect_refused(bench({"--volume", kItk}), "--dataset NAME");
  expect_refused(bench({"--dataset", kItk}), "--volume " + kItk);
  expect_refused(bench({"--dataset", "c", "--volume", kItk}), "--dataset c");
  expect_refused(bench({"--dataset", "a", "--volume", "none.nrrd"}), "none.nrrd");
  const Outcome done = bench({"--dataset", "a", "--volume", kItk});
  ASSERT_EQ(done.status, 0) << done.error;
  ASSERT_EQ(models().size(), 1u);
  EXPECT_EQ(models()[0].filename().string().rfind("itk_mlp_8_", 0), 0u) << models()[0];
  const auto rows = csv(here_ / "results" / "results.csv");
  ASSERT_EQ(rows.size(), 1u);
  EXPECT_EQ(rows[0].at("dataset_name"), "itk");
  // What the volume's place was goes with the model.
  const Json model = info(models()[0].string());
  EXPECT_EQ(model.at("spacing"), Json({0.5, 1.5, 2.25}));
  EXPECT_EQ(model.at("origin"), Json({-3, 4.5, 10}));
  const auto headers = files_below(here_ / "results" / "reconstructions_saved", ".nhdr");
  ASSERT_EQ(headers.size(), 1u);
  EXPECT_TRUE(contains(contents(headers[0]), "space origin: (-3,4.5,10)"));
}

TEST_F(ProgramFormats, BricksKeepTheirPlace) {
  write_params({{"a", small_run()}});
  const Outcome done =
      bench({"--volume", kItk, "--decomposition", "ensemble", "--bricks", "2", "--ghost", "1"});
  ASSERT_EQ(done.status, 0) << done.error;
  const auto manifests = files_below(here_ / "results" / "models_saved", ".json");
  ASSERT_EQ(manifests.size(), 1u);
  EXPECT_EQ(info(manifests[0].string()).at("origin"), Json({-3, 4.5, 10}));
  ASSERT_EQ(models().size(), 2u);
  // The second brick begins at x = 1, of spacing 0.5.
  EXPECT_EQ(info(models()[0].string()).at("origin"), Json({-3, 4.5, 10}));
  EXPECT_EQ(info(models()[1].string()).at("origin"), Json({-2.5, 4.5, 10}));
  ASSERT_EQ(go({"reconstruct", manifests[0].string(), "-o", "e.nrrd"}).status, 0);
  EXPECT_EQ(open_volume(here_ / "e.nrrd").origin, (std::array<double, 3>{-3, 4.5, 10}));
}

TEST_F(ProgramFormats, KeysMayBePaths) {
  fs::create_directory(here_ / "data");
  fs::copy_file(kItk, here_ / "data" / "scan.nrrd");
  write_params({{"data/scan.nrrd", small_run()}});
  EXPECT_EQ(bench({}).status, 0);
  write_params({{"scan.nrrd", small_run()}});
  EXPECT_EQ(bench({"--data-dir", "data"}).status, 0);
  write_params({{"scan", small_run()}});
  EXPECT_EQ(bench({"--data-dir", "data", "--ssd-dir", "fast"}).status, 0);
  EXPECT_TRUE(contents(here_ / "fast" / "scan.nrrd") == contents(kItk));
  EXPECT_EQ(models().size(), 3u);
}

TEST_F(ProgramFormats, StagesHeadersWithTheirVoxels) {
  for (const char* name : {"itk_detached.mhd", "itk_detached.raw"})
    fs::copy_file(golden_volume(name), here_ / name);
  write_params({{"x", small_run()}});
  const Outcome done = bench({"--volume", "itk_detached.mhd", "--ssd-dir", "fast"});
  ASSERT_EQ(done.status, 0) << done.error;
  EXPECT_TRUE(fs::exists(here_ / "fast" / "itk_detached.raw"));
  fs::create_directory(here_ / "up");
  write_text(here_ / "up" / "v.nhdr",
             "NRRD0004\ntype: float\ndimension: 3\nsizes: 5 4 3\nendian: little\nencoding: raw\n"
             "data file: ../itk_detached.raw\n");
  EXPECT_EQ(bench({"--volume", "up/v.nhdr"}).status, 0);
  expect_refused(bench({"--volume", "up/v.nhdr", "--ssd-dir", "fast"}), "beside its header");
}

TEST_F(ProgramFormats, ReconstructsIntoEveryFormat) {
  write_params({{"a", small_run()}});
  ASSERT_EQ(bench({"--volume", kItk}).status, 0);
  const std::string model = models().at(0).string();
  ASSERT_EQ(go({"reconstruct", model, "-o", "whole.nrrd"}).status, 0);
  const std::vector<double> expected = numbers_of(open_volume(here_ / "whole.nrrd"));
  for (const char* name : {"r.nhdr", "s.mhd", "r.mha", "r.vti", "r.nii"}) {
    const Outcome done = go({"reconstruct", model, "-o", name});
    ASSERT_EQ(done.status, 0) << done.error;
    if (!contains(name, "vti")) {
      EXPECT_EQ(numbers_of(open_volume(here_ / name)), expected) << name;
    }
  }
  // The second half in twice the resolution: its first voxel lies a quarter beyond the middle.
  ASSERT_EQ(
      go({"reconstruct", model, "-o", "box.mha", "--size", "10x8x6", "--box", "5:,:,:"}).status, 0);
  const Volume box = open_volume(here_ / "box.mha");
  EXPECT_EQ(box.shape, (Shape{5, 8, 6}));
  EXPECT_EQ(box.spacing, (std::array<double, 3>{0.25, 0.75, 1.125}));
  EXPECT_EQ(box.origin, (std::array<double, 3>{-3 + 1.25 - 0.125, 4.5 - 0.375, 10 - 0.5625}));
  expect_refused(go({"reconstruct", model, "-o", "r.nc"}), ".nrrd");
  expect_refused(go({"reconstruct", model, "-o", model}), "would overwrite");
}

TEST_F(ProgramFormats, Converts) {
  const Outcome done = go({"convert", golden_volume("itk_vector.mha").string(), "-o", "v.nii"});
  ASSERT_EQ(done.status, 0) << done.error;
  EXPECT_TRUE(contains(done.out, "5x4x3 x 2 int16")) << done.out;
  EXPECT_EQ(numbers_of(open_volume(here_ / "v.nii")), golden_numbers(2));
  EXPECT_EQ(info("v.nii").at("components"), 2);
  ASSERT_EQ(go({"convert", kItk, "-o", "."}).status, 0);
  EXPECT_TRUE(fs::exists(here_ / "itk_5x4x3_uint8.raw"));
  EXPECT_TRUE(fs::exists(here_ / "itk_5x4x3_uint8.nhdr"));
  expect_refused(go({"convert", "v.nii", "-o", "v.nii"}), "would overwrite");
  expect_refused(go({"convert", "itk_5x4x3_uint8.nhdr", "-o", "itk_5x4x3_uint8.mhd"}),
                 "would overwrite");
  expect_refused(go({"convert", "v.nii", "-o", "v.nii.gz"}), ".nii");
  expect_refused(go({"convert", "v.nii", "-o", "itk_5x4x3_uint8.mhd"}), "would overwrite");
  expect_refused(go({"convert", "none.nii", "-o", "v.mha"}), "no such file");
}

TEST_F(ProgramFormats, FillsWhatIsMissing) {
  const std::string packed = golden_volume("classic.nc").string();
  const Outcome refused = go({"info", packed});
  if (contains(refused.error, "this build")) GTEST_SKIP() << refused.error;
  expect_refused(refused, "--missing nearest, min, max, mean or a number");
  expect_refused(go({"info", packed, "--missing", "nearst"}), "'nearest'");
  EXPECT_EQ(info(packed, {"--missing", "-50"}).at("low"), -50);
  write_params({{"x", small_run()}});
  expect_refused(bench({"--volume", packed}), "1 of 60");
  for (const char* rule : {"nearest", "mean"}) {
    const Outcome done = bench({"--volume", packed, "--missing", rule});
    ASSERT_EQ(done.status, 0) << done.error;
    EXPECT_TRUE(contains(done.error + done.out, std::string("were filled, ") + rule));
  }
  // Other voxels, another run.
  EXPECT_EQ(csv(here_ / "results" / "results.csv").size(), 2u);
  ASSERT_EQ(models().size(), 2u);
  const std::string model = models()[0].string();
  expect_refused(go({"evaluate", model, packed}), "1 of 60");
  EXPECT_EQ(go({"evaluate", model, packed, "--missing", "mean"}).status, 0);
  ASSERT_EQ(go({"convert", packed, "-o", "full.nrrd", "--missing", "min"}).status, 0);
  EXPECT_EQ(info("full.nrrd").at("low"), -3);
}

TEST_F(ProgramFormats, OtherProgramsReadWhatIsWritten) {
  const fs::path script = source_directory() / "tests" / "golden" / "volumes.py";
  const pid_t child =
      start(here_.path(), {script.string(), "--check", KANBENCH_PROGRAM}, {}, "python3");
  int status = 0;
  waitpid(child, &status, 0);
  const std::string said = contents(here_ / "out") + contents(here_ / "error");
  if (WIFEXITED(status) && WEXITSTATUS(status) == 77) GTEST_SKIP() << said;
  EXPECT_EQ(status, 0) << said;
}

}  // namespace
}  // namespace kanbench::test
