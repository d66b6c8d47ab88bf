// Decoders by their names: that each is written down, read again and learned with, and takes the
// hyper-parameters that it says.

#include <nlohmann/json.hpp>
#include <set>

#include "kanbench/error.h"
#include "kanbench/model_file.h"
#include "kanbench/recipe.h"
#include "kanbench/result.h"
#include "run_support.h"
#include "support.h"
#include "training_support.h"

namespace kanbench {
namespace {

using test::Json;
using test::message_of;
using test::plain_run;

Run run_of(const std::string& type) {
  Run run = test::small_run(type);
  run.kan = default_parameters(type);
  if (type == "custom")
    run.kan.layers = R"([{"out": 9, "basis": {"name": "bspline", "grid": 4}, "bias": true},
                         {"out": 1, "basis": "gelu", "norm": true}])";
  return run;
}

class EveryDecoder : public testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(All, EveryDecoder, testing::ValuesIn(network_type_names()),
                         [](const auto& info) { return info.param; });

TEST_P(EveryDecoder, IsReadAsItWasWritten) {
  const ModelSpec spec = make_spec(run_of(GetParam()));
  EXPECT_EQ(spec.layers.back().out, 1);
  const std::string json = to_json(spec);
  EXPECT_EQ(to_json(parse_model_spec(json, "a test")), json);
}

TEST_P(EveryDecoder, LowersTheLoss) {
  const Volume volume = test::smooth_volume({12, 10, 8});
  const kanbench::Run run = run_of(GetParam());
  const auto backend = open_cpu();
  const auto alone = open_single();
  Model model(*backend, make_spec(run));
  model.upload(draw_parameters(model.spec(), make_initialisation(run), 1));
  Training training = make_training(run, 128, 1);
  training.epochs = 10;
  const History history = train(model, backend->place(volume, whole(volume.shape)),
                                whole(volume.shape), training, *alone);
  EXPECT_FALSE(history.failed);
  EXPECT_TRUE(history.recoveries.empty());
  EXPECT_LT(history.epochs.back().loss, 0.7 * history.epochs.front().loss);
}

TEST_P(EveryDecoder, IsARunOfAParameterFile) {
  Json entry = plain_run();
  entry["network_types"] = {GetParam()};
  const kanbench::Run run = run_of(GetParam());
  if (GetParam() == "custom") entry["layers"] = Json::parse(run.kan.layers);
  const auto runs = parse_runs(Json{{"nucleon", entry}}.dump(), "p.json");
  ASSERT_EQ(runs.size(), 1u);
  const auto again = parse_runs(Json{{"nucleon", Json::parse(to_json(runs[0]))}}.dump(), "p.json");
  ASSERT_EQ(again.size(), 1u);
  EXPECT_EQ(to_json(again[0]), to_json(runs[0]));
  EXPECT_EQ(decoder_text(again[0]), decoder_text(runs[0]));
}

// Every key of the decoder sweeps, changes the architecture and the run's id, and is in the row.
TEST_P(EveryDecoder, TakesItsHyperParameters) {
  const Json all = Json::parse(to_json(run_of(GetParam())));
  const char* key = all.contains("kan_params") ? "kan_params" : "decoder_params";
  const Json parameters = all.value(key, Json::object());
  for (const auto& [name, value] : parameters.items()) {
    const Json other = value.is_boolean()        ? Json(!value.get<bool>())
                       : name == "inner"         ? Json(value == "layer" ? "input" : "layer")
                       : name == "squash"        ? Json("clamp")
                       : name == "wavelet"       ? Json("meyer")
                       : value.is_number_float() ? Json(value.get<double>() * 1.5)
                                                 : Json(value.get<int>() + 2);
    Json entry = plain_run();
    entry["network_types"] = {GetParam()};
    entry["decoder_params"][name] = {{"values", {value, other}}};
    const auto runs = parse_runs(Json{{"nucleon", entry}}.dump(), "p.json");
    ASSERT_EQ(runs.size(), 2u) << name;
    EXPECT_NE(to_json(make_spec(runs[0])), to_json(make_spec(runs[1]))) << name;
    EXPECT_NE(run_id(runs[0], "v"), run_id(runs[1], "v")) << name;
    Result results[2];
    for (int i = 0; i < 2; ++i) results[i].run = runs[static_cast<std::size_t>(i)];
    Json rows[2];
    for (int i = 0; i < 2; ++i) rows[i] = Json::parse(json_line(results[i]))["row"];
    const char* column = name == "grid_radius" ? "kan_grid_radius"
                         : name == "num_grids" ? "kan_num_grids"
                                               : "decoder_params";
    EXPECT_NE(rows[0][column], rows[1][column]) << name;
  }
}

