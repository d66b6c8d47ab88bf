// Models on disk: they come back as they were, and nothing else is taken for one.

#include "kanbench/model_file.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <random>
#include <span>

#include "kanbench/error.h"
#include "kanbench/safetensors.h"
#include "kanbench/zfp.h"
#include "support.h"

namespace kanbench {
namespace {

using test::message_of;
using Json = nlohmann::ordered_json;

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

ModelSpec mlp_spec() {
  ModelSpec spec;
  spec.encoder = encoder::HashGrid{3, 4, 9, 5, 1.7};
  spec.layers = {{12, 16, basis::Identity{}}, {16, 16, basis::Relu{}}, {16, 1, basis::Relu{}}};
  return spec;
}

ModelSpec fastkan_spec() {
  ModelSpec spec;
  spec.network_type = "fastkan";
  spec.encoder = encoder::HashGrid{2, 2, 8, 4, 2};
  spec.layers = {{4, 5, basis::Rbf{8, 1}, true, true, false},
                 {5, 1, basis::Rbf{6, 0.1f}, true, true, true}};
  spec.output = OutputActivation::sigmoid;
  return spec;
}

ModelSpec bare_spec() {
  ModelSpec spec;
  spec.encoder = encoder::Identity{};
  spec.layers = {{3, 1, basis::Identity{}}};
  spec.output = OutputActivation::relu;
  return spec;
}

// A model whose parameters vary smoothly, as trained ones do, and whose doubles are awkward.
ModelFile model_of(const ModelSpec& spec) {
  ModelFile file;
  file.spec = spec;
  const Layout layout = make_layout(spec);
  file.parameters.assign(static_cast<std::size_t>(layout.size), 0.0f);
  for (const Slice& slice : layout.slices)
    for (std::int64_t i = 0; i < slice.size(); ++i)
      file.parameters[static_cast<std::size_t>(slice.offset + i)] =
          0.5f * std::sin(0.01f * static_cast<float>(i + slice.offset));
  file.dataset = "viscous_fingers_r1";
  file.shape = {103, 94, 161};
  file.dtype = Dtype::uint16;
  file.ranges = {{-1.0 / 3, 0.1 + 0.2}};
  file.spacing = {1, 1e-300, std::nextafter(2.0, 3.0)};
  return file;
}

void expect_same_but_parameters(const ModelFile& a, const ModelFile& b) {
  EXPECT_EQ(to_json(a.spec), to_json(b.spec));
  EXPECT_EQ(a.dataset, b.dataset);
  EXPECT_EQ(a.shape, b.shape);
  EXPECT_EQ(a.dtype, b.dtype);
  EXPECT_EQ(a.ranges, b.ranges);
  EXPECT_EQ(a.spacing, b.spacing);
  EXPECT_EQ(a.zfp_enc, b.zfp_enc);
  EXPECT_EQ(a.zfp_mlp, b.zfp_mlp);
}

Safetensors container_of(const std::string& bytes) {
  return parse_safetensors(std::as_bytes(std::span(bytes)), "m");
}

// The message for a model file after `change` to its container.
template <class Change>
std::string refusal(const ModelFile& file, Change change) {
  Safetensors container = container_of(encode_model(file));
  change(container);
  const std::string bytes = serialise(container);
  const std::string message = message_of<Error>([&] { decode_model(bytes, "m.safetensors"); });
  EXPECT_EQ(message.rfind("m.safetensors: ", 0), 0u) << message;
  EXPECT_EQ(message.find('\n'), std::string::npos) << message;
  return message;
}

// The message for an mlp whose architecture has `value` at `pointer`.
std::string refused_spec(const std::string& pointer, const Json& value) {
  Json json = Json::parse(to_json(fastkan_spec()));
  json[Json::json_pointer(pointer)] = value;
  return message_of<Error>([&] { parse_model_spec(json.dump(), "m"); });
}

TEST(ModelSpec, RoundTrips) {
  for (const ModelSpec& spec : {mlp_spec(), fastkan_spec(), bare_spec()}) {
    const std::string json = to_json(spec);
    const ModelSpec back = parse_model_spec(json, "m");
    EXPECT_EQ(to_json(back), json);
    EXPECT_EQ(back.network_type, spec.network_type);
    EXPECT_EQ(back.output, spec.output);
    ASSERT_EQ(back.layers.size(), spec.layers.size());
    EXPECT_EQ(make_layout(back).size, make_layout(spec).size);
  }
  const ModelSpec back = parse_model_spec(to_json(fastkan_spec()), "m");
  EXPECT_EQ(std::get<basis::Rbf>(back.layers[1].basis).grid_radius, 0.1f);
  EXPECT_EQ(std::get<basis::Rbf>(back.layers[1].basis).num_grids, 6);
  EXPECT_TRUE(back.layers[1].norm);
  EXPECT_FALSE(back.layers[0].norm);
  EXPECT_EQ(std::get<encoder::HashGrid>(parse_model_spec(to_json(mlp_spec()), "m").encoder)
                .per_level_scale,
            1.7);
}

TEST(ModelSpec, RefusesUnknownNames) {
  EXPECT_TRUE(contains(refused_spec("/network_type", "fastkam"), "unknown architecture 'fastkam'"));
  EXPECT_TRUE(contains(refused_spec("/network_type", "fkan"), "did you mean 'fastkan'?"));
  EXPECT_TRUE(contains(refused_spec("/encoder/name", "hashgrid"), "did you mean 'hash_grid'?"));
  EXPECT_TRUE(contains(refused_spec("/layers/1/basis/name", "rbff"), "did you mean 'rbf'?"));
  EXPECT_TRUE(contains(refused_spec("/output_activation", "ReLu"), "did you mean 'ReLU'?"));
  EXPECT_TRUE(contains(refused_spec("/depth", 3), "unknown key 'depth'"));
  EXPECT_TRUE(contains(refused_spec("/layers/0/basis/num_gridz", 3), "num_grids"));
}

TEST(ModelSpec, RefusesNumbersOutOfRange) {
  const std::pair<const char*, Json> wrong[] = {{"/encoder/n_levels", 0},
                                                {"/encoder/n_levels", 33},
                                                {"/encoder/n_levels", -1},
                                                {"/encoder/n_levels", 1e300},
                                                {"/encoder/n_levels", 2.0},
                                                {"/encoder/n_levels", "2"},
                                                {"/encoder/n_levels", 4294967298},
                                                {"/encoder/n_features_per_level", 17},
                                                {"/encoder/log2_hashmap_size", 27},
                                                {"/encoder/log2_hashmap_size", 0},
                                                {"/encoder/base_resolution", 0},
                                                {"/encoder/base_resolution", 1 << 30},
                                                {"/encoder/per_level_scale", 0},
                                                {"/encoder/per_level_scale", -2.5},
                                                {"/encoder/per_level_scale", nullptr},
                                                {"/layers/0/basis/num_grids", 1},
                                                {"/layers/0/basis/num_grids", 65},
                                                {"/layers/0/basis/grid_radius", 0},
                                                {"/layers/0/in", 5},
                                                {"/layers/0/out", 4097},
                                                {"/layers/0/out", 6},
                                                {"/layers/1/out", 65},
                                                {"/layers/0/norm", 1},
                                                {"/layers/0/basis", "rbf"},
                                                {"/layers", Json::array()},
                                                {"/layers", 3},
                                                {"/encoder", Json::array()}};
  for (const auto& [pointer, value] : wrong)
    EXPECT_TRUE(contains(refused_spec(pointer, value), "m: model")) << pointer << value;
  Json json = Json::parse(to_json(bare_spec()));
  Json hidden = json["layers"][0];
  hidden["out"] = 3;
  for (int i = 0; i < 64; ++i) json["layers"].insert(json["layers"].begin(), hidden);
  EXPECT_TRUE(contains(message_of<Error>([&] { parse_model_spec(json.dump(), "m"); }), "65"));
}

TEST(ModelSpec, RefusesWhatIsNoSpec) {
  for (const std::string& text :
       {std::string(), std::string("{}"), std::string("[]"), std::string("3"),
        std::string("{\"a\""), std::string(1'000'000, '['),
        "{\"encoder\":" + std::string(1'000'000, '['), std::string("1e999"),
        std::string("\"\xff\"")})
    EXPECT_TRUE(contains(message_of<Error>([&] { parse_model_spec(text, "m"); }), "m: model"));
  std::string twice = to_json(bare_spec());
  twice.insert(1, R"("output_activation":"ReLU",)");
  EXPECT_TRUE(contains(message_of<Error>([&] { parse_model_spec(twice, "m"); }), "twice"));
}

TEST(ModelFile, RoundTripsToTheBit) {
  for (const ModelSpec& spec : {mlp_spec(), fastkan_spec(), bare_spec()}) {
    const ModelFile file = model_of(spec);
    const ModelFile back = decode_model(encode_model(file), "m");
    expect_same_but_parameters(back, file);
    EXPECT_EQ(back.parameters, file.parameters);
  }
  const test::TemporaryDirectory directory;
  const ModelFile file = model_of(mlp_spec());
  test::write_text(directory / "m.safetensors", encode_model(file));
  EXPECT_EQ(read_model(directory / "m.safetensors").parameters, file.parameters);
}

TEST(ModelFile, NamesItsTensorsAsDocumented) {
  const Safetensors mlp = container_of(encode_model(model_of(mlp_spec())));
  EXPECT_EQ(mlp.tensors.size(), 6u);
  ASSERT_NE(mlp.find("encoder.levels.0"), nullptr);
  EXPECT_EQ(mlp.find("encoder.levels.0")->shape, (std::vector<std::int64_t>{128, 4}));
  EXPECT_EQ(mlp.find("decoder.layers.0.weight")->shape, (std::vector<std::int64_t>{16, 12}));
  const Safetensors kan = container_of(encode_model(model_of(fastkan_spec())));
  EXPECT_EQ(kan.find("decoder.layers.0.spline_weight")->shape, (std::vector<std::int64_t>{5, 32}));
  EXPECT_EQ(kan.find("decoder.layers.0.base_weight")->shape, (std::vector<std::int64_t>{5, 4}));
  EXPECT_EQ(kan.find("decoder.layers.0.base_bias")->shape, (std::vector<std::int64_t>{5}));
  EXPECT_EQ(kan.find("decoder.layers.0.layernorm.weight"), nullptr);
  EXPECT_EQ(kan.find("decoder.layers.1.layernorm.bias")->shape, (std::vector<std::int64_t>{5}));
  EXPECT_EQ(kan.metadata.at("format"), "kanbench");
}

TEST(ModelFile, ZfpHoldsItsToleranceInFewerBytes) {
  if (!has_zfp()) GTEST_SKIP() << "this build has no ZFP";
  for (const ModelSpec& spec : {mlp_spec(), fastkan_spec()})
    for (const double tolerance : {1e-1, 1e-3, 1e-5}) {
      ModelFile file = model_of(spec);
      const std::size_t plain = encode_model(file).size();
      file.zfp_enc = tolerance;
      const std::string bytes = encode_model(file);
      EXPECT_LT(bytes.size(), plain);
      const ModelFile back = decode_model(bytes, "m");
      expect_same_but_parameters(back, file);
      double worst = 0;
      const auto decoder = static_cast<std::size_t>(make_layout(spec).decoder_begin);
      for (std::size_t i = 0; i < decoder; ++i)
        worst = std::max(worst, std::abs(double{back.parameters[i]} - double{file.parameters[i]}));
      EXPECT_LE(worst, tolerance);
      EXPECT_GT(worst, 0);
      for (std::size_t i = decoder; i < file.parameters.size(); ++i)
        ASSERT_EQ(back.parameters[i], file.parameters[i]);
      const Safetensors container = container_of(bytes);
      EXPECT_EQ(container.find("encoder.levels.0")->dtype, "U8");
      EXPECT_EQ(container.find("encoder.levels.0")->data.size() % 8, 0u);
    }
}

TEST(ModelFile, ATooFineToleranceStoresTheFloats) {
  if (!has_zfp()) GTEST_SKIP() << "this build has no ZFP";
  ModelFile file = model_of(mlp_spec());
  for (float& value : file.parameters) value = value * 1000 + (value == 0 ? 0.0f : 1e-4f);
  file.zfp_enc = file.zfp_mlp = 1e-30;
  EXPECT_EQ(decode_model(encode_model(file), "m").parameters, file.parameters);
}

TEST(ModelFile, RefusesTensorsOfAnotherArchitecture) {
  const ModelFile file = model_of(mlp_spec());
  EXPECT_TRUE(contains(refusal(file, [](Safetensors& c) { c.tensors.pop_back(); }),
                       "'decoder.layers.2.weight': missing"));
  EXPECT_TRUE(contains(refusal(file,
                               [](Safetensors& c) {
                                 c.tensors.push_back({"decoder.layers.2.weights", "F32", {0}, {}});
                               }),
                       "did you mean 'decoder.layers.2.weight'?"));
  EXPECT_TRUE(contains(refusal(file,
                               [](Safetensors& c) {
                                 c.tensors[0].shape = {4, 128};
                               }),
                       "expected F32 [128, 4], found F32 '[4, 128]'"));
  EXPECT_TRUE(
      contains(refusal(file, [](Safetensors& c) { c.tensors[0].dtype = "I32"; }), "found I32"));
  EXPECT_TRUE(contains(refusal(file,
                               [](Safetensors& c) {
                                 c.tensors[0].dtype = "U8";
                                 c.tensors[0].shape = {2048};
                               }),
                       "found U8"));
  EXPECT_TRUE(contains(refusal(file,
                               [](Safetensors& c) {
                                 const float nan = std::numeric_limits<float>::quiet_NaN();
                                 std::memcpy(c.tensors[1].data.data() + 8, &nan, 4);
                               }),
                       "'encoder.levels.1': number 2 is not finite"));
}

TEST(ModelFile, RefusesALargeArchitectureBeforeMakingRoomForIt) {
  ModelFile file = model_of(mlp_spec());
  ModelSpec large = mlp_spec();
  large.encoder = encoder::HashGrid{32, 16, 26, 65536, 1};
  large.layers[0].in = 512;
  const auto claim = [&](Safetensors& c) { c.metadata["model"] = to_json(large); };
  EXPECT_TRUE(contains(refusal(file, claim), "missing"));
  if (!has_zfp()) return;
  file.zfp_enc = 1e-2;
  EXPECT_TRUE(contains(refusal(file,
                               [&](Safetensors& c) {
                                 claim(c);
                                 for (int l = 0; l < 32; ++l) {
                                   const std::string name = "encoder.levels." + std::to_string(l);
                                   c.metadata["zfp." + name] = "[67108864, 16]";
                                   if (!c.find(name))
                                     c.tensors.push_back({name, "U8", {1}, {std::byte{0}}});
                                 }
                               }),
                       "too short"));
}

TEST(ModelFile, RefusesDamagedZfpStreams) {
  if (!has_zfp()) GTEST_SKIP() << "this build has no ZFP";
  ModelFile file = model_of(mlp_spec());
  file.zfp_enc = file.zfp_mlp = 1e-4;
  const auto resize = [&](std::size_t bytes) {
    return refusal(file, [&](Safetensors& c) {
      ASSERT_EQ(c.tensors[0].dtype, "U8");
      c.tensors[0].data.resize(bytes);
      c.tensors[0].shape = {static_cast<std::int64_t>(bytes)};
    });
  };
  EXPECT_TRUE(contains(resize(16), "damaged"));
  EXPECT_TRUE(contains(resize(0), "too short"));
  EXPECT_TRUE(contains(resize(1'000'000), "too long"));
  EXPECT_TRUE(contains(refusal(file, [](Safetensors& c) { c.metadata["zfp_enc"] = "0"; }), "U8"));
  EXPECT_TRUE(
      contains(refusal(file, [](Safetensors& c) { c.metadata.erase("zfp.encoder.levels.0"); }),
               "no 'zfp.encoder.levels.0'"));
}

TEST(ModelFile, RefusesWrongMetadata) {
  const ModelFile file = model_of(bare_spec());
  for (const char* key : {"format", "version", "model", "dataset", "shape", "dtype", "low", "high",
                          "spacing", "zfp_enc", "zfp_mlp"})
    EXPECT_TRUE(contains(refusal(file, [&](Safetensors& c) { c.metadata.erase(key); }), key));
  const std::pair<const char*, const char*> wrong[] = {
      {"format", "pt"},     {"version", "2"}, {"model", "{}"},    {"shape", "4x4"},
      {"dtype", "uint9"},   {"low", "nan"},   {"low", "1"},       {"high", "inf"},
      {"low", ""},          {"low", "0.1x"},  {"spacing", "1 1"}, {"spacing", "1 1 1 1"},
      {"spacing", "1 0 1"}, {"spacing", ""},  {"zfp_enc", "-1"},  {"zfp_mlp", "1e999"}};
  for (const auto& [key, value] : wrong)
    EXPECT_TRUE(contains(refusal(file, [&](Safetensors& c) { c.metadata[key] = value; }), key))
        << key << value;
}

TEST(ModelFile, HasARangeForEachOutput) {
  ModelSpec spec = fastkan_spec();
  spec.layers.back().out = 3;
  ModelFile file = model_of(spec);
  file.ranges = {{-1.0 / 3, 0.1 + 0.2}, {5, 6e300}, {-1e-300, 0}};
  const std::string bytes = encode_model(file);
  const ModelFile back = decode_model(bytes, "m");
  expect_same_but_parameters(back, file);
  EXPECT_EQ(back.parameters, file.parameters);
  EXPECT_EQ(container_of(bytes).metadata.at("low"), "-0.3333333333333333 5 -1e-300");
  const std::pair<const char*, const char*> wrong[] = {
      {"low", "0"},  {"low", "0 0"},    {"low", "0 0 0 0"}, {"low", "0  0 0"},
      {"low", ""},   {"low", "0 0 0 "}, {"low", "0 nan 0"}, {"low", "0 6e301 -1"},
      {"high", "1"}, {"high", "1,6,1"}, {"high", "1 5 1"},  {"high", "1 inf 1"}};
  for (const auto& [key, value] : wrong)
    EXPECT_TRUE(contains(refusal(file, [&](Safetensors& c) { c.metadata[key] = value; }), key))
        << key << value;
  const std::string one =
      refusal(file, [](Safetensors& c) { c.metadata["model"] = to_json(fastkan_spec()); });
  EXPECT_TRUE(contains(one, "3 numbers, the model has 1 outputs")) << one;
}

TEST(ModelFile, ADatasetNameThatIsNoUtf8IsStored) {
  ModelFile file = model_of(bare_spec());
  file.dataset = "a\xff";
  EXPECT_EQ(decode_model(encode_model(file), "m").dataset, "a\xef\xbf\xbd");
}

// Every cut and thousands of damaged bytes either read as a finite model or are an Error.
TEST(ModelFile, SurvivesDamage) {
  std::mt19937 random(7);
  for (const bool packed : {false, true}) {
    if (packed && !has_zfp()) continue;
    ModelFile file = model_of(fastkan_spec());
    if (packed) file.zfp_enc = file.zfp_mlp = 1e-3;
    const std::string bytes = encode_model(file);
    for (std::size_t size = 0; size < bytes.size(); size += 3)
      EXPECT_THROW(decode_model(bytes.substr(0, size), "m"), Error) << size;
    std::size_t refused = 0;
    for (int i = 0; i < 4000; ++i) {
      std::string damaged = bytes;
      damaged[random() % damaged.size()] = static_cast<char>(random());
      try {
        for (const float value : decode_model(damaged, "m").parameters)
          ASSERT_TRUE(std::isfinite(value));
      } catch (const Error&) {
        ++refused;
      }
    }
    EXPECT_GT(refused, 100u);
  }
}

}  // namespace
}  // namespace kanbench
