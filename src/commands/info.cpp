// kanbench info: what a file is, and what this build offers.

#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>
#include <tuple>

#include "commands/commands.h"
#include "commands/console.h"
#include "commands/options.h"
#include "kanbench/ensemble.h"
#include "kanbench/error.h"
#include "kanbench/file.h"
#include "kanbench/io.h"
#include "kanbench/math/basis.h"
#include "kanbench/math/encoder.h"
#include "kanbench/model_file.h"
#include "kanbench/run.h"
#include "kanbench/vtp.h"

namespace kanbench {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

struct InfoOptions {
  std::string file, grids;
  MissingOption missing;
  bool devices = false, bases = false, encoders = false, decoders = false, json = false;
};

// A number; of several components a list.
Json ends_of(const std::vector<ValueRange>& ranges, std::size_t which) {
  if (ranges.size() == 1) return ranges[0][which];
  Json ends = Json::array();
  for (const ValueRange& range : ranges) ends.push_back(range[which]);
  return ends;
}

// "float32", "steps of 0.0123", "steps of blocks of 16 rows".
std::string in_words(const Coding& coding) {
  if (coding.kind == Coding::Kind::floats) return "float32";
  if (coding.kind == Coding::Kind::halves) return "float16";
  if (coding.block_rows > 0)
    return "steps of blocks of " + std::to_string(coding.block_rows) + " rows";
  return coding.step > 0 ? "steps of " + scientific(coding.step) : "constant";
}

Json describe_model(const std::string& path) {
  const ModelFile file = read_model(path);
  const Layout layout = make_layout(file.spec);
  Json tensors = Json::array();
  for (std::size_t i = 0; i < layout.slices.size(); ++i) {
    const Slice& slice = layout.slices[i];
    Json shape = Json::array({slice.rows});
    if (slice.columns) shape.push_back(slice.columns);
    tensors.push_back({{"name", slice.name}, {"shape", shape}});
    if (!file.codings.empty()) tensors.back()["coding"] = in_words(file.codings[i]);
  }
  const auto bytes = static_cast<std::int64_t>(fs::file_size(path));
  const double volume = static_cast<double>(file.shape.count() * file.spec.outputs()) *
                        static_cast<double>(size_of(file.dtype));
  const double bits = 8 * static_cast<double>(bytes) / static_cast<double>(layout.parameters);
  return {{"kind", "model"},
          {"file", path},
          {"dataset", file.dataset},
          {"shape", {file.shape.x, file.shape.y, file.shape.z}},
          {"dtype", name(file.dtype)},
          {"n_outputs", file.spec.outputs()},
          {"low", ends_of(file.ranges, 0)},
          {"high", ends_of(file.ranges, 1)},
          {"spacing", file.spacing},
          {"origin", file.origin},
          {"n_parameters", layout.parameters},
          {"bytes", bytes},
          {"compression_ratio", volume / static_cast<double>(bytes)},
          {"zfp_enc", file.zfp_enc},
          {"zfp_mlp", file.zfp_mlp},
          {"bits_per_parameter", bits},
          {"architecture", Json::parse(to_json(file.spec))},
          {"tensors", tensors}};
}

// Each brick with its file's size and parameters; one without a file has neither.
Json describe_bricks(const Manifest& all, const fs::path& directory) {
  Json bricks = Json::array();
  for (const Brick& brick : all.bricks) {
    Json one = {{"core", {brick.core.low, brick.core.high}},
                {"held", {brick.held.low, brick.held.high}},
                {"low", brick.low},
                {"high", brick.high},
                {"file", brick.file},
                {"bytes", 0},
                {"n_parameters", 0}};
    if (!brick.file.empty()) {
      const ModelFile file = read_model(directory / brick.file);
      one["bytes"] = static_cast<std::int64_t>(fs::file_size(directory / brick.file));
      one["n_parameters"] = make_layout(file.spec).parameters;
    }
    bricks.push_back(std::move(one));
  }
  return bricks;
}

Json describe_ensemble(const std::string& path) {
  const Manifest all = read_manifest(path);
  const Json bricks = describe_bricks(all, fs::path(path).parent_path());
  auto bytes = static_cast<std::int64_t>(fs::file_size(path));
  std::int64_t parameters = 0;
  for (const Json& brick : bricks) {
    bytes += brick["bytes"].get<std::int64_t>();
    parameters += brick["n_parameters"].get<std::int64_t>();
  }
  const double volume =
      static_cast<double>(all.shape.count()) * static_cast<double>(size_of(all.dtype));
  return {{"kind", "ensemble"},       {"file", path},
          {"dataset", all.dataset},   {"shape", {all.shape.x, all.shape.y, all.shape.z}},
          {"dtype", name(all.dtype)}, {"low", all.low},
          {"high", all.high},         {"spacing", all.spacing},
          {"origin", all.origin},     {"grid", {all.grid.x, all.grid.y, all.grid.z}},
          {"ghost", all.ghost},       {"blend", all.blend},
          {"local", all.local},       {"n_parameters", parameters},
          {"bytes", bytes},           {"compression_ratio", volume / static_cast<double>(bytes)},
          {"bricks", bricks}};
}

Json describe_volume(const std::string& path, const Missing& missing) {
  const Volume volume = open_volume(path, missing);
  return {{"kind", "volume"},
          {"file", path},
          {"dataset", volume.name},
          {"shape", {volume.shape.x, volume.shape.y, volume.shape.z}},
          {"dtype", name(volume.dtype)},
          {"components", volume.components},
          {"voxels", volume.shape.count()},
          {"bytes", volume.bytes()},
          {"low", ends_of(volume.ranges(), 0)},
          {"high", ends_of(volume.ranges(), 1)},
          {"spacing", volume.spacing},
          {"origin", volume.origin}};
}

Json describe_file(const std::string& path, const Missing& missing) {
  if (!fs::exists(split_volume_path(path).file))
    throw Error(path + ": no such file: give a model or a volume");
  if (is_manifest(path)) return describe_ensemble(path);
  return fs::path(path).extension() == ".safetensors" ? describe_model(path)
                                                      : describe_volume(path, missing);
}

// A field; an enumeration by its word.
template <class Value>
requires(std::is_enum_v<Value> || std::is_arithmetic_v<Value>) Json as_json(const Value& value) {
  if constexpr (std::is_enum_v<Value>)
    return words_of(value)[static_cast<std::size_t>(value)];
  else
    return value;
}

// Each alternative of a closed set, with its numbers as they are by default.
template <class Variant>
Json describe_set() {
  Json all = Json::array();
  const auto one = [&](auto member) {
    Json fields = Json::object();
    member.fields(member, [&](const char* key, auto& value) {
      if constexpr (requires { as_json(value); })
        fields[key] = as_json(value);
      else
        for (const auto& part : value)
          fields[key].push_back(std::visit([](const auto& p) { return p.name; }, part));
    });
    all.push_back({{"name", member.name}, {"fields", fields}});
  };
  [&]<std::size_t... I>(std::index_sequence<I...>) {
    (one(std::variant_alternative_t<I, Variant>{}), ...);
  }
  (std::make_index_sequence<std::variant_size_v<Variant>>{});
  return all;
}

Json describe_decoders() {
  Json all = Json::array();
  for (const std::string& name : network_type_names()) {
    Run run;
    run.network_type = name;
    run.kan = default_parameters(name);
    const Json json = Json::parse(to_json(run));
    const char* key = json.contains("kan_params") ? "kan_params" : "decoder_params";
    all.push_back({{"name", name}, {"parameters", json.value(key, Json::object())}});
  }
  return all;
}

Json describe_devices() {
  Json all = Json::array();
  for (const Device& device : list_devices())
    all.push_back({{"name", device.name}, {"description", device.description}});
  return all;
}

std::string in_words(const Json& value, const char* separator = " ") {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_object()) {
    std::string text;
    for (const auto& [key, part] : value.items())
      text += (text.empty() ? "" : ", ") + key + " " + in_words(part);
    return text;
  }
  if (!value.is_array()) return value.dump();
  std::string text;
  for (const Json& part : value) text += (text.empty() ? "" : separator) + in_words(part);
  return text;
}

