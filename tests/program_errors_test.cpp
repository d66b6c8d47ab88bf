// Bad input to the program: status 2, one line that names what is wrong and what would be right,
// and nothing written before is touched.

#include <cmath>

#include "program.h"

namespace kanbench::test {
namespace {

struct Case {
  std::string name;
  /// The parameter file's text, empty for none.
  std::string params;
  std::vector<std::string> words;
  /// What the one line must hold.
  std::vector<std::string> says;
};

void PrintTo(const Case& c, std::ostream* out) { *out << c.name; }

// small_run() with one key another.
std::string with(const std::string& key, const Json& value) {
  Json entry = small_run();
  entry[key] = value;
  return params_of("nucleon", entry);
}

std::string with_dataset(const std::string& name) { return params_of(name, small_run()); }

const std::vector<std::string> kBench = {"--params", "p.json", "--data-dir", "data"};

std::vector<std::string> bench(std::vector<std::string> more = {}) {
  more.insert(more.begin(), kBench.begin(), kBench.end());
  return more;
}

std::vector<Case> parameter_cases() {
  return {
      {"MissingParams", "", bench(), {"p.json", "No such file"}},
      {"BadJson", "{\n  \"nucleon\": {\"lrate\": }\n}", bench(), {"p.json", "line 2", "column"}},
      {"UnknownKey", with("n_neuron", 3), bench(), {"p.json", "n_neuron", "'n_neurons'"}},
      {"WrongType", with("n_levels", "four"), bench(), {"p.json", "n_levels", "four"}},
      {"RangeBackwards", with("n_levels", {4, 2}), bench(), {"p.json", "n_levels", "4", "2"}},
      {"NoNeurons", with("n_neurons", 0), bench(), {"p.json", "n_neurons", "0"}},
      {"HugeTable", with("log2_hashmap_size", 40), bench(), {"p.json", "log2_hashmap_size", "40"}},
      {"NoBatchInFile", with("batch_size", -1), bench(), {"p.json", "batch_size", "-1"}},
      {"NetworkInFile", with("network_types", {"mpl"}), bench(), {"p.json", "mpl", "mlp"}},
      {"UnknownDatasetOption",
       with("seed", 1),
       bench({"--dataset", "nucleom"}),
       {"nucleom", "nucleon"}},
      {"UnknownNetworkOption", with("seed", 1), bench({"--network-types", "mpl"}), {"mpl", "mlp"}},
  };
}

std::vector<Case> volume_cases() {
  return {
      {"UnknownDataset",
       with_dataset("nuclear"),
       bench(),
       {"nuclear", "data", "constant", "short"}},
      {"WrongSize", with_dataset("short"), bench(), {"short_4x4x4_uint8.raw", "64", "63"}},
      {"UnknownDtype", with_dataset("typeless"), bench(), {"uint9", "uint8"}},
      {"NanVoxels", with_dataset("nan"), bench(), {"nan_4x4x4_float32.raw", "2", "(1, 1, 0)"}},
      {"ConstantVolume", with_dataset("constant"), bench(), {"constant_4x4x4_uint8.raw", "7"}},
      {"NoDataDirectory",
       with_dataset("constant"),
       {"--params", "p.json", "--data-dir", "nowhere"},
       {"--data-dir", "nowhere"}},
  };
}

std::vector<Case> option_cases() {
  const std::string good = with_dataset("good");
  Json vast = small_run();
  vast["batch_size"] = std::int64_t{1} << 40;
  Json vast_table = small_run();
  vast_table.update({{"n_levels", 32},
                     {"n_features_per_level", 16},
                     {"log2_hashmap_size", 26},
                     {"base_resolution", 65536},
                     {"per_level_scale", 1}});
  Json fine_grid = small_run();
  fine_grid.update({{"n_levels", 18}, {"base_resolution", 16}, {"per_level_scale", 2}});
  const Json too_fine = {small_run(), fine_grid};
  const Json last_too_large = {small_run(), vast_table};
  return {
      {"TableBeyondMemory",
       params_of("good", last_too_large),
       bench(),
       {"run 1", "log2_hashmap_size", "MB free"}},
      {"GridBeyondFloat",
       params_of("good", too_fine),
       bench(),
       {"run 1", "level 17", "resolution", "per_level_scale"}},
      {"BatchBeyondMemory",
       params_of("good", vast),
       bench(),
       {"batch_size", "1099511627776", "MB free"}},
      {"NoBatch", good, bench({"--batch-size", "0"}), {"--batch-size", "'0'", "from 1"}},
      {"NegativeEpochs", good, bench({"--epochs", "-3"}), {"--epochs", "'-3'", "from 1"}},
      {"WordForNumber", good, bench({"--repeats", "two"}), {"--repeats", "'two'"}},
      {"MarginOfNothing", good, bench({"--safety-margin", "0"}), {"--safety-margin", "'0'", "0.8"}},
      {"MarginAboveOne", good, bench({"--safety-margin", "1.1"}), {"--safety-margin", "'1.1'"}},
      {"NoThreads", good, bench({"--threads", "0"}), {"--threads", "'0'"}},
      {"SaveMode", good, bench({"--save-mode", "big"}), {"--save-mode", "big", "largest"}},
      {"SaveModeOfNoRun", good, bench({"--save-mode", "12"}), {"--save-mode 12", "8"}},
      {"Precision", good, bench({"--precision", "fp8", "--device", "cpu"}), {"fp8", "fp32"}},
      {"PrecisionOfAnotherDevice",
       good,
       bench({"--precision", "bf16", "--device", "cpu"}),
       {"precision bf16", "cpu", "fp32", "--device"}},
      {"TextureOnTheCpu", good, bench({"--texture", "--device", "cpu"}), {"--texture", "CPU"}},
      {"LimitWithoutNumber",
       good,
       bench({"--device-memory-limit", "2 GB"}),
       {"--device-memory-limit", "'2 GB'", "512M"}},
      {"LimitOfNothing",
       good,
       bench({"--device-memory-limit", "0"}),
       {"--device-memory-limit", "'0'"}},
      {"LimitBeyondNumbers",
       good,
       bench({"--device-memory-limit", "99999999999T"}),
       {"--device-memory-limit", "99999999999T"}},
      {"LimitUnderTheModel",
       good,
       bench({"--device-memory-limit", "10K", "--device", "cpu"}),
       {"run 0", "MB free"}},
      {"Device", good, bench({"--device", "gpu"}), {"--device", "gpu", "cuda"}},
      {"Communicator", good, bench({"--communicator", "mpj"}), {"--communicator", "mpj", "mpi"}},
      {"RunIndex", good, bench({"--run-index", "9"}), {"--run-index", "9", "0"}},
      {"OutputName", good, bench({"--output", "rows.txt"}), {"--output", "rows.txt", ".csv"}},
      {"OutputDirectory", good, bench({"-o", "p.json/x"}), {"--output-dir", "p.json/x"}},
      {"UnknownOption", good, bench({"--epoch", "3"}), {"--epoch", "'--epochs'"}},
      {"OptionWithoutValue", good, bench({"--epochs"}), {"--epochs", "value"}},
      {"UnknownCommand", "", {"evalute", "x"}, {"evalute", "'evaluate'"}},
      {"NoParams", "", {"bench"}, {"--params"}},
      {"SizeOfTwo", "", {"synth", "gyroid", "--size", "4x4"}, {"--size", "4x4", "64x64x64"}},
      {"HugeSize",
       "",
       {"synth", "gyroid", "--size", "9999999999x9999999999x9999999999"},
       {"--size"}},
      {"UnknownField", "", {"synth", "gyroids", "--size", "4x4x4"}, {"gyroids", "'gyroid'"}},
      {"InfoOfNothing", "", {"info"}, {"--devices"}},
      {"InfoOfNoFile", "", {"info", "gone.raw"}, {"gone.raw"}},
      {"Shell", "", {"completion", "fish"}, {"fish", "bash"}},
  };
}

// A safetensors file of this header and `data` zero bytes.
std::string container(const std::string& header, std::size_t data) {
  std::string bytes(8, '\0');
  for (std::size_t i = 0; i < 8; ++i) bytes[i] = static_cast<char>(header.size() >> (8 * i) & 255);
  return bytes + header + std::string(data, '\0');
}

class Refuses : public testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    fs::create_directory(here_ / "data");
    const std::string ramp = "0123456789abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqr";
    write_text(here_ / "data/good_4x4x4_uint8.raw", ramp);
    write_text(here_ / "data/short_4x4x4_uint8.raw", ramp.substr(1));
    write_text(here_ / "data/typeless_4x4x4_uint9.raw", ramp);
    write_text(here_ / "data/constant_4x4x4_uint8.raw", std::string(64, '\7'));
    float voxels[64];
    for (int i = 0; i < 64; ++i) voxels[i] = static_cast<float>(i);
    voxels[5] = voxels[9] = NAN;
    write_text(here_ / "data/nan_4x4x4_float32.raw",
               std::string(reinterpret_cast<const char*>(voxels), sizeof voxels));
  }
  void expect_refusal(const Outcome& outcome, const std::vector<std::string>& says) {
    EXPECT_EQ(outcome.status, 2) << outcome.error;
    EXPECT_EQ(outcome.out, "");
    EXPECT_EQ(lines(outcome.error).size(), 1u) << outcome.error;
    EXPECT_EQ(outcome.error.rfind("kanbench: ", 0), 0u) << outcome.error;
    for (const std::string& word : says)
      EXPECT_NE(outcome.error.find(word), std::string::npos)
          << "no '" << word << "' in: " << outcome.error;
  }
  TemporaryDirectory here_;
};

