// kanbench reconstruct: a model back into voxels.

#include "kanbench/reconstruct.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <iostream>
#include <limits>

#include "commands/commands.h"
#include "commands/console.h"
#include "commands/options.h"
#include "commands/ranks.h"
#include "commands/stored_field.h"
#include "kanbench/error.h"
#include "kanbench/file.h"

namespace kanbench {
namespace {

namespace fs = std::filesystem;

struct ReconstructOptions {
  std::string model, output, size, box, dtype;
  DeviceOptions device;
  PrecisionOption precision;
  RanksOptions ranks;
};

// Values keep their units, so the type must hold the model's range.
void require_range(const StoredField& file, Dtype dtype, Console& console) {
  double low = file.ranges[0][0], high = file.ranges[0][1], least = high - low;
  for (const auto& [from, to] : file.ranges) {
    low = std::min(low, from);
    high = std::max(high, to);
    least = std::min(least, to - from);
  }
  const bool fits = visit(dtype, [&](auto zero) {
    using Limits = std::numeric_limits<decltype(zero)>;
    return low >= static_cast<double>(Limits::lowest()) &&
           high <= static_cast<double>(Limits::max());
  });
  const std::string range = scientific(low) + " to " + scientific(high);
  if (!fits)
    throw Error(std::string("--dtype ") + name(dtype) + " cannot hold the values " + range +
                ": use " + name(file.dtype) + ", as the volume has, or float64");
  const bool whole_numbers = dtype != Dtype::float32 && dtype != Dtype::float64;
  if (whole_numbers && least < 16)
    console.warn(std::string("--dtype ") + name(dtype) + " leaves few steps in " + range +
                 ": float32 keeps them");
}

// What is written where, as the command line says.
struct Target {
  fs::path path;
  Dtype dtype = Dtype::float32;
  Lattice lattice;
  VolumeHeader header;
};

Target plan_target(const ReconstructOptions& options, const StoredField& file, Console& console) {
  Target target;
  const Shape size = options.size.empty() ? file.shape : parse_shape(options.size, "--size");
  require_countable(size, file.outputs(), "--size");
  const Box box = options.box.empty() ? whole(size) : parse_box(options.box, size, "--box");
  target.lattice = {size, box};
  target.dtype = options.dtype.empty() ? file.dtype : require_dtype(options.dtype, "--dtype");
  require_range(file, target.dtype, console);
  const auto scale = [](double spacing, std::int64_t from, std::int64_t to) {
    return spacing * static_cast<double>(from) / static_cast<double>(to);
  };
  const std::array<double, 3> spacing{scale(file.spacing[0], file.shape.x, size.x),
                                      scale(file.spacing[1], file.shape.y, size.y),
                                      scale(file.spacing[2], file.shape.z, size.z)};
  target.header = {box.shape(), target.dtype, file.outputs(), spacing, file.origin};
  // At another size the first voxel's centre is nearer to the volume's edge, or farther.
  for (std::size_t d = 0; d < 3; ++d)
    target.header.origin[d] +=
        static_cast<double>(box.low[d]) * spacing[d] + (spacing[d] - file.spacing[d]) / 2;
  fs::path& path = target.path = options.output;
  if (fs::is_directory(path))
    path /= raw_file_name({file.dataset, box.shape(), target.dtype, file.outputs()});
  require_apart(path, file, "-o");
  for (const fs::path& written : files_written(path)) require_apart(written, file, "-o");
  require_writable(path.has_parent_path() ? path.parent_path() : ".", "-o");
  return target;
}

// This rank's slices; the seconds that it decoded.
double write_slices_of(const Field& field, const Target& target, const StoredField& file,
                       const Communicator& communicator, VolumeWriter& writer, Console& console) {
  const Shape shape = target.lattice.box.shape();
  const Range mine = slices_of(shape, communicator.rank(), communicator.size());
  if (mine.size() == 0) return 0;
  Lattice part = target.lattice;
  part.box.low[2] += mine.begin;
  part.box.high[2] = part.box.low[2] + mine.size();
  const VoxelForm form{target.dtype, file.ranges};
  return decode_slabs(field, part, false, &form, [&](const Slab& slab) {
    write_slab(writer, slab, shape, form, 0, mine.begin + slab.z, slab.count);
    console.status("slice " + std::to_string(slab.z + slab.count) + " of " +
                   std::to_string(mine.size()));
  });
}

void reconstruct(const ReconstructOptions& options) {
  Console console(Verbosity::normal);
  std::string said;
  std::unique_ptr<Backend> backend;
  const std::unique_ptr<Communicator> communicator =
      options.ranks.open(options.device, backend, &said);
  if (communicator->rank() != 0) console.silence();
  std::unique_ptr<StoredField> file;
  std::unique_ptr<Field> field;
  Target target;
  together(*communicator, [&] {
    file = std::make_unique<StoredField>(options.model);
    target = plan_target(options, *file, console);
    field = file->open(*backend, options.precision);
  });
  if (!said.empty()) console.say(said);
  const Shape shape = target.lattice.box.shape();
  VolumeWriter writer(*communicator, target.path, target.header);
  double seconds = 0;
  together(*communicator, [&] {
    seconds = write_slices_of(*field, target, *file, *communicator, writer, console);
  });
  writer.commit();
  communicator->maximum(&seconds, 1);
  console.clear_status();
  if (communicator->rank() != 0) return;
  const std::string numbers = file->outputs() > 1 ? std::to_string(file->outputs()) + " x " : "";
  std::cout << target.path.string() << ": " << numbers << text(shape) << " " << name(target.dtype)
            << ", decoded in " << fixed(seconds, 3) << " s ("
            << count(double(shape.count()) / seconds) << " voxels/s)\n";
}

}  // namespace

void attach_reconstruct(CLI::App& app) {
  const auto options = std::make_shared<ReconstructOptions>();
  add_option(app, "model", options->model, "FILE",
             "The model (.safetensors), or an ensemble (.ensemble.json)")
      ->required();
  add_option(app, "-o,--output", options->output, "FILE",
             "The file to write: .raw with an .nhdr beside it, .nhdr, .nrrd, .mhd, .mha, .vti or\n"
             ".nii (or a directory to name a raw file in); required")
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
  options->ranks.attach(app);
  app.footer(
      "Values are clamped to the volume's range and rounded to nearest. Memory stays within\n"
      "some slabs of slices, so any --size can be written. Of several processes (mpirun, srun) "
      "each\n"
      "writes its slices.\n"
      "\n"
      "Examples:\n"
      "  kanbench reconstruct nucleon_mlp_12_1a2b3c4d.safetensors -o nucleon.raw\n"
      "  kanbench reconstruct nucleon_mlp_12_1a2b3c4d.safetensors -o nucleon.vti\n"
      "  kanbench reconstruct model.safetensors -o big.raw --size 512x512x512 --dtype float32\n"
      "  kanbench reconstruct model.safetensors -o part.raw --size 512x512x512 "
      "--box 0:64,0:64,128:192");
  app.callback([options] { reconstruct(*options); });
}

}  // namespace kanbench