// "brick_000.safetensors  x 0:32 y 0:32 z 0:32  1234 bytes  56 parameters".
std::string in_brief(const Json& brick) {
  const std::string file = brick["file"].get<std::string>();
  std::string line = file.empty() ? "constant" : file;
  for (std::size_t d = 0; d < 3; ++d)
    line += std::string(d ? " " : "  ") + "xyz"[d] + " " + brick["core"][0][d].dump() + ":" +
            brick["core"][1][d].dump();
  if (!file.empty())
    line +=
        "  " + brick["bytes"].dump() + " bytes  " + brick["n_parameters"].dump() + " parameters";
  return line;
}

// An object as key and value a line, a list of objects as a table.
void print(const Json& json) {
  std::vector<std::vector<std::string>> rows;
  if (json.is_array()) {
    for (const Json& entry : json) {
      rows.emplace_back();
      for (const auto& [key, value] : entry.items()) rows.back().push_back(in_words(value));
    }
  } else {
    for (const auto& [key, value] : json.items()) {
      if (key == "kind" || key == "tensors" || key == "bricks") continue;
      rows.push_back({key, in_words(value, key == "shape" || key == "grid" ? "x" : " ")});
    }
    if (json.contains("tensors"))
      for (const Json& tensor : json["tensors"])
        rows.push_back(
            {"tensor", in_words(tensor["name"]) + " [" + in_words(tensor["shape"]) + "]" +
                           (tensor.contains("coding") ? ", " + in_words(tensor["coding"]) : "")});
    for (const Json& brick : json.value("bricks", Json::array()))
      rows.push_back({"brick", in_brief(brick)});
  }
  std::cout << format_table(rows);
}

