// kanbench compress: a model's file again, with its numbers stored in another way.

#include <filesystem>
#include <iostream>
#include <optional>

#include "commands/commands.h"
#include "commands/console.h"
#include "commands/options.h"
#include "commands/stored_field.h"
#include "kanbench/decomposition.h"
#include "kanbench/error.h"
#include "kanbench/file.h"
#include "kanbench/io.h"
#include "kanbench/reconstruct.h"
#include "kanbench/stored_model.h"

namespace kanbench {
namespace {

namespace fs = std::filesystem;

struct CompressOptions {
  std::string model, output, store, volume;
  DeviceOptions device;
  PrecisionOption precision;
};

class Compression {
 public:
  explicit Compression(const CompressOptions& options)
      : options_(options), storage_(parse_storage(options.store, "--store")) {}

  void run() {
    require_storage(storage_);
    if (storage_.kind == Storage::Kind::automatic && options_.volume.empty())
      throw Error("--store " + options_.store +
                  ": what is lost is measured on the volume that the model was trained on: name it "
                  "with --volume");
    const StoredField field(options_.model);
    require_apart(options_.output, field, "--output");
    if (!options_.volume.empty()) open(field);
    if (is_manifest(options_.model))
      write_bricks();
    else
      write_file(options_.output, encode(read_model(options_.model), nullptr));
    say(field, StoredField(options_.output));
  }

 private:
  void open(const StoredField& field) {
    std::string said;
    backend_ = options_.device.open(&said);
    communicator_ = open_single();
    communicator_->attach(*backend_);
    volume_.emplace(open_volume(options_.volume));
    require_apart(options_.output, options_.volume, "--output");
    if (field.outputs() != volume_->components)
      throw Error("--volume " + options_.volume + " has " + std::to_string(volume_->components) +
                  " numbers a voxel, the model " + options_.model + " gives " +
                  std::to_string(field.outputs()) + ": give its own volume");
    if (!(field.shape == volume_->shape))
      throw Error("--volume " + options_.volume + " is " + text(volume_->shape) +
                  " voxels, the model " + options_.model + " was trained on " + text(field.shape) +
                  ": give its own volume");
  }

  // `brick` of an ensemble that was cut so.
  StoredBytes encode(ModelFile file, const Brick* brick, bool local = false) {
    if (storage_.kind == Storage::Kind::fp32) file.zfp_enc = file.zfp_mlp = 0;
    if (storage_.kind != Storage::Kind::automatic) return encode_stored(std::move(file), storage_);
    const Precision precision = options_.precision.resolve(file.spec, *backend_);
    const Box box = brick ? brick->core : whole(volume_->shape);
    if (!local) return encode_on(precision, *volume_, box, std::move(file));
    const Volume part = volume_->cut(brick->held);
    return encode_on(precision, part, within(box, brick->held), std::move(file));
  }

  StoredBytes encode_on(Precision precision, const Volume& volume, const Box& box, ModelFile file) {
    Judge judge(*backend_, file.spec, precision, volume, box, file.ranges, *communicator_);
    return encode_stored(std::move(file), storage_, &judge);
  }

  void write_file(const fs::path& path, const StoredBytes& stored) {
    AtomicFile file(path);
    file.write(stored.bytes);
    file.commit();
    note_ = stored.note;
  }

  // The models beside the manifest, which is written last.
  void write_bricks() {
    const Manifest manifest = read_manifest(options_.model);
    const fs::path from = fs::path(options_.model).parent_path();
    const fs::path to = fs::path(options_.output).parent_path();
    if (!is_manifest(options_.output))
      throw Error("--output " + options_.output +
                  ": an ensemble is written beneath a manifest: give a name that ends in "
                  ".ensemble.json");
    std::error_code ignored;
    if (!to.empty()) fs::create_directories(to, ignored);
    if (fs::equivalent(to.empty() ? "." : to, from.empty() ? "." : from, ignored))
      throw Error("--output " + options_.output +
                  ": its bricks would overwrite those of the model: name another directory");
    for (const Brick& brick : manifest.bricks)
      if (!brick.file.empty())
        write_file(to / brick.file, encode(read_model(from / brick.file), &brick, manifest.local));
    write_manifest(manifest, options_.output);
    note_.clear();
  }

  double psnr(const fs::path& path) {
    StoredField field(path);
    const std::unique_ptr<Field> opened = field.open(*backend_, options_.precision);
    return evaluate(*opened, field.ranges, *volume_, *communicator_).metrics.psnr;
  }

  void say(const StoredField& before, const StoredField& after) {
    const auto old_bytes = static_cast<double>(before.bytes());
    const auto new_bytes = static_cast<double>(after.bytes());
    const double volume = static_cast<double>(after.shape.count() * after.outputs()) *
                          static_cast<double>(size_of(after.dtype));
    std::vector<std::vector<std::string>> rows = {
        {"stored", text(storage_) + (note_.empty() ? "" : ", " + note_)},
        {"bytes", std::to_string(before.bytes()) + " before, " + std::to_string(after.bytes()) +
                      " after: " +
                      (new_bytes <= old_bytes ? fixed(old_bytes / new_bytes, 2) + " times smaller"
                                              : fixed(new_bytes / old_bytes, 2) + " times larger")},
        {"compression ratio",
         fixed(volume / old_bytes, 2) + " before, " + fixed(volume / new_bytes, 2) + " after"}};
    if (volume_) {
      const double old_psnr = psnr(options_.model), new_psnr = psnr(options_.output);
      const double loss = old_psnr == new_psnr ? 0.0 : old_psnr - new_psnr;
      rows.push_back({"PSNR", fixed(old_psnr, 3) + " dB before, " + fixed(new_psnr, 3) +
                                  " dB after: a loss of " + fixed(loss, 3) + " dB"});
    }
    std::cout << format_table(rows);
  }

  const CompressOptions& options_;
  Storage storage_;
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Communicator> communicator_;
  std::optional<Volume> volume_;
  std::string note_;
};

}  // namespace

void attach_compress(CLI::App& app) {
  const auto options = std::make_shared<CompressOptions>();
  add_option(app, "model", options->model, "FILE",
             "The model (.safetensors), or an ensemble (.ensemble.json)")
      ->required();
  add_option(app, "-o,--output", options->output, "FILE",
             "The file to write; of an ensemble the manifest, in another directory")
      ->required();
  add_option(app, "--store", options->store, "fp32|fp16|int8|zfp:TOL|auto:LOSS",
             "How: auto:0.1dB makes the smallest file that loses 0.1 dB of PSNR at most, of\n"
             "an ensemble each brick's")
      ->required();
  add_option(app, "--volume", options->volume, "FILE",
             "The volume, to say what is lost; auto needs it");
  options->device.attach(app);
  options->precision.attach(app);
  app.footer(
      "Example:\n"
      "  kanbench compress results/models_saved/nucleon_mlp_12_1a2b3c4d.safetensors \\\n"
      "      -o small.safetensors --store auto:0.1dB \\\n"
      "      --volume demo_data/nucleon_41x41x41_uint8.raw");
  app.callback([options] { Compression(*options).run(); });
}

}  // namespace kanbench
