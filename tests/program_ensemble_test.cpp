// Ensembles and hybrids by one process or by several that do not talk: rows, files, what is left of
// processes that died, and what is refused.

#include "program_running.h"

namespace kanbench::test {
namespace {

using Clock = fs::file_time_type;

class ProgramEnsemble : public testing::Test {
 protected:
  void SetUp() override { write_text(here_ / "p.json", params_of("nucleon", small_run())); }
  Words bench(const std::string& output, const Words& more = {},
              const fs::path& data = demo_data()) const {
    Words words = {"--params",   (here_ / "p.json").string(),
                   "--data-dir", data.string(),
                   "-o",         (here_ / output).string(),
                   "--threads",  "1",
                   "--device",   "cpu"};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }
  Outcome go(const Words& words) const { return run(here_.path(), words); }
  Json train(const std::string& output, const Words& more, const fs::path& data = demo_data()) {
    const Outcome done = go(bench(output, more, data));
    EXPECT_EQ(done.status, 0) << done.error;
    EXPECT_FALSE(fs::exists(here_ / output / "checkpoints"));
    return done.status == 0 ? only_run(here_ / output).at("row") : Json{};
  }
  fs::path manifest(const std::string& output) const {
    const std::vector<fs::path> found = files_below(here_ / output / "models_saved", ".json");
    EXPECT_EQ(found.size(), 1u);
    return found.empty() ? fs::path() : found[0];
  }
  // The one file of this kind that a run keeps.
  std::string bytes_of(const std::string& output, const std::string& extension) const {
    const std::vector<fs::path> found = files_below(here_ / output, extension);
    EXPECT_EQ(found.size(), 1u) << extension;
    return found.empty() ? "" : contents(found[0]);
  }
  std::vector<fs::path> trained(const std::string& output) const {
    return files_below(here_ / output / "checkpoints", ".safetensors");
  }
  // Bricks as they are, and as they were in another directory.
  void expect_same_bricks(const std::string& a, const std::string& b) const {
    const auto of_a = files_below(here_ / a / "models_saved", ".safetensors");
    const auto of_b = files_below(here_ / b / "models_saved", ".safetensors");
    ASSERT_EQ(of_a.size(), of_b.size());
    for (std::size_t i = 0; i < of_a.size(); ++i) {
      EXPECT_EQ(of_a[i].filename(), of_b[i].filename());
      EXPECT_TRUE(contents(of_a[i]) == contents(of_b[i])) << of_a[i];
    }
  }
  // What the commands say of a manifest, beside what the row says.
  void expect_agreement(const std::string& output, const fs::path& volume, const Json& row) {
    const std::string ensemble = manifest(output).string();
    const Outcome measured = go({"evaluate", ensemble, volume.string(), "--json"});
    ASSERT_EQ(measured.status, 0) << measured.error;
    const Json figures = Json::parse(measured.out);
    EXPECT_NEAR(figures.at("mse"), row.at("avg_mse"), 1e-12 * row.at("avg_mse").get<double>());
    EXPECT_NEAR(figures.at("ssim"), row.at("avg_ssim"), 1e-9);
    EXPECT_NEAR(figures.at("ssim_3d"), row.at("avg_ssim_3d"), 1e-9);
    const Json about = Json::parse(go({"info", ensemble, "--json"}).out);
    EXPECT_EQ(about.at("n_parameters"), row.at("n_parameters"));
    EXPECT_NEAR(about.at("compression_ratio"), row.at("compression_ratio"), 1e-9);
    const Outcome decoded = go({"reconstruct", ensemble, "-o", "again.raw"});
    EXPECT_EQ(decoded.status, 0) << decoded.error;
    EXPECT_TRUE(contents(here_ / "again.raw") == bytes_of(output, ".raw"));
  }

