// Raw volumes: x fastest, little-endian, everything else in the file's name.

#include "io/raw.h"

#include <algorithm>
#include <bit>
#include <optional>
#include <vector>

#include "decimal.h"
#include "kanbench/error.h"
#include "kanbench/file.h"
#include "kanbench/io.h"
#include "kanbench/math/voxels.h"
#include "kanbench/parallel.h"
#include "mapping.h"

namespace kanbench {
namespace {

static_assert(std::endian::native == std::endian::little, "raw volumes are mapped as they are");

constexpr const char* kForm = "a raw volume is named name_XxYxZ_dtype.raw";

const char* nrrd_type(Dtype dtype) {
  if (dtype == Dtype::float32) return "float";
  if (dtype == Dtype::float64) return "double";
  return name(dtype);
}

// A place needs NRRD's `space` fields; a volume that starts at 0 does with plain spacings.
std::string nrrd_place(const std::array<double, 3>& spacing, const std::array<double, 3>& origin) {
  const std::string x = decimal(spacing[0]), y = decimal(spacing[1]), z = decimal(spacing[2]);
  if (origin == std::array<double, 3>{}) return "spacings: " + x + " " + y + " " + z;
  return "space dimension: 3\nspace directions: (" + x + ",0,0) (0," + y + ",0) (0,0," + z +
         ")\nspace origin: (" + decimal(origin[0]) + "," + decimal(origin[1]) + "," +
         decimal(origin[2]) + ")";
}

std::string nrrd_header(const std::string& data_file, const Shape& shape, Dtype dtype,
                        const std::string& place) {
  return "NRRD0004\ntype: " + std::string(nrrd_type(dtype)) +
         "\ndimension: 3\nsizes: " + std::to_string(shape.x) + " " + std::to_string(shape.y) + " " +
         std::to_string(shape.z) + "\n" + place +
         "\nendian: little\nencoding: raw\ndata file: " + data_file + "\n";
}

}  // namespace

bool is_raw(const std::filesystem::path& path) { return path.extension() == ".raw"; }

RawName parse_raw_name(const std::filesystem::path& path) {
  const std::string source = path.string(), stem = path.stem().string();
  if (!is_raw(path)) throw Error(source + ": not named *.raw: " + kForm);
  const std::size_t second = stem.rfind('_');
  const std::size_t first =
      second == std::string::npos || second == 0 ? std::string::npos : stem.rfind('_', second - 1);
  if (first == std::string::npos || first == 0)
    throw Error(source + ": its name lacks a part: " + kForm + ", like nucleon_41x41x41_uint8.raw");
  RawName parts;
  parts.name = stem.substr(0, first);
  const std::string word = stem.substr(second + 1);
  if (!parse_dtype(word, parts.dtype))
    throw Error(source + ": unknown dtype '" + word + "' in its name: known are " + dtype_names());
  parts.shape = parse_shape(stem.substr(first + 1, second - first - 1), source);
  return parts;
}

std::string raw_file_name(const RawName& parts) {
  return parts.name + "_" + text(parts.shape) + "_" + name(parts.dtype) + ".raw";
}

std::string raw_dataset(const std::filesystem::path& path) {
  try {
    return parse_raw_name(path).name;
  } catch (const Error&) {
    return "";
  }
}

Volume read_raw(const std::filesystem::path& path, Communicator& communicator) {
  RawName parts;
  std::shared_ptr<const void> voxels;
  together(communicator, [&] {
    parts = parse_raw_name(path);
    const std::size_t expected =
        static_cast<std::size_t>(parts.shape.count()) * size_of(parts.dtype);
    std::error_code failure;
    const std::uintmax_t found = std::filesystem::file_size(path, failure);
    if (failure) throw Error(path.string() + ": cannot be read: " + failure.message());
    if (found != expected)
      throw Error(path.string() + ": expected " + std::to_string(expected) + " bytes (" +
                  text(parts.shape) + " " + name(parts.dtype) + "), found " +
                  std::to_string(found));
    voxels = map_file(path, expected);
  });
  return {parts.name, parts.shape, parts.dtype, std::move(voxels), path.string(), communicator};
}

struct RawWriter::State {
  Communicator& communicator;
  std::filesystem::path path;
  Shape shape;
  Dtype dtype;
  std::string place;
  std::unique_ptr<ParallelFile> file;
  // Voxels that this rank has written.
  std::int64_t written = 0;

  std::int64_t written_by_all() const {
    std::vector<std::int64_t> each(static_cast<std::size_t>(communicator.size()));
    communicator.all_gather(&written, sizeof written, each.data());
    std::int64_t all = 0;
    for (const std::int64_t count : each) all += count;
    return all;
  }
};

RawWriter::RawWriter(Communicator& communicator, std::filesystem::path path, Shape shape,
                     Dtype dtype, std::array<double, 3> spacing, std::array<double, 3> origin)
    : state_(new State{communicator, path, shape, dtype, nrrd_place(spacing, origin),
                       communicator.create_file(
                           path, shape.count() * static_cast<std::int64_t>(size_of(dtype)))}) {}
RawWriter::~RawWriter() = default;
RawWriter::RawWriter(RawWriter&&) noexcept = default;

void RawWriter::write(std::int64_t first, std::int64_t count, const void* voxels) {
  State& s = *state_;
  const std::int64_t all = s.shape.count();
  check(first >= 0 && count >= 0 && first <= all && count <= all - std::max(first, s.written),
        "more voxels than the raw file has");
  const auto size = static_cast<std::int64_t>(size_of(s.dtype));
  s.file->write(first * size, voxels, static_cast<std::size_t>(count * size));
  s.written += count;
}

void RawWriter::commit() {
  State& s = *state_;
  check(s.written_by_all() == s.shape.count(), "fewer voxels than the raw file has");
  std::optional<AtomicFile> header;
  together(s.communicator, [&] {
    if (s.communicator.rank() != 0) return;
    std::filesystem::path sidecar = s.path;
    header.emplace(sidecar.replace_extension(".nhdr"));
    header->write(nrrd_header(s.path.filename().string(), s.shape, s.dtype, s.place));
  });
  s.file->commit();
  together(s.communicator, [&] {
    if (header) header->commit();
  });
}

void denormalise(const float* values, std::int64_t count, double low, double high, Dtype dtype,
                 void* out) {
  constexpr std::int64_t chunk = 1 << 16;
  visit(dtype, [&](auto voxel) {
    using T = decltype(voxel);
    T* voxels = static_cast<T*>(out);
    parallel((count + chunk - 1) / chunk, [&](std::int64_t c) {
      const std::int64_t end = std::min(count, (c + 1) * chunk);
      for (std::int64_t i = c * chunk; i < end; ++i)
        voxels[i] = to_voxel<T>(low + static_cast<double>(values[i]) * (high - low));
    });
  });
}

}  // namespace kanbench
