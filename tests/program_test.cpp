// The program run for real, as a user would.

#include "program.h"

#include <sys/mount.h>

#include <chrono>
#include <csignal>
#include <set>
#include <thread>

#include "kanbench/slices.h"

namespace kanbench::test {
namespace {

class Program : public testing::Test {
 protected:
  Outcome go(const std::vector<std::string>& words,
             const std::map<std::string, std::string>& environment = {}) {
    return run(here_.path(), words, environment);
  }
  // Trains `entry` on the demo volume.
  Outcome train(const Json& entry, std::vector<std::string> more = {}) {
    write_text(here_ / "p.json", params_of("nucleon", entry));
    std::vector<std::string> words = {"--params", "p.json", "--data-dir", demo_data().string()};
    words.insert(words.end(), more.begin(), more.end());
    return go(words);
  }
  fs::path only_file(const std::string& directory, const std::string& extension) {
    fs::path found;
    for (const auto& entry : fs::directory_iterator(here_ / directory))
      if (entry.path().extension() == extension) {
        EXPECT_TRUE(found.empty()) << "several " << extension << " in " << directory;
        found = entry.path();
      }
    EXPECT_FALSE(found.empty()) << "no " << extension << " in " << directory;
    return found;
  }
  std::size_t files_in(const std::string& directory) {
    if (!fs::exists(here_ / directory)) return 0;
    return static_cast<std::size_t>(std::distance(fs::directory_iterator(here_ / directory), {}));
  }

  TemporaryDirectory here_;
};

TEST_F(Program, TrainsTheDemoAndSkipsItTheSecondTime) {
  std::vector<std::string> words = {"--params",
                                    (source_directory() / "params" / "debug.json").string(),
                                    "--data-dir", demo_data().string()};
  if (has_png()) words.insert(words.end(), {"--slices", "pictures"});
  const Outcome first = go(words);
  ASSERT_EQ(first.status, 0) << first.error;
  const auto rows = csv(here_ / "results/results.csv");
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(rows[0].at("network_type"), "mlp");
  EXPECT_EQ(rows[1].at("network_type"), "fastkan");
  for (const auto& row : rows) {
    EXPECT_EQ(row.at("status"), "finished");
    EXPECT_GT(std::stod(row.at("avg_psnr")), 30);
    EXPECT_GT(std::stod(row.at("avg_ssim")), 0.8);
    EXPECT_NE(first.out.find(row.at("network_type")), std::string::npos);
  }
  for (const std::string& line : lines(contents(here_ / "results/results.jsonl")))
    EXPECT_TRUE(Json::accept(line)) << line;
  EXPECT_EQ(files_in("results/models_saved"), 2u);
  EXPECT_EQ(files_in("results/reconstructions_saved"), 4u);
  EXPECT_EQ(files_in("pictures"), has_png() ? 2u : 0u);
  if (has_png()) {
    for (const auto& entry : fs::directory_iterator(here_ / "pictures"))
      EXPECT_EQ(contents(entry.path()).substr(1, 3), "PNG");
  }

  const std::string before = contents(here_ / "results/results.csv");
  const Outcome second = go(words);
  EXPECT_EQ(second.status, 0);
  EXPECT_NE(second.error.find("skipped"), std::string::npos) << second.error;
  EXPECT_EQ(contents(here_ / "results/results.csv"), before);
}

TEST_F(Program, NoResumeReplacesTheRow) {
  ASSERT_EQ(train(small_run()).status, 0);
  ASSERT_EQ(train(small_run(), {"--no-resume"}).status, 0);
  EXPECT_EQ(csv(here_ / "results/results.csv").size(), 1u);
  EXPECT_EQ(lines(contents(here_ / "results/results.jsonl")).size(), 1u);
}

TEST_F(Program, SurvivesKillsWithEveryRowOnce) {
  Json sweep = small_run();
  sweep["n_neurons"] = {{"values", {4, 5, 6, 7, 8}}};
  sweep["lrate"] = {{"values", {0.01, 0.005, 0.002, 0.001}}};
  write_text(here_ / "p.json", params_of("nucleon", sweep));
  const std::vector<std::string> words = {"--params",           "p.json",      "--data-dir",
                                          demo_data().string(), "--save-mode", "all"};
  std::size_t killed = 0;
  for (const int milliseconds : {60, 95, 130, 45, 110}) {
    const pid_t child = start(here_.path(), words);
    std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds));
    kill(child, SIGKILL);
    int status = 0;
    waitpid(child, &status, 0);
    killed += WIFSIGNALED(status);
  }
  EXPECT_GT(killed, 0u) << "the sweep is too short to be killed";
  const Outcome last = go(words);
  ASSERT_EQ(last.status, 0) << last.error;
  std::set<std::string> ids, indices;
  const auto rows = csv(here_ / "results/results.csv");
  for (const auto& row : rows) {
    ids.insert(row.at("run_id"));
    indices.insert(row.at("run_index"));
  }
  EXPECT_EQ(rows.size(), 20u);
  EXPECT_EQ(ids.size(), 20u);
  EXPECT_EQ(indices.size(), 20u);
  const auto history = lines(contents(here_ / "results/results.jsonl"));
  EXPECT_EQ(history.size(), 20u);
  for (const std::string& line : history) EXPECT_TRUE(Json::accept(line)) << line;
  for (const auto& entry : fs::directory_iterator(here_ / "results/models_saved")) {
    if (entry.path().extension() != ".safetensors") continue;
    EXPECT_EQ(go({"info", entry.path().string()}).status, 0) << entry.path();
  }
}