std::string refusal(const std::string& changes) {
  return message_of<Error>([&] { test::runs_with(changes); });
}

TEST(DecoderParameters, OfNoUseAreRefused) {
  EXPECT_EQ(refusal(R"({"network_types": ["mlp"], "decoder_params": {"degree": 3}})"),
            "p.json: nucleon.decoder_params.degree is of no use to mlp: leave it out");
  EXPECT_EQ(refusal(R"({"network_types": ["kaln"], "decoder_params": {"degree": 40}})"),
            "p.json: nucleon.decoder_params.degree is 40, must be a whole number from 0 to 32");
  EXPECT_NE(refusal(R"({"network_types": ["kaln"], "decoder_params": {"squash": "tan"}})")
                .find("is \"tan\", must be tanh or clamp, did you mean 'tanh'?"),
            std::string::npos);
  EXPECT_NE(refusal(R"({"kan_params": {"num_grids": 3}, "decoder_params": {"num_grids": 3}})")
                .find("stands beside its other name"),
            std::string::npos);
}

TEST(DecoderParameters, MultiplyOnlyTheDecodersThatTakeThem) {
  const auto runs = test::runs_with(R"({"network_types": ["mlp", "kaln", "fastkan"],
      "decoder_params": {"degree": [2, 4], "num_grids": [5, 6]}})");
  EXPECT_EQ(runs.size(), 1u + 3u + 2u);
}

TEST(CustomDecoder, IsALayerAfterTheOther) {
  const auto runs = test::runs_with(R"({"network_types": ["custom"], "layers": {"values": [
      [{"out": 8, "basis": "chebyshev"}, {"out": 1, "basis": {"name": "rbf", "num_grids": 4}}],
      [{"out": 1, "basis": "identity", "bias": true}]]}})");
  ASSERT_EQ(runs.size(), 2u);
  EXPECT_EQ(runs[0].n_neurons, 8);
  EXPECT_EQ(runs[0].n_hidden_layers, 1);
  const ModelSpec spec = make_spec(runs[0]);
  EXPECT_EQ(size(spec.layers[0].basis), 4);
  EXPECT_EQ(spec.layers[1].in, 8);
}

TEST(CustomDecoder, SaysWhatIsWrong) {
  const auto with = [](const std::string& layers) {
    return refusal(R"({"network_types": ["custom"], "layers": )" + layers + "}");
  };
  EXPECT_EQ(with(R"([{"out": 1, "basis": "chebishev"}])").substr(0, 84),
            "p.json: nucleon.layers[0].basis: unknown name 'chebishev', did you mean 'chebyshev'?");
  EXPECT_EQ(with(R"([{"out": 65, "basis": "relu"}])"),
            "p.json: nucleon.layers: the last layer's 'out': expected 1, or as many numbers as a "
            "voxel of the volume has, at most 64, found 65");
  EXPECT_NE(with(R"([{"out": 1, "basis": "relu", "inner": "layer"}])")
                .find("has no inner parameters: use \"fixed\""),
            std::string::npos);
  EXPECT_NE(with(R"([{"out": 1, "basis": "relu", "edges": true}])").find("use wavelet"),
            std::string::npos);
  EXPECT_NE(with(R"([{"out": 1, "basis": "relu", "base": true, "base_skip": 1}])")
                .find("beyond the last layer"),
            std::string::npos);
  EXPECT_NE(with("3").find("must be a list of layers"), std::string::npos);
  EXPECT_NE(refusal(R"({"network_types": ["custom"]})").find("lacks layers"), std::string::npos);
  EXPECT_NE(refusal(R"({"layers": [{"out": 1, "basis": "relu"}]})")
                .find("custom is not among its network_types"),
            std::string::npos);
}

TEST(Faithful, IsOfTheReferencesDecodersAlone) {
  const auto runs = test::runs_with(R"({"network_types": ["siren"]})");
  RunOverrides overrides;
  overrides.faithful = true;
  EXPECT_EQ(message_of<Error>([&] { select_runs(runs, {}, overrides); }),
            "run 0: --faithful is of no use with siren: leave it out, or use --network-types "
            "mlp,fastkan");
}

}  // namespace
}  // namespace kanbench
