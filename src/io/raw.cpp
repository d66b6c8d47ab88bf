// Raw volumes: x fastest, little-endian, everything else in the file's name.

#include "io/raw.h"

#include <algorithm>
#include <bit>
#include <charconv>

#include "io/body.h"
#include "io/quote.h"
#include "io/words.h"
#include "kanbench/error.h"
#include "kanbench/io.h"
#include "kanbench/math/voxels.h"
#include "kanbench/parallel.h"
#include "mapping.h"

namespace kanbench {
namespace {

static_assert(std::endian::native == std::endian::little, "raw volumes are mapped as they are");

constexpr const char* kForm =
    "a raw volume is named name_XxYxZ_dtype.raw, or name_CxXxYxZ_dtype.raw where a voxel has C "
    "numbers";

int parse_components(const std::string& word, const std::string& source) {
  int components = 0;
  const auto [end, failure] = std::from_chars(word.data(), word.data() + word.size(), components);
  if (failure != std::errc{} || end != word.data() + word.size() || components < 2 ||
      components > kMostComponents)
    throw Error(source + ": " + quote(word) + " numbers a voxel: CxXxYxZ with C from 2 to " +
                std::to_string(kMostComponents) + " is possible");
  return components;
}

}  // namespace

RawName parse_raw_name(const std::filesystem::path& path) {
  const std::string source = path.string(), stem = path.stem().string();
  if (lower(path.extension().string()) != ".raw")
    throw Error(source + ": not named *.raw: " + kForm);
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
  const std::string size = stem.substr(first + 1, second - first - 1);
  const bool several = std::count(size.begin(), size.end(), 'x') == 3;
  if (several) parts.components = parse_components(size.substr(0, size.find('x')), source);
  parts.shape = parse_shape(several ? size.substr(size.find('x') + 1) : size, source);
  require_countable(parts.shape, parts.components, source);
  return parts;
}

std::string raw_file_name(const RawName& parts) {
  const std::string first = parts.components > 1 ? std::to_string(parts.components) + "x" : "";
  return parts.name + "_" + first + text(parts.shape) + "_" + name(parts.dtype) + ".raw";
}

StoredVolume read_raw(const std::filesystem::path& path, const std::string&) {
  const RawName parts = parse_raw_name(path);
  StoredVolume volume;
  volume.header.shape = parts.shape;
  volume.header.dtype = parts.dtype;
  volume.header.components = parts.components;
  const std::uint64_t expected = bytes_of(volume.header);
  const std::uint64_t found = size_of_file(path, path.string());
  if (found != expected)
    throw Error(path.string() + ": expected " + std::to_string(expected) + " bytes (" +
                (parts.components > 1 ? std::to_string(parts.components) + " x " : "") +
                text(parts.shape) + " " + name(parts.dtype) + "), found " + std::to_string(found));
  Body body;
  body.file = path;
  body.interleaved = true;
  volume.voxels = read_body(volume.header, body, path.string());
  return volume;
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