TEST_F(Program, SaysWhenTheDiskIsFullAndKeepsWhatThereIs) {
  const fs::path disk = here_ / "disk";
  fs::create_directory(disk);
  if (mount("tmpfs", disk.c_str(), "tmpfs", 0, "size=96k") != 0)
    GTEST_SKIP() << "a small tmpfs cannot be mounted here (root only)";
  const Outcome fits = train(small_run(), {"-o", "disk", "--save-mode", "none"});
  const std::string before = contents(disk / "results.csv");
  Json large = small_run();
  large["log2_hashmap_size"] = 14;
  large["base_resolution"] = 24;
  const Outcome full = train(large, {"-o", "disk"});
  const std::string after = contents(disk / "results.csv");
  const Outcome again = train(small_run(), {"-o", "disk", "--save-mode", "none"});
  umount2(disk.c_str(), MNT_DETACH);
  EXPECT_EQ(fits.status, 0) << fits.error;
  EXPECT_EQ(full.status, 2) << full.error;
  EXPECT_NE(full.error.find("No space left"), std::string::npos) << full.error;
  EXPECT_EQ(after, before);
  EXPECT_NE(again.error.find("skipped"), std::string::npos) << again.error;
}

TEST_F(Program, ListsRunsWithTheirIndicesWhateverTheFilter) {
  Json sweep = small_run();
  sweep["log2_hashmap_size"] = {8, 10};
  sweep["network_types"] = {"mlp", "fastkan"};
  const Outcome all = train(sweep, {"--list"});
  ASSERT_EQ(all.status, 0) << all.error;
  ASSERT_EQ(lines(all.out).size(), 7u) << all.out;
  const Outcome filtered =
      train(sweep, {"--list", "--network-types", "fkan", "--hashmap-size", "9"});
  ASSERT_EQ(lines(filtered.out).size(), 2u) << filtered.out;
  std::istringstream row(lines(filtered.out)[1]);
  int index = -1;
  row >> index;
  EXPECT_EQ(index, 3);
  EXPECT_FALSE(fs::exists(here_ / "results"));
}

TEST_F(Program, TakesTheRunFromTheClustersArray) {
  Json sweep = small_run();
  sweep["n_neurons"] = {4, 7};
  write_text(here_ / "p.json", params_of("nucleon", sweep));
  const std::vector<std::string> words = {"--params", "p.json", "--list"};
  const auto listed = [&](const std::map<std::string, std::string>& environment,
                          std::vector<std::string> more = {}) {
    more.insert(more.begin(), words.begin(), words.end());
    const auto rows = lines(go(more, environment).out);
    return rows.size() == 2 ? rows[1].substr(0, rows[1].find(" nucleon")) : "?";
  };
  EXPECT_EQ(std::stoi(listed({{"PBS_ARRAY_INDEX", "2"}})), 2);
  EXPECT_EQ(std::stoi(listed({{"SLURM_ARRAY_TASK_ID", "3"}})), 3);
  EXPECT_EQ(std::stoi(listed({{"SLURM_ARRAY_TASK_ID", "3"}}, {"--run-index", "1"})), 1);
  const Outcome bad = go(words, {{"PBS_ARRAY_INDEX", "two"}});
  EXPECT_EQ(bad.status, 2);
  EXPECT_NE(bad.error.find("PBS_ARRAY_INDEX='two'"), std::string::npos) << bad.error;
}

