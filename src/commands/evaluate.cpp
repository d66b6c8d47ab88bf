// kanbench evaluate: a model's figures of merit against a volume.

#include <cmath>
#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>

#include "commands/commands.h"
#include "commands/console.h"
#include "commands/options.h"
#include "commands/ranks.h"
#include "commands/stored_field.h"
#include "kanbench/error.h"
#include "kanbench/file.h"
#include "kanbench/reconstruct.h"

namespace kanbench {
namespace {

using Json = nlohmann::ordered_json;

struct EvaluateOptions {
  std::string model, volume, slices;
  bool json = false;
  DeviceOptions device;
  PrecisionOption precision;
  MissingOption missing;
  RanksOptions ranks;
};

Json json_of(const Metrics& m) {
  return {{"mse", m.mse},
          {"psnr", m.psnr},
          {"ssim", m.ssim},
          {"ssim_3d", m.ssim_3d},
          {"max_error", m.max_error}};
}

// A line a component.
std::string component_table(const std::vector<Metrics>& components) {
  std::vector<std::vector<std::string>> rows = {
      {"component", "MSE", "PSNR dB", "SSIM", "SSIM 3-D", "maximum error"}};
  for (const Metrics& m : components)
    rows.push_back({std::to_string(rows.size() - 1), scientific(m.mse), fixed(m.psnr, 2),
                    fixed(m.ssim, 4), fixed(m.ssim_3d, 4), scientific(m.max_error)});
  return format_table(rows);
}

void print(const EvaluateOptions& options, const Evaluation& found, const Volume& volume,
           double ratio) {
  const Metrics& m = found.metrics;
  const std::string variant = ssim_variant(volume.shape);
  if (options.json) {
    // JSON has no infinity: an exact reconstruction's PSNR is null.
    Json json = {{"model", options.model}, {"volume", options.volume}};
    json.update(json_of(m));
    json.update({{"ssim_variant", variant},
                 {"compression_ratio", ratio},
                 {"decode_seconds", found.decode_seconds}});
    if (found.components.size() > 1)
      for (const Metrics& one : found.components) json["components"].push_back(json_of(one));
    std::cout << json.dump(2) << "\n";
    return;
  }
  std::cout << format_table({{"MSE", scientific(m.mse)},
                             {"PSNR", fixed(m.psnr, 2) + " dB"},
                             {"SSIM", fixed(m.ssim, 4)},
                             {"SSIM 3-D", fixed(m.ssim_3d, 4)},
                             {"maximum error", scientific(m.max_error)},
                             {"compression ratio", fixed(ratio, 2)},
                             {"decoding", fixed(found.decode_seconds, 3) + " s"}})
            << (found.components.size() > 1 ? component_table(found.components) : "")
            << "Errors are on values normalised to [0, 1]. SSIM: " << variant << "\n";
}

void require_fit(const EvaluateOptions& options, const StoredField& file, const Volume& volume,
                 Console& console) {
  if (!(file.shape == volume.shape))
    throw Error(options.volume + " is " + text(volume.shape) + " voxels, the model " +
                options.model + " was trained on " + text(file.shape) +
                ": use its own volume, or `kanbench reconstruct --size " + text(volume.shape) +
                "`");
  if (file.outputs() != volume.components)
    throw Error(options.volume + " has " + std::to_string(volume.components) +
                " numbers a voxel, the model " + options.model + " gives " +
                std::to_string(file.outputs()) + ": use its own volume");
  for (std::size_t c = 0; c < file.ranges.size(); ++c) {
    const auto& [low, high] = file.ranges[c];
    const auto& [lowest, highest] = volume.ranges()[c];
    if (low != lowest || high != highest)
      console.warn("the model's values are " + scientific(low) + " to " + scientific(high) +
                   ", the volume's " + scientific(lowest) + " to " + scientific(highest) +
                   (volume.components > 1 ? " in component " + std::to_string(c) : "") +
                   ": compared in the volume's range");
  }
  const std::filesystem::path slices = options.slices;
  if (slices.empty()) return;
  require_apart(slices, file, "--slices");
  require_apart(slices, split_volume_path(options.volume).file, "--slices");
  require_png();
  require_writable(slices.has_parent_path() ? slices.parent_path() : ".", "--slices");
}

void run_evaluate(const EvaluateOptions& options) {
  Console console(Verbosity::normal);
  std::string said;
  std::unique_ptr<Backend> backend;
  const std::unique_ptr<Communicator> communicator =
      options.ranks.open(options.device, backend, &said);
  if (communicator->rank() != 0) console.silence();
  std::unique_ptr<StoredField> file;
  together(*communicator, [&] { file = std::make_unique<StoredField>(options.model); });
  const Volume volume = open_volume(options.volume, *communicator, options.missing.resolve());
  std::unique_ptr<Field> field;
  together(*communicator, [&] {
    require_fit(options, *file, volume, console);
    field = file->open(*backend, options.precision);
  });
  if (!said.empty()) console.say(said);
  const bool picture = !options.slices.empty();
  const Evaluation found = evaluate(*field, file->ranges, volume, *communicator, picture);
  together(*communicator, [&] {
    if (communicator->rank() != 0) return;
    if (picture)
      write_slices(options.slices, found.slices, volume.low, volume.high,
                   volume.name + "  " + file->kind + "  " + fixed(found.metrics.psnr, 2) + " dB");
    print(options, found, volume, double(volume.bytes()) / double(file->bytes()));
  });
}

}  // namespace

void attach_evaluate(CLI::App& app) {
  const auto options = std::make_shared<EvaluateOptions>();
  add_option(app, "model", options->model, "FILE",
             "The model (.safetensors), or an ensemble (.ensemble.json)")
      ->required();
  add_option(app, "volume", options->volume, "FILE",
             "The volume, of the model's shape; FILE:VARIABLE of a file with several")
      ->required();
  app.add_flag("--json", options->json, "Print a JSON object instead of a table");
  add_option(app, "--slices", options->slices, "FILE",
             "Picture (PNG) of the middle slices: original, reconstruction, error; of several\n"
             "components the first");
  options->missing.attach(app);
  options->device.attach(app);
  options->precision.attach(app);
  options->ranks.attach(app);
  app.footer(
      "Example:\n"
      "  kanbench evaluate results/models_saved/nucleon_mlp_12_1a2b3c4d.safetensors \\\n"
      "      demo_data/nucleon_41x41x41_uint8.raw --json");
  app.callback([options] { run_evaluate(*options); });
}

}  // namespace kanbench
