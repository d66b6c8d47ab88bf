// kanbench reconstruct: a model back into voxels.

#include "kanbench/reconstruct.h"

#include <cmath>
#include <filesystem>
#include <iostream>
#include <limits>

#include "commands/commands.h"
#include "commands/console.h"
#include "commands/options.h"
#include "kanbench/error.h"
#include "kanbench/file.h"
#include "kanbench/model_file.h"

namespace kanbench {
namespace {

namespace fs = std::filesystem;

struct ReconstructOptions {
  std::string model, output, size, box, dtype;
  DeviceOptions device;
  PrecisionOption precision;
};

// Values keep their units, so the type must hold the model's range.
void require_range(const ModelFile& file, Dtype dtype, Console& console) {
  const bool fits = visit(dtype, [&](auto zero) {
    using Limits = std::numeric_limits<decltype(zero)>;
    return file.low >= static_cast<double>(Limits::lowest()) &&
           file.high <= static_cast<double>(Limits::max());
  });
  const std::string range = scientific(file.low) + " to " + scientific(file.high);
  if (!fits)
    throw Error(std::string("--dtype ") + name(dtype) + " cannot hold the values " + range +
                ": use " + name(file.dtype) + ", as the volume has, or float64");
  const bool whole_numbers = dtype != Dtype::float32 && dtype != Dtype::float64;
  if (whole_numbers && file.high - file.low < 16)
    console.warn(std::string("--dtype ") + name(dtype) + " leaves few steps in " + range +
                 ": float32 keeps them");
}

void reconstruct(const ReconstructOptions& options) {
  Console console(Verbosity::normal);
  const ModelFile file = read_model(options.model);
  const Shape size = options.size.empty() ? file.shape : parse_shape(options.size, "--size");
  const Box box = options.box.empty() ? whole(size) : parse_box(options.box, size, "--box");
  const Dtype dtype = options.dtype.empty() ? file.dtype : require_dtype(options.dtype, "--dtype");
  require_range(file, dtype, console);
  const auto scale = [](double spacing, std::int64_t from, std::int64_t to) {
    return spacing * static_cast<double>(from) / static_cast<double>(to);
  };
  const std::array<double, 3> spacing = {scale(file.spacing[0], file.shape.x, size.x),
                                         scale(file.spacing[1], file.shape.y, size.y),
                                         scale(file.spacing[2], file.shape.z, size.z)};
  const Shape shape = box.shape();
  fs::path path = options.output;
  if (fs::is_directory(path)) path /= raw_file_name({file.dataset, shape, dtype});
  if (path.extension() == ".nhdr")
    throw Error("-o " + path.string() + ": is the header's name: name the raw file");
  require_apart(path, options.model, "-o");
  require_apart(fs::path(path).replace_extension(".nhdr"), options.model, "-o");
  require_writable(path.has_parent_path() ? path.parent_path() : ".", "-o");

  std::string said;
  const std::unique_ptr<Backend> backend = options.device.open(&said);
  Model model(*backend, file.spec, options.precision.resolve(file.spec, *backend));
  model.upload(file.parameters);
  if (!said.empty()) console.say(said);
  std::array<double, 3> origin{};
  for (std::size_t d = 0; d < 3; ++d) origin[d] = static_cast<double>(box.low[d]) * spacing[d];
  RawWriter writer(path, shape, dtype, spacing, origin);
  const auto slice = static_cast<std::size_t>(shape.x * shape.y) * size_of(dtype);
  const VoxelForm form{dtype, file.low, file.high};
  const double seconds = decode_slabs(model, {size, box}, false, &form, [&](const Slab& slab) {
    writer.write(slab.voxels, static_cast<std::size_t>(slab.count) * slice);
    console.status("slice " + std::to_string(slab.z + slab.count) + " of " +
                   std::to_string(shape.z));
  });
  writer.commit();
  console.clear_status();
  std::cout << path.string() << ": " << text(shape) << " " << name(dtype) << ", decoded in "
            << fixed(seconds, 3) << " s (" << count(double(shape.count()) / seconds)
            << " voxels/s)\n";
}

}  // namespace

void attach_reconstruct(CLI::App& app) {
  const auto options = std::make_shared<ReconstructOptions>();
  add_option(app, "model", options->model, "FILE", "The model (.safetensors)")->required();
  add_option(app, "-o,--output", options->output, "FILE",
             "The raw file to write, an .nhdr beside it (or a directory to name it in); required")
      ->required();
  add_option(app, "--size", options->size, "XxYxZ",
             "Resolution of the whole volume (default: the one it was trained on)");
  add_option(app, "--box", options->box, "x0:x1,y0:y1,z0:z1",
             "Only these voxels of --size, from x0 up to before x1; an end may be left out");
  add_option(app, "--dtype", options->dtype,
             "uint8|int8|uint16|int16|uint32|int32|uint64|int64|float32|float64",
             "Voxel type (default: the volume's own); values keep their units");
  options->device.attach(app);
  options->precision.attach(app);
  app.footer(
      "Values are clamped to the volume's range and rounded to nearest. Memory stays within\n"
      "some slabs of slices, so any --size can be written.\n"
      "\n"
      "Examples:\n"
      "  kanbench reconstruct nucleon_mlp_12_1a2b3c4d.safetensors -o nucleon.raw\n"
      "  kanbench reconstruct model.safetensors -o big.raw --size 512x512x512 --dtype float32\n"
      "  kanbench reconstruct model.safetensors -o part.raw --size 512x512x512 "
      "--box 0:64,0:64,128:192");
  app.callback([options] { reconstruct(*options); });
}

}  // namespace kanbench