TEST_F(Program, KeepsTheModelsThatSaveModeNames) {
  Json sweep = small_run();
  sweep["log2_hashmap_size"] = {8, 10};
  const std::map<std::string, std::size_t> expected = {
      {"none", 0}, {"all", 3}, {"largest", 1}, {"smallest", 1}, {"9", 1}};
  for (const auto& [mode, files] : expected) {
    const Outcome done = train(sweep, {"--save-mode", mode, "-o", mode});
    ASSERT_EQ(done.status, 0) << done.error;
    EXPECT_EQ(files_in(mode + "/models_saved"), files) << mode;
  }
  EXPECT_NE(only_file("largest/models_saved", ".safetensors").string().find("nucleon_mlp_10_"),
            std::string::npos);
  EXPECT_NE(only_file("smallest/models_saved", ".safetensors").string().find("nucleon_mlp_8_"),
            std::string::npos);
}

TEST_F(Program, GivesTheSameModelForAnyThreadCount) {
  for (const char* type : {"mlp", "fastkan"}) {
    Json entry = small_run();
    entry["network_types"] = {type};
    std::string models[2];
    for (const int threads : {1, 2}) {
      const std::string directory = type + std::to_string(threads);
      const Outcome done = train(entry, {"--threads", std::to_string(threads), "-o", directory});
      ASSERT_EQ(done.status, 0) << done.error;
      models[threads - 1] = contents(only_file(directory + "/models_saved", ".safetensors"));
    }
    EXPECT_FALSE(models[0].empty());
    EXPECT_TRUE(models[0] == models[1]) << type;
  }
}

TEST_F(Program, RepeatsWithOtherSeeds) {
  const Outcome done = train(small_run(), {"--repeats", "3", "--seed", "5"});
  ASSERT_EQ(done.status, 0) << done.error;
  const auto rows = csv(here_ / "results/results.csv");
  ASSERT_EQ(rows.size(), 1u);
  EXPECT_EQ(rows[0].at("num_repeats"), "3");
  EXPECT_EQ(rows[0].at("seed"), "5");
  EXPECT_GT(std::stod(rows[0].at("std_dev_psnr")), 0);
}

TEST_F(Program, TimesAnEpochAndWritesOnlyThat) {
  Json entry = small_run();
  entry["epochs"] = 1000000;
  const Outcome done = train(entry, {"--test-epoch"});
  ASSERT_EQ(done.status, 0) << done.error;
  EXPECT_NE(done.out.find("s/epoch"), std::string::npos) << done.out;
  EXPECT_EQ(files_in("results"), 1u);
  const Json time = Json::parse(contents(here_ / "results/estimates.jsonl"));
  EXPECT_GT(time.at("epoch_seconds"), 0);
  EXPECT_EQ(time.at("ranks"), 1);
  EXPECT_EQ(time.at("device").get<std::string>().rfind("cpu", 0), 0u) << time;
}

TEST_F(Program, IsSilentWhenQuiet) {
  const Outcome done = train(small_run(), {"-q"});
  EXPECT_EQ(done.status, 0);
  EXPECT_EQ(done.out + done.error, "");
}

TEST_F(Program, CopiesTheVolumeToTheFastDisk) {
  ASSERT_EQ(train(small_run(), {"--ssd-dir", "fast"}).status, 0);
  EXPECT_TRUE(contents(here_ / "fast/nucleon_41x41x41_uint8.raw") == contents(demo_volume()));
  // And its header.
  EXPECT_EQ(files_in("fast"), 2u);
}

