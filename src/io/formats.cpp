// The table of file formats, and what a path says by itself.

#include <algorithm>
#include <array>

#include "io/hdf5.h"
#include "io/metaimage.h"
#include "io/netcdf.h"
#include "io/nifti.h"
#include "io/nrrd.h"
#include "io/quote.h"
#include "io/raw.h"
#include "io/vti.h"
#include "io/words.h"
#include "kanbench/error.h"
#include "kanbench/io.h"
#include "missing.h"

namespace kanbench {
namespace {

namespace fs = std::filesystem;

// Headers stand before the raw files that they describe.
constexpr std::array<Format, 10> kFormats{{
    {"NRRD", "*.nhdr", {".nhdr"}, false, read_nrrd, nrrd_files, nrrd_detached},
    {"NRRD", "*.nrrd", {".nrrd"}, false, read_nrrd, nrrd_files, nrrd_attached},
    {"MetaImage", "*.mhd", {".mhd"}, false, read_metaimage, metaimage_files, metaimage_detached},
    {"MetaImage", "*.mha", {".mha"}, false, read_metaimage, metaimage_files, metaimage_attached},
    {"raw", "name_XxYxZ_dtype.raw", {".raw"}, false, read_raw, nullptr, nrrd_detached},
    {"VTK", "*.vti", {".vti"}, true, read_vti, nullptr, vti_form},
    {"NIfTI", "*.nii", {".nii"}, false, read_nifti, nullptr, nifti_form},
    {"NIfTI", "*.nii.gz", {".nii.gz"}, false, read_nifti, nullptr, nullptr},
    {"NetCDF", "*.nc", {".nc", ".nc4", ".cdf", ".netcdf"}, true, read_netcdf, nullptr, nullptr},
    {"HDF5", "*.h5", {".h5", ".hdf5", ".hdf", ".he5"}, true, read_hdf5, nullptr, nullptr},
}};

const Format* find_format(const fs::path& path) {
  for (const Format& format : kFormats)
    if (is_of(format, path)) return &format;
  return nullptr;
}

// The file's name without what its format adds.
std::string stem_of(const fs::path& file) {
  const std::string name = file.filename().string();
  const Format* format = find_format(file);
  if (!format) return file.stem().string();
  for (const char* ending : format->endings)
    if (ending && lower(name).ends_with(ending))
      return name.substr(0, name.size() - std::string_view(ending).size());
  return name;
}

// Letters, digits and dots, with one '-' for anything between.
std::string plain(const std::string& variable) {
  constexpr std::size_t most = 64;
  std::string text;
  for (const char c : variable.substr(0, most)) {
    const bool kept = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                      c == '.' || c == '_';
    if (kept)
      text += c;
    else if (!text.empty() && text.back() != '-')
      text += '-';
  }
  while (!text.empty() && text.back() == '-') text.pop_back();
  return text;
}

StoredVolume read_volume(const VolumePath& path, const std::string& source) {
  std::error_code failure;
  if (!fs::exists(path.file, failure))
    throw Error(source + ": no such file" + (failure ? " (" + failure.message() + ")" : ""));
  if (!fs::is_regular_file(path.file, failure)) throw Error(source + ": not a file");
  const Format* format = find_format(path.file);
  if (!format) {
    std::vector<std::string> patterns;
    for (const Format& known : kFormats) patterns.push_back(known.pattern);
    throw Error(source + ": not a volume by its name: volumes are " + join(patterns));
  }
  if (!path.variable.empty() && !format->several)
    throw Error(source + ": a " + format->name + " file holds one volume: leave out " +
                quote(":" + path.variable));
  return format->read(path.file, path.variable);
}

}  // namespace

std::span<const Format> formats() { return kFormats; }

bool is_of(const Format& format, const fs::path& path) {
  const std::string name = lower(path.filename().string());
  for (const char* ending : format.endings)
    if (ending && name.ends_with(ending) && name.size() > std::string_view(ending).size())
      return true;
  return false;
}

VolumePath split_volume_path(const fs::path& path) {
  const std::string text = path.string();
  std::error_code ignored;
  if (fs::is_regular_file(path, ignored)) return {path, ""};
  for (std::size_t colon = text.find(':'); colon != std::string::npos;
       colon = text.find(':', colon + 1))
    if (find_format(text.substr(0, colon))) return {text.substr(0, colon), text.substr(colon + 1)};
  return {path, ""};
}

std::string dataset_name(const fs::path& path) {
  const VolumePath volume = split_volume_path(path);
  const std::string stem = stem_of(volume.file), variable = plain(volume.variable);
  if (!variable.empty()) return stem + "_" + variable;
  try {
    // Headers are named as the raw file beside them.
    return parse_raw_name(stem + ".raw").name;
  } catch (const Error&) {
    return stem;
  }
}

std::vector<fs::path> data_files(const fs::path& path) {
  const fs::path file = split_volume_path(path).file;
  const Format* format = find_format(file);
  return format && format->files ? format->files(file) : std::vector<fs::path>{};
}

Volume open_volume(const fs::path& path, Communicator& communicator, const Missing& missing) {
  const std::string source = path.string();
  StoredVolume stored;
  std::int64_t filled = 0;
  together(communicator, [&] {
    stored = read_volume(split_volume_path(path), source);
    // Without marks of its own a volume that may miss nothing is looked at once, by all together.
    if (missing.rule != Missing::Rule::error || !stored.fills.empty())
      filled = fill_missing(stored, missing, source);
  });
  const VolumeHeader& header = stored.header;
  Volume volume(dataset_name(path), header.shape, header.dtype, std::move(stored.voxels), source,
                communicator, header.components);
  volume.spacing = header.spacing;
  volume.origin = header.origin;
  if (filled > 0) volume.filled = text(missing);
  return volume;
}

Volume open_volume(const fs::path& path, const Missing& missing) {
  return open_volume(path, *open_single(), missing);
}

}  // namespace kanbench