TEST_P(Refuses, InOneLine) {
  const Case& c = GetParam();
  if (!c.params.empty()) write_text(here_ / "p.json", c.params);
  expect_refusal(run(here_.path(), c.words), c.says);
  EXPECT_FALSE(fs::exists(here_ / "results/results.csv"));
}

const auto name_of = [](const testing::TestParamInfo<Case>& info) { return info.param.name; };
INSTANTIATE_TEST_SUITE_P(ProgramParameters, Refuses, testing::ValuesIn(parameter_cases()), name_of);
INSTANTIATE_TEST_SUITE_P(ProgramVolumes, Refuses, testing::ValuesIn(volume_cases()), name_of);
INSTANTIATE_TEST_SUITE_P(ProgramOptions, Refuses, testing::ValuesIn(option_cases()), name_of);

class ProgramRefusesModels : public Refuses {
 protected:
  void SetUp() override {
    Refuses::SetUp();
    write_text(here_ / "p.json", with_dataset("good"));
    ASSERT_EQ(run(here_.path(), bench()).status, 0);
    for (const auto& entry : fs::directory_iterator(here_ / "results/models_saved"))
      model_ = entry.path();
    bytes_ = contents(model_);
  }
  // What `info` says of a model file of these bytes.
  void refuse(const std::string& bytes, const std::vector<std::string>& says) {
    write_text(here_ / "bad.safetensors", bytes);
    for (const char* command : {"info", "reconstruct", "evaluate"}) {
      std::vector<std::string> words = {command, "bad.safetensors"};
      if (words[0] == "reconstruct") words.insert(words.end(), {"-o", "r.raw"});
      if (words[0] == "evaluate") words.push_back("data/good_4x4x4_uint8.raw");
      expect_refusal(run(here_.path(), words), says);
    }
    EXPECT_FALSE(fs::exists(here_ / "r.raw"));
  }
  fs::path model_;
  std::string bytes_;
};