TEST_F(Program, EvaluatesAndReconstructsWhatItSaved) {
  ASSERT_EQ(train(small_run()).status, 0);
  const std::string model = only_file("results/models_saved", ".safetensors").string();
  const auto row = csv(here_ / "results/results.csv").at(0);

  std::vector<std::string> words = {"evaluate", model, demo_volume().string(), "--json"};
  if (has_png()) words.insert(words.end(), {"--slices", "e.png"});
  const Outcome measured = go(words);
  ASSERT_EQ(measured.status, 0) << measured.error;
  const Json figures = Json::parse(measured.out);
  EXPECT_NEAR(figures.at("psnr").get<double>(), std::stod(row.at("avg_psnr")), 1e-9);
  EXPECT_NEAR(figures.at("ssim").get<double>(), std::stod(row.at("avg_ssim")), 1e-9);
  EXPECT_NEAR(figures.at("ssim_3d").get<double>(), std::stod(row.at("avg_ssim_3d")), 1e-9);
  EXPECT_NE(figures.at("ssim_variant").get<std::string>().find("11"), std::string::npos);
  EXPECT_EQ(fs::exists(here_ / "e.png"), has_png());
  EXPECT_NE(go({"evaluate", model, demo_volume().string()}).out.find("PSNR"), std::string::npos);

  ASSERT_EQ(go({"reconstruct", model, "-o", "r.raw"}).status, 0);
  EXPECT_TRUE(contents(here_ / "r.raw") ==
              contents(only_file("results/reconstructions_saved", ".raw")));
  const Outcome part = go({"reconstruct", model, "-o", "part.raw", "--size", "82x60x20", "--box",
                           "10:30,:,5:6", "--dtype", "float32"});
  ASSERT_EQ(part.status, 0) << part.error;
  EXPECT_EQ(fs::file_size(here_ / "part.raw"), 20u * 60 * 1 * 4);
  EXPECT_NE(contents(here_ / "part.nhdr").find("sizes: 20 60 1"), std::string::npos);
  EXPECT_NE(contents(here_ / "part.nhdr").find("space origin: (1.158"), std::string::npos);
}

TEST_F(Program, ReconstructsABoxAsAPartOfTheWhole) {
  ASSERT_EQ(train(small_run()).status, 0);
  const std::string model = only_file("results/models_saved", ".safetensors").string();
  ASSERT_EQ(go({"reconstruct", model, "-o", "a.raw", "--size", "30x20x10"}).status, 0);
  ASSERT_EQ(
      go({"reconstruct", model, "-o", "b.raw", "--size", "30x20x10", "--box", "3:9,4:16,7:10"})
          .status,
      0);
  const std::string all = contents(here_ / "a.raw"), box = contents(here_ / "b.raw");
  ASSERT_EQ(box.size(), 6u * 12 * 3);
  for (int z = 0; z < 3; ++z)
    for (int y = 0; y < 12; ++y)
      EXPECT_EQ(box.substr(static_cast<std::size_t>((z * 12 + y) * 6), 6),
                all.substr(static_cast<std::size_t>(((z + 7) * 20 + y + 4) * 30 + 3), 6));
}

TEST_F(Program, StagesTheVolumeThatItWasGiven) {
  const fs::path name = "nucleon_41x41x41_uint8.raw";
  const std::string voxels = contents(demo_volume());
  fs::create_directories(here_ / "ours");
  fs::create_directories(here_ / "theirs");
  write_text(here_ / "ours" / name, voxels);
  write_text(here_ / "theirs" / name, std::string(voxels.rbegin(), voxels.rend()));
  fs::last_write_time(here_ / "theirs" / name,
                      fs::file_time_type::clock::now() - std::chrono::hours(1000));
  write_text(here_ / "p.json", params_of("nucleon", small_run()));
  for (const char* directory : {"ours", "theirs", "ours"}) {
    const Outcome outcome =
        go({"--params", "p.json", "--data-dir", directory, "--ssd-dir", "fast", "--no-resume"});
    ASSERT_EQ(outcome.status, 0) << outcome.error;
    EXPECT_TRUE(contents(here_ / "fast" / name) == contents(here_ / directory / name));
  }
  const auto copied = fs::last_write_time(here_ / "fast" / name);
  EXPECT_EQ(copied, fs::last_write_time(here_ / "ours" / name));
}

TEST_F(Program, NeverWritesOverWhatItReads) {
  ASSERT_EQ(train(small_run()).status, 0);
  const std::string model = only_file("results/models_saved", ".safetensors").string();
  const std::string before = contents(model), parameters = contents(here_ / "p.json");
  const std::string volume = (here_ / "nucleon_41x41x41_uint8.raw").string();
  fs::copy_file(demo_volume(), volume);
  const auto refused = [&](const std::vector<std::string>& words, const char* why) {
    const Outcome outcome = go(words);
    EXPECT_EQ(outcome.status, 2) << words.front();
    EXPECT_NE(outcome.error.find(why), std::string::npos) << outcome.error;
  };
  refused({"reconstruct", model, "-o", model}, "would overwrite");
  refused({"reconstruct", model, "-o", "x.png"}, ".vti");
  refused({"evaluate", model, volume, "--slices", model}, "would overwrite");
  refused({"evaluate", model, volume, "--slices", volume}, "would overwrite");
  refused({"perf", "--params", "p.json", "--data-dir", ".", "--json", "p.json"}, "would overwrite");
  EXPECT_TRUE(contents(model) == before);
  EXPECT_EQ(contents(here_ / "p.json"), parameters);
  EXPECT_TRUE(contents(volume) == contents(demo_volume()));
}