void write_grids(const InfoOptions& options) {
  const fs::path path = options.grids;
  if (path.extension() != ".vtp")
    throw Error("--grids " + options.grids + ": boxes are written as .vtp, name such a file");
  if (options.file.empty()) throw Error("--grids: name the model whose grids they are");
  AtomicFile file(path);
  file.write(encode_grid_boxes(read_model(options.file), options.file));
  file.commit();
}

void run_info(const InfoOptions& options) {
  if (!options.grids.empty()) write_grids(options);
  Json said = Json::object();
  if (!options.file.empty()) said["file"] = describe_file(options.file, options.missing.resolve());
  if (options.devices) said["devices"] = describe_devices();
  if (options.bases) said["bases"] = describe_set<Basis>();
  if (options.encoders) said["encoders"] = describe_set<Encoder>();
  if (options.decoders) said["decoders"] = describe_decoders();
  if (said.empty())
    throw Error(
        "info: name a model, an ensemble or a volume, or give --devices, --bases, --encoders or "
        "--decoders");
  const bool single = said.size() == 1;
  if (options.json) {
    std::cout << (single ? *said.begin() : said).dump(2) << "\n";
    return;
  }
  for (const auto& [key, part] : said.items()) {
    if (!single && key != "file") std::cout << key << ":\n";
    print(part);
  }
}

}  // namespace

void attach_info(CLI::App& app) {
  const auto options = std::make_shared<InfoOptions>();
  add_option(app, "file", options->file, "FILE",
             "A model (.safetensors), an ensemble (.ensemble.json) or a volume (FILE:VARIABLE\n"
             "of a file with several)");
  options->missing.attach(app);
  add_option(app, "--grids", options->grids, "FILE.vtp",
             "Write the boxes of an adaptive_multi_grid's grids, for ParaView");
  app.add_flag("--devices", options->devices, "Where this build can compute on this machine");
  app.add_flag("--bases", options->bases, "One-dimensional bases and their numbers' defaults");
  app.add_flag("--encoders", options->encoders, "Encoders and their numbers' defaults");
  app.add_flag("--decoders", options->decoders, "Decoders and their hyper-parameters' defaults");
  app.add_flag("--json", options->json, "Print JSON");
  app.footer(
      "Examples:\n"
      "  kanbench info demo_data/nucleon_41x41x41_uint8.raw\n"
      "  kanbench info results/models_saved/nucleon_mlp_12_1a2b3c4d.safetensors --json\n"
      "  kanbench info --devices");
  app.callback([options] { run_info(*options); });
}

}  // namespace kanbench