  TemporaryDirectory here_;
};

TEST_F(ProgramEnsemble, ShowsInRowAndFiles) {
  ASSERT_EQ(go({"synth", "turbulence", "-o", "data", "--size", "64x64x64"}).status, 0);
  const fs::path turbulence = here_ / "data/turbulence_64x64x64_uint8.raw";
  const std::int64_t parameters = train("one", {}).at("n_parameters");
  for (const char* mode : {"ensemble", "hybrid"}) {
    const Words more = {"--decomposition", mode, "--bricks", "8"};
    write_text(here_ / "p.json", params_of("nucleon", small_run()));
    const std::string small = std::string(mode) + "-nucleon", large = std::string(mode) + "-large";
    const Json row = train(small, more);
    EXPECT_EQ(row.at("decomposition"), std::string(mode) + " 2x2x2 ghost 1");
    EXPECT_EQ(row.at("ranks"), 1);
    EXPECT_EQ(row.at("status"), "finished");
    EXPECT_EQ(files_below(here_ / small / "models_saved", ".safetensors").size(), 8u);
    EXPECT_EQ(row.at("n_parameters"), 8 * parameters);
    expect_agreement(small, demo_volume(), row);
    write_text(here_ / "p.json", params_of("turbulence", small_run()));
    expect_agreement(large, turbulence, train(large, more, here_ / "data"));
  }
}

TEST_F(ProgramEnsemble, CutsAsItIsTold) {
  EXPECT_EQ(train("bare", {"--decomposition", "ensemble", "--bricks", "7", "--ghost", "0",
                           "--blend", "off"})
                .at("decomposition"),
            "ensemble 1x1x7 ghost 0 unblended");
  EXPECT_EQ(files_below(here_ / "bare/models_saved", ".safetensors").size(), 7u);
  // As many slices as there are, and ghosts as wide as the whole.
  const Json thin =
      train("thin", {"--decomposition", "ensemble", "--bricks", "41", "--ghost", "64"});
  EXPECT_EQ(thin.at("decomposition"), "ensemble 1x1x41 ghost 64");
  expect_agreement("thin", demo_volume(), thin);
  expect_agreement("bare", demo_volume(), only_run(here_ / "bare").at("row"));
}

TEST_F(ProgramEnsemble, RunsOfOtherBricksAreOtherRuns) {
  for (const Words& more :
       {Words{"--bricks", "2"}, Words{"--bricks", "4"}, Words{"--bricks", "2", "--ghost", "2"},
        Words{"--bricks", "2", "--blend", "off"}}) {
    Words words = bench("o", {"--decomposition", "ensemble"});
    words.insert(words.end(), more.begin(), more.end());
    EXPECT_EQ(go(words).status, 0);
  }
  std::set<std::string> ids;
  for (const Json& run : histories(here_ / "o")) ids.insert(run.at("run_id"));
  EXPECT_EQ(ids.size(), 4u);
}

TEST_F(ProgramEnsemble, DoesNotTrainAgainWhatIsTrained) {
  const Words more = {"--decomposition", "ensemble", "--bricks", "27", "--epochs", "8"};
  train("whole", more);
  const std::pair<int, int> endings[] = {{SIGKILL, 128 + SIGKILL}, {SIGUSR1, 0}, {SIGTERM, 0}};
  for (const auto& [signal, status] : endings) {
    const std::string output = std::to_string(signal);
    std::map<fs::path, Clock> before;
    {
      Running running(here_.path(), bench(output, more));
      ASSERT_TRUE(wait_until([&] { return trained(output).size() >= 4; })) << running.said();
      const Outcome ended = running.wait(signal);
      ASSERT_EQ(ended.status, status) << ended.error;
      if (status == 0) {
        EXPECT_EQ(only_run(here_ / output).at("status"), "interrupted");
      }
    }
    for (const fs::path& file : trained(output)) before[file] = fs::last_write_time(file);
    ASSERT_LT(before.size(), 27u) << "it was over before it was ended";
    const Outcome again = go(bench(output, more));
    ASSERT_EQ(again.status, 0) << again.error;
    EXPECT_EQ(count_of("of 27 bricks are trained", again.error), 1u) << again.error;
    const fs::path kept = manifest(output).parent_path();
    // The one whose model a killed process wrote, but not the record of it, is trained again.
    std::ptrdiff_t again_trained = 0;
    for (const auto& [file, time] : before)
      again_trained += fs::last_write_time(kept / file.filename()) != time;
    EXPECT_LE(again_trained, signal == SIGKILL ? 1 : 0);
    expect_same_bricks(output, "whole");
    EXPECT_EQ(only_run(here_ / output).at("row").at("avg_mse"),
              only_run(here_ / "whole").at("row").at("avg_mse"));
    EXPECT_FALSE(fs::exists(here_ / output / "checkpoints"));
  }
}

TEST_F(ProgramEnsemble, HybridsGoOnToo) {
  const Words more = {"--decomposition", "hybrid", "--bricks",           "4",
                      "--epochs",        "10",     "--checkpoint-every", "1epoch"};
  train("whole", more);
  for (const int signal : {SIGKILL, SIGUSR1}) {
    const std::string output = std::to_string(signal);
    {
      Running running(here_.path(), bench(output, more));
      ASSERT_TRUE(wait_until([&] {
        return files_below(here_ / output / "checkpoints", ".ckpt").size() >= 2;
      })) << running.said();
      running.wait(signal);
    }
    const Outcome again = go(bench(output, more));
    ASSERT_EQ(again.status, 0) << again.error;
    EXPECT_EQ(count_of("goes on in epoch", again.error), 1u) << again.error;
    expect_same_bricks(output, "whole");
    EXPECT_FALSE(fs::exists(here_ / output / "checkpoints"));
  }
}

TEST_F(ProgramEnsemble, IsSharedByProcessesThatDoNotTalk) {
  const Words more = {"--decomposition", "ensemble", "--bricks",       "27",
                      "--epochs",        "8",        "--communicator", "single"};
  train("whole", more);
  for (const bool killed : {false, true}) {
    const std::string output = killed ? "killed" : "both";
    Running one(here_ / "a", bench(output, more)), two(here_ / "b", bench(output, more));
    ASSERT_TRUE(wait_until([&] { return trained(output).size() >= 3; })) << one.said();
    Outcome first, second;
    if (killed) {
      first = one.wait(SIGKILL);
      second = two.wait();
    } else {
      first = one.wait();
      second = two.wait();
      EXPECT_EQ(first.status, 0) << first.error;
      const std::string all = first.error + second.error;
      // One that came late finds the row.
      EXPECT_EQ(count_of("another process measures it", all) + count_of("skipped", all), 1u) << all;
    }
    EXPECT_EQ(second.status, 0) << second.error;
    EXPECT_EQ(csv(here_ / output / "results.csv").size(), 1u);
    EXPECT_EQ(only_run(here_ / output).at("status"), "finished");
    expect_same_bricks(output, "whole");
    EXPECT_FALSE(fs::exists(here_ / output / "checkpoints"));
  }
}

TEST_F(ProgramEnsemble, HasNoModelOfAConstantBrick) {
  std::string voxels(16 * 16 * 16, '\5');
  for (std::size_t i = voxels.size() / 2; i < voxels.size(); ++i)
    voxels[i] = static_cast<char>(i * i % 251);
  fs::create_directories(here_ / "data");
  const fs::path volume = here_ / "data/half_16x16x16_uint8.raw";
  write_text(volume, voxels);
  write_text(here_ / "p.json", params_of("half", small_run()));
  const Json row =
      train("o", {"--decomposition", "ensemble", "--bricks", "8", "--ghost", "0"}, here_ / "data");
  EXPECT_EQ(files_below(here_ / "o/models_saved", ".safetensors").size(), 4u);
  expect_agreement("o", volume, row);
  const std::string decoded = bytes_of("o", ".raw");
  EXPECT_TRUE(decoded.substr(0, decoded.size() / 2) == voxels.substr(0, voxels.size() / 2));
}

TEST_F(ProgramEnsemble, RefusesInOneLine) {
  const std::pair<Words, Words> cases[] = {
      {{"--decomposition", "foo"}, {"--decomposition", "foo", "shared, ensemble, hybrid"}},
      {{"--decomposition", "ensemble", "--bricks", "5000000"}, {"--bricks", "5000000"}},
      {{"--decomposition", "ensemble", "--bricks", "70000"}, {"--bricks", "41x41x41", "70000"}},
      {{"--decomposition", "ensemble", "--bricks", "43"}, {"--bricks", "43", "42 or 44"}},
      {{"--decomposition", "ensemble", "--bricks", "-1"}, {"--bricks", "-1"}},
      {{"--decomposition", "ensemble", "--ghost", "-1"}, {"--ghost", "-1", "64"}},
      {{"--decomposition", "ensemble", "--blend", "maybe"}, {"--blend", "maybe"}},
      {{"--decomposition", "hybrid", "--share-every", "0"}, {"--share-every", "0"}},
      {{"--wire", "fp8"}, {"--wire", "fp8", "fp16"}}};
  for (const auto& [more, says] : cases) expect_one_line(go(bench("o", more)), 2, says);
  EXPECT_TRUE(files_below(here_ / "o", ".csv").empty() || histories(here_ / "o").empty());
}

TEST_F(ProgramEnsemble, SaysWhatIsWrongWithAManifest) {
  train("o", {"--decomposition", "ensemble", "--bricks", "2"});
  const fs::path file = manifest("o"), brick = file.parent_path() / "brick_001.safetensors";
  const std::string text = contents(file), bytes = contents(brick);
  const auto refused = [&](const Words& says) {
    for (const Words& words :
         {Words{"info", file.string()},
          Words{"reconstruct", file.string(), "-o", "r.raw", "--device", "cpu"},
          Words{"evaluate", file.string(), demo_volume().string(), "--device", "cpu"}})
      expect_one_line(go(words), 2, says);
    EXPECT_FALSE(fs::exists(here_ / "r.raw"));
  };
  const auto changed = [&](const std::string& what, const std::string& by) {
    std::string other = text;
    const std::size_t at = other.find(what);
    EXPECT_NE(at, other.npos) << what;
    write_text(file, other.replace(at, what.size(), by));
  };
  const std::string name = file.filename().string();
  write_text(file, text.substr(0, text.size() / 2));
  refused({name});
  write_text(file, "");
  refused({name});
  changed("\"grid\": [1,1,2]", "\"grid\": [1,1,3]");
  refused({name, "grid"});
  changed("\"version\": 1", "\"version\": 99");
  refused({name, "99"});
  changed("brick_001.safetensors", "../../../../etc/passwd");
  refused({name});
  changed("\"shape\": [41,41,41]", "\"shape\": [41,41,999999999999]");
  refused({name});
  write_text(file, text);
  write_text(brick, bytes.substr(0, bytes.size() - 3));
  refused({brick.filename().string()});
  fs::remove(brick);
  refused({brick.filename().string()});
  write_text(brick, bytes);
  EXPECT_EQ(go({"info", file.string()}).status, 0);
}

}  // namespace
}  // namespace kanbench::test