TEST_F(ProgramRefusesModels, Truncated) {
  refuse(bytes_.substr(0, bytes_.size() - 5), {"bad.safetensors"});
  refuse(bytes_.substr(0, 40), {"bad.safetensors"});
  refuse(bytes_.substr(0, 3), {"bad.safetensors"});
  refuse("", {"bad.safetensors"});
}

TEST_F(ProgramRefusesModels, OverlappingOrOverflowingOffsets) {
  const auto tensors = [](const std::string& second) {
    return R"({"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]},)"
           R"("b":{"dtype":"F32","shape":[4],"data_offsets":)" +
           second + "}}";
  };
  refuse(container(tensors("[8,24]"), 24), {"bad.safetensors", "b"});
  refuse(container(tensors("[16,18446744073709551632]"), 32), {"bad.safetensors"});
  refuse(container(tensors("[16,9223372036854775807]"), 32), {"bad.safetensors", "b"});
  refuse(container(tensors("[-16,0]"), 16), {"bad.safetensors"});
}

TEST_F(ProgramRefusesModels, UnknownArchitecture) {
  std::string changed = bytes_;
  const std::size_t at = changed.find("hash_grid");
  ASSERT_NE(at, std::string::npos);
  changed.replace(at, 9, "hash_grit");
  refuse(changed, {"bad.safetensors", "hash_grit", "hash_grid"});
}

TEST_F(ProgramRefusesModels, NoModelOfOurs) {
  refuse(container(R"({"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}})", 16),
         {"bad.safetensors"});
}

TEST_F(ProgramRefusesModels, AnotherShape) {
  const Outcome outcome = run(here_.path(), {"evaluate", model_.string(), demo_volume().string()});
  expect_refusal(outcome, {"41x41x41", "4x4x4"});
}

TEST_F(ProgramRefusesModels, BoxesAndTypesThatDoNotFit) {
  const auto reconstruct = [&](const std::string& option, const std::string& value) {
    return run(here_.path(), {"reconstruct", model_.string(), "-o", "r.raw", option, value});
  };
  expect_refusal(reconstruct("--box", "0:5,:,:"), {"--box", "0:5", "4x4x4"});
  expect_refusal(reconstruct("--box", "2:2,:,:"), {"--box", "2:2"});
  expect_refusal(reconstruct("--box", "1,2,3"), {"--box", "'1'", "0:4"});
  expect_refusal(reconstruct("--box", "0:4"), {"--box", "x0:x1,y0:y1,z0:z1"});
  expect_refusal(reconstruct("--dtype", "int9"), {"--dtype", "int9", "int8"});
  expect_refusal(reconstruct("--size", "0x4x4"), {"--size", "0x4x4"});
}

TEST_F(ProgramRefusesModels, NothingWrittenBeforeIsDamaged) {
  const std::string rows = contents(here_ / "results/results.csv");
  for (const Case& c : volume_cases()) {
    write_text(here_ / "p.json", c.params);
    EXPECT_EQ(run(here_.path(), c.words).status, 2) << c.name;
  }
  EXPECT_EQ(contents(here_ / "results/results.csv"), rows);
  EXPECT_TRUE(contents(model_) == bytes_);
  write_text(here_ / "other.csv", "a,b,c\n1,2,3\n");
  expect_refusal(run(here_.path(), bench({"--output", "other.csv"})), {});
  EXPECT_EQ(contents(here_ / "other.csv"), "a,b,c\n1,2,3\n");
}

}  // namespace
}  // namespace kanbench::test
