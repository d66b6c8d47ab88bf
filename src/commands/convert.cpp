// kanbench convert: a volume in another file format.

#include <iostream>

#include "commands/commands.h"
#include "commands/options.h"
#include "kanbench/error.h"
#include "kanbench/file.h"
#include "kanbench/io.h"

namespace kanbench {
namespace {

namespace fs = std::filesystem;

struct ConvertOptions {
  std::string volume, output;
  MissingOption missing;
};

void convert(const ConvertOptions& options) {
  const Missing missing = options.missing.resolve();
  const fs::path input = split_volume_path(options.volume).file;
  const auto require_targets = [&](const fs::path& output) {
    require_apart(output, input, "-o");
    for (const fs::path& written : files_written(output)) {
      require_apart(written, input, "-o");
      for (const fs::path& data : data_files(input))
        require_apart(written, input.parent_path() / data, "-o");
    }
  };
  fs::path path = options.output;
  const bool named = !fs::is_directory(path);
  if (named) require_targets(path);
  const Volume volume = open_volume(options.volume, missing);
  if (!named) require_targets(path /= raw_file_name({volume.name, volume.shape, volume.dtype}));
  require_writable(path.has_parent_path() ? path.parent_path() : ".", "-o");
  const std::unique_ptr<Communicator> alone = open_single();
  VolumeWriter writer(*alone, path, volume.header());
  std::vector<Volume> parts;
  std::vector<const void*> components;
  for (int c = 0; c < volume.components; ++c)
    components.push_back(parts.emplace_back(volume.component(c)).data());
  writer.write(0, volume.shape.count(), components);
  writer.commit();
  std::cout << path.string() << ": " << text(volume.shape)
            << (volume.components > 1 ? " x " + std::to_string(volume.components) : "") << " "
            << name(volume.dtype) << "\n";
}

}  // namespace

void attach_convert(CLI::App& app) {
  const auto options = std::make_shared<ConvertOptions>();
  add_option(app, "volume", options->volume, "FILE",
             "The volume; FILE:VARIABLE of a file with several")
      ->required();
  add_option(app, "-o,--output", options->output, "FILE",
             "The file to write: .raw with an .nhdr beside it, .nhdr, .nrrd, .mhd, .mha, .vti or\n"
             ".nii (or a directory to name a raw file in); required")
      ->required();
  options->missing.attach(app);
  app.footer(
      "Voxels keep their type, their order and their values, and the volume its spacing and "
      "origin.\n"
      "\n"
      "Examples:\n"
      "  kanbench convert scan.nii.gz -o scan.nrrd\n"
      "  kanbench convert ocean.nc:tos -o data --missing nearest");
  app.callback([options] { convert(*options); });
}

}  // namespace kanbench
