// Models stored in fewer bits: they come back as near as was asked for, in as few bytes as that
// takes.

#include "kanbench/storage.h"

#include <cmath>

#include "coded_block.h"
#include "kanbench/decomposition.h"
#include "kanbench/error.h"
#include "kanbench/io.h"
#include "kanbench/recipe.h"
#include "kanbench/reconstruct.h"
#include "kanbench/safetensors.h"
#include "kanbench/stored_model.h"
#include "kanbench/trainer.h"
#include "kanbench/zfp.h"
#include "kanbench/zstd.h"
#include "program.h"
#include "run_support.h"

namespace kanbench {
namespace {

using test::message_of;

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST(Storage, HasOneTextForEach) {
  for (const char* word : {"fp32", "fp16", "int8", "zfp:0.001", "auto:0.1dB"})
    EXPECT_EQ(text(parse_storage(word, "--store")), word);
  EXPECT_EQ(text(parse_storage("auto:0.10", "--store")), "auto:0.1dB");
  EXPECT_EQ(text(parse_storage("auto:1e-1db", "--store")), "auto:0.1dB");
}

TEST(Storage, SaysWhatIsRight) {
  for (const char* word :
       {"", "int4", "fp", "zfp", "zfp:", "zfp:0", "zfp:-1", "zfp:inf", "zfp:1x", "auto",
        "auto:", "auto:0dB", "auto:0.1 dB", "auto:100dB", "auto:nan", "INT8", "int8:3"}) {
    const std::string message = message_of<Error>([&] { parse_storage(word, "--store"); });
    EXPECT_TRUE(contains(message, "--store '" + std::string(word) + "': ")) << message;
    EXPECT_TRUE(contains(message, "write e.g.") || contains(message, "use fp32")) << message;
  }
  EXPECT_TRUE(
      contains(message_of<Error>([] { parse_storage("int9", "store"); }), "did you mean 'int8'?"));
}

TEST(Storage, IsAKeyOfParameterFiles) {
  const auto runs =
      test::runs_with(R"({"store": {"values": ["fp32", "int8", "auto:0.10dB", "zfp:0.01"]}})");
  ASSERT_EQ(runs.size(), 4u);
  EXPECT_EQ(runs[0].store, "fp32");
  EXPECT_EQ(runs[1].store, "int8");
  EXPECT_EQ(runs[2].store, "auto:0.1dB");
  EXPECT_EQ(runs[3].store, "fp32");
  EXPECT_EQ(runs[3].zfp_enc, 0.01);
  EXPECT_EQ(runs[3].zfp_mlp, 0.01);
  EXPECT_FALSE(contains(to_json(runs[0]), "store"));
  EXPECT_TRUE(contains(to_json(runs[2]), R"("store":"auto:0.1dB")"));
  EXPECT_EQ(run_id(runs[0], "v"), run_id(test::runs_with("{}")[0], "v"));
  EXPECT_NE(run_id(runs[0], "v"), run_id(runs[1], "v"));
  EXPECT_NE(run_id(runs[1], "v"), run_id(runs[2], "v"));
  for (const char* changes :
       {R"({"store": "int9"})", R"({"store": 8})", R"({"store": ["int8"]})",
        R"({"store": "int8", "zfp_enc": 0.1})", R"({"store": "zfp:1", "zfp_mlp": 0.1})"}) {
    const std::string message = message_of<Error>([&] { test::runs_with(changes); });
    EXPECT_TRUE(contains(message, "store")) << message;
  }
}

TEST(Storage, OfTheCommandLineStandsAboveTheFile) {
  RunOverrides overrides;
  overrides.store = "auto:0.2";
  const auto file = test::runs_with(R"({"zfp_enc": 0.1, "zfp_mlp": 0.2})");
  const auto run = select_runs(file, {}, overrides)[0];
  EXPECT_EQ(run.store, "auto:0.2dB");
  EXPECT_EQ(run.zfp_enc, 0);
  EXPECT_EQ(run.zfp_mlp, 0);
  overrides.match.bytes = 100000;
  EXPECT_TRUE(
      contains(message_of<Error>([&] { select_runs(file, {}, overrides); }), "use --store fp32"));
}

/// A small model of the demo volume, trained for a moment.
class Trained : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    auto run = test::runs_with(R"({"n_levels": 4, "n_features_per_level": 2, "n_neurons": 16,
                                  "n_hidden_layers": 2, "log2_hashmap_size": 10,
                                  "base_resolution": 8, "per_level_scale": 1.5})")[0];
    run.epochs = 4;
    volume_ = new Volume(open_volume(test::demo_volume()));
    backend_ = open_cpu().release();
    alone_ = open_single().release();
    alone_->attach(*backend_);
    file_ = new ModelFile{make_spec(run),   {}, "nucleon", volume_->shape, volume_->dtype,
                          volume_->ranges()};
    Model model(*backend_, file_->spec);
    model.upload(draw_parameters(file_->spec, make_initialisation(run), 1));
    const Training training = make_training(run, 512, 1);
    prepare_training(model, training, *alone_);
    const Box all = whole(volume_->shape);
    train(model, backend_->place(*volume_, all), all, training, *alone_);
    file_->parameters = model.download();
  }

  static double psnr(const std::vector<float>& parameters) {
    Model model(*backend_, file_->spec);
    model.upload(parameters);
    return evaluate(ModelField(model), volume_->ranges(), *volume_, *alone_).metrics.psnr;
  }
  static StoredBytes stored(const std::string& store) {
    Model model(*backend_, file_->spec);
    model.upload(file_->parameters);
    auto run = test::runs_with("{}")[0];
    run.store = store;
    return encode_on(run, model, *volume_, whole(volume_->shape), *alone_);
  }

  static Volume* volume_;
  static Backend* backend_;
  static Communicator* alone_;
  static ModelFile* file_;
};
Volume* Trained::volume_ = nullptr;
Backend* Trained::backend_ = nullptr;
Communicator* Trained::alone_ = nullptr;
ModelFile* Trained::file_ = nullptr;