TEST_F(Program, DescribesFilesAndItself) {
  ASSERT_EQ(train(small_run()).status, 0);
  const std::string model = only_file("results/models_saved", ".safetensors").string();
  const Json about = Json::parse(go({"info", model, "--json"}).out);
  EXPECT_EQ(about.at("kind"), "model");
  EXPECT_EQ(about.at("shape"), Json({41, 41, 41}));
  EXPECT_EQ(about.at("tensors").at(0).at("name"), "encoder.levels.0");
  const Json volume = Json::parse(go({"info", demo_volume().string(), "--json"}).out);
  EXPECT_EQ(volume.at("dtype"), "uint8");
  const Json all = Json::parse(go({"info", "--devices", "--bases", "--encoders", "--json"}).out);
  EXPECT_EQ(all.at("devices").back().at("name"), "cpu");
  EXPECT_GE(all.at("bases").size(), 3u);
  EXPECT_GE(all.at("encoders").size(), 2u);
  EXPECT_NE(go({"info", model}).out.find("compression_ratio"), std::string::npos);
}

TEST_F(Program, WritesAnalyticVolumes) {
  const Outcome made = go({"synth", "gyroid", "-o", "v", "--size", "12x8x5", "--dtype", "uint16"});
  ASSERT_EQ(made.status, 0) << made.error;
  EXPECT_EQ(fs::file_size(here_ / "v/gyroid_12x8x5_uint16.raw"), 12u * 8 * 5 * 2);
}

TEST_F(Program, CompletesInBash) {
  const Outcome script = go({"completion", "bash"});
  ASSERT_EQ(script.status, 0) << script.error;
  write_text(here_ / "completion", script.out);
  const auto completed = [&](const std::string& words, int at) {
    const std::string command = "bash -c 'cd " + here_.path().string() +
                                " && source ./completion && COMP_WORDS=(" + words +
                                ") COMP_CWORD=" + std::to_string(at) +
                                " && _kanbench && echo \"${COMPREPLY[*]}\" > completed'";
    EXPECT_EQ(std::system(command.c_str()), 0);
    return contents(here_ / "completed");
  };
  EXPECT_EQ(completed("kanbench eval", 1), "evaluate\n");
  EXPECT_EQ(completed("kanbench bench --para", 2), "--params\n");
  EXPECT_EQ(completed("kanbench --params x --device-", 3), "--device-memory-limit\n");
  EXPECT_EQ(completed("kanbench --device c", 2), "cpu cuda\n");
  EXPECT_EQ(completed("kanbench synth turb", 2), "turbulence\n");
  const Outcome zsh = go({"completion", "zsh"});
  EXPECT_EQ(zsh.out.rfind("autoload", 0), 0u);
}

TEST_F(Program, TimesWithoutOptionsThatTimingHasNoUseFor) {
  for (const char* option : {"--epochs", "--repeats"}) {
    const Outcome outcome = go({"perf", "--params", "p.json", option, "3"});
    EXPECT_EQ(outcome.status, 2);
    EXPECT_NE(outcome.error.find(option), std::string::npos) << outcome.error;
    EXPECT_NE(outcome.error.find("unknown option"), std::string::npos) << outcome.error;
  }
}

TEST_F(Program, HelpsWithEveryCommand) {
  for (const char* command :
       {"bench", "reconstruct", "evaluate", "info", "convert", "synth", "perf", "completion"}) {
    const Outcome help = go({command, "--help"});
    EXPECT_EQ(help.status, 0) << command;
    EXPECT_NE(help.out.find("Example"), std::string::npos) << command;
  }
  EXPECT_NE(go({"--help"}).out.find("reconstruct"), std::string::npos);
  EXPECT_EQ(go({"--version"}).out.rfind("kanbench ", 0), 0u);
}

}  // namespace
}  // namespace kanbench::test