TEST_F(Trained, IsAsSmallAsItsFormSays) {
  if (!has_zstd()) GTEST_SKIP() << "this build has no Zstandard";
  const std::string plain = stored("fp32").bytes;
  EXPECT_EQ(plain, encode_model(*file_));
  const auto size = static_cast<double>(plain.size());
  const double exact = psnr(file_->parameters);
  for (const auto& [store, times, loss] :
       {std::tuple{"fp16", 1.9, 0.01}, std::tuple{"int8", 3.6, 0.5}}) {
    const StoredBytes small = stored(store);
    EXPECT_GT(size / static_cast<double>(small.bytes.size()), times) << store;
    EXPECT_NEAR(psnr(decode_model(small.bytes, "m").parameters), exact, loss) << store;
    EXPECT_TRUE(contains(small.note, "encoder ")) << small.note;
    EXPECT_EQ(small.bytes, stored(store).bytes);
  }
}

TEST_F(Trained, AutoKeepsTheLossAndGetsSmallerWithIt) {
  if (!has_zstd()) GTEST_SKIP() << "this build has no Zstandard";
  const double exact = psnr(file_->parameters);
  std::size_t before = encode_model(*file_).size() / 3;
  for (const double loss : {0.01, 0.1, 1.0}) {
    const StoredBytes small = stored("auto:" + std::to_string(loss) + "dB");
    const double lost = exact - psnr(decode_model(small.bytes, "m").parameters);
    EXPECT_LE(lost, loss + 1e-9);
    EXPECT_GT(lost, 0.2 * loss) << "more could be lost";
    EXPECT_LT(small.bytes.size(), before);
    before = small.bytes.size();
    char said[32];
    std::snprintf(said, sizeof said, "loses %.3f dB", lost);
    EXPECT_TRUE(contains(small.note, said)) << small.note;
  }
}

TEST_F(Trained, CanBeStoredAgain) {
  if (!has_zstd()) GTEST_SKIP() << "this build has no Zstandard";
  const ModelFile once = decode_model(stored("int8").bytes, "m");
  EXPECT_EQ(once.codings.size(), make_layout(once.spec).slices.size());
  const StoredBytes plain = encode_stored(once, {Storage::Kind::fp32});
  EXPECT_EQ(decode_model(plain.bytes, "m").parameters, once.parameters);
}

TEST_F(Trained, FileIsRefusedWhereItWasChanged) {
  if (!has_zstd()) GTEST_SKIP() << "this build has no Zstandard";
  const std::string bytes = stored("int8").bytes;
  const auto refused = [&](auto change) {
    Safetensors container = parse_safetensors(std::as_bytes(std::span(bytes)), "m");
    change(container);
    const std::string message =
        message_of<Error>([&] { decode_model(serialise(container), "m.safetensors"); });
    EXPECT_EQ(message.rfind("m.safetensors: ", 0), 0u) << message;
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
    return message;
  };
  EXPECT_TRUE(contains(refused([](Safetensors& c) { c.tensors.clear(); }), "'coded'"));
  EXPECT_TRUE(contains(refused([](Safetensors& c) { c.metadata["coded"] = "-3"; }), "'-3'"));
  EXPECT_TRUE(contains(refused([](Safetensors& c) { c.metadata["coded"] = "9999999999999"; }),
                       "are possible"));
  EXPECT_TRUE(contains(refused([](Safetensors& c) { c.metadata["coded"] = "12"; }), "12 bytes"));
  EXPECT_TRUE(contains(refused([](Safetensors& c) { c.metadata.erase("coded"); }), "zfp_enc"));
  refused([](Safetensors& c) { c.tensors[0].data[40] ^= std::byte{255}; });
  refused([](Safetensors& c) { c.tensors[0].shape = {1, c.tensors[0].shape[0]}; });
  EXPECT_TRUE(contains(refused([](Safetensors& c) {
                         c.tensors.push_back({"more", "F32", {1}, std::vector<std::byte>(4)});
                       }),
                       "none of that name"));
}

TEST_F(Trained, ScaleThatIsNotFiniteIsFound) {
  if (!has_zstd()) GTEST_SKIP() << "this build has no Zstandard";
  ModelFile file = *file_;
  const Layout layout = make_layout(file.spec);
  std::vector<CodedTensor> tensors;
  for (const Slice& slice : layout.slices) {
    const std::span<const float> values(file.parameters.data() + slice.offset,
                                        static_cast<std::size_t>(slice.size()));
    tensors.push_back({&slice, encode(values, slice.rows, slice.columns, {Coding::Kind::steps})});
  }
  tensors[1].coded.scales[0] = NAN;
  CodedBlock block = write_coded(tensors);
  const std::string bytes = stored("int8").bytes;
  Safetensors container = parse_safetensors(std::as_bytes(std::span(bytes)), "m");
  container.metadata["coded"] = std::to_string(block.content);
  container.tensors[0].shape = {static_cast<std::int64_t>(block.bytes.size())};
  container.tensors[0].data = std::move(block.bytes);
  EXPECT_TRUE(contains(message_of<Error>([&] { decode_model(serialise(container), "m"); }),
                       "is not finite"));
}

}  // namespace
}  // namespace kanbench
