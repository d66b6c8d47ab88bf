// MetaImage's header is lines "Key = value"; the last, ElementDataFile, says where the voxels are.

#include "io/metaimage.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <optional>

#include "decimal.h"
#include "io/body.h"
#include "io/quote.h"
#include "io/words.h"
#include "kanbench/error.h"

namespace kanbench {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxHeader = std::size_t{1} << 20;

struct MetaHeader {
  std::string source;
  std::map<std::string, std::string> fields;
  std::uint64_t end = 0;

  std::optional<Entry> find(std::initializer_list<const char*> keys) const {
    for (const char* key : keys)
      if (const auto field = fields.find(key); field != fields.end())
        return Entry{source, key, field->second};
    return std::nullopt;
  }
  Entry get(std::initializer_list<const char*> keys) const {
    if (const std::optional<Entry> entry = find(keys)) return *entry;
    throw Error(source + ": its MetaImage header has no " + *keys.begin());
  }
  bool flag(std::initializer_list<const char*> keys) const {
    const auto entry = find(keys);
    return entry && entry->flag();
  }
};

MetaHeader parse_header(const fs::path& path) {
  MetaHeader header;
  header.source = path.string();
  const std::string text = start_of_file(path, kMaxHeader);
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    const std::string_view line = trimmed(std::string_view(text).substr(at, end - at));
    at = std::min(end + 1, text.size());
    if (line.empty()) continue;
    const std::size_t equals = line.find('=');
    if (equals == std::string_view::npos)
      throw Error(header.source + ": not MetaImage: " + quote(line) + " is no 'Key = value'");
    const std::string key(trimmed(line.substr(0, equals)));
    header.fields[key] = trimmed(line.substr(equals + 1));
    header.end = at;
    if (key == "ElementDataFile") return header;
  }
  throw Error(header.source + ": not MetaImage, or cut short: no line says ElementDataFile");
}

struct MetaType {
  const char* name;
  Dtype dtype;
};

// The first name of a type is the one that is written.
constexpr MetaType kTypes[] = {
    {"MET_UCHAR", Dtype::uint8},       {"MET_CHAR", Dtype::int8},
    {"MET_USHORT", Dtype::uint16},     {"MET_SHORT", Dtype::int16},
    {"MET_UINT", Dtype::uint32},       {"MET_INT", Dtype::int32},
    {"MET_ULONG_LONG", Dtype::uint64}, {"MET_LONG_LONG", Dtype::int64},
    {"MET_FLOAT", Dtype::float32},     {"MET_DOUBLE", Dtype::float64},
    {"MET_ULONG", Dtype::uint32},      {"MET_LONG", Dtype::int32},
};

Dtype dtype_of(const Entry& type) {
  for (const MetaType& known : kTypes)
    if (type.value == known.name) return known.dtype;
  type.refuse("a type of numbers: MET_UCHAR, MET_SHORT, MET_FLOAT and the like are");
}

void take_shape(const MetaHeader& header, VolumeHeader& volume) {
  const auto axes = static_cast<std::size_t>(header.get({"NDims"}).whole(1, 16));
  const Entry size = header.get({"DimSize"});
  std::vector<std::int64_t> sizes = size.wholes(axes);
  while (sizes.size() > 3 && sizes.back() == 1) sizes.pop_back();
  if (sizes.size() != 2 && sizes.size() != 3) size.refuse("the size of a volume, 2 or 3 axes");
  volume.shape = require_shape(sizes, size.source + ": DimSize: " + quote(size.value));
  if (const auto channels = header.find({"ElementNumberOfChannels"}))
    set_components(volume, channels->whole(1, std::numeric_limits<std::int64_t>::max()),
                   header.source + ": ElementNumberOfChannels");
  if (const auto spacing = header.find({"ElementSpacing", "ElementSize"})) {
    const std::vector<double> lengths = spacing->reals(axes);
    for (std::size_t d = 0; d < std::min<std::size_t>(3, axes); ++d)
      volume.spacing[d] = spacing_of(lengths[d]);
  }
  if (const auto origin = header.find({"Offset", "Position", "Origin"})) {
    const std::vector<double> place = origin->reals(axes);
    for (std::size_t d = 0; d < std::min<std::size_t>(3, axes); ++d)
      volume.origin[d] = std::isfinite(place[d]) ? place[d] : 0;
  }
}

bool is_local(const std::string& file) { return lower(file) == "local"; }

Body plan_body(const MetaHeader& header, const fs::path& path, const VolumeHeader& volume) {
  const Entry data = header.get({"ElementDataFile"});
  Body body{path, header.end, false, 0, false, true};
  if (!is_local(data.value)) {
    if (data.value.empty() || words_of(data.value)[0] == "LIST" ||
        data.value.find('%') != std::string::npos)
      data.refuse("LOCAL or the name of one file: lists of files are not read");
    body.file = path.parent_path() / data.value;
    body.offset = 0;
  }
  const std::uint64_t size = size_of_file(body.file, header.source + ": ElementDataFile");
  if (const auto binary = header.find({"BinaryData"}); binary && !binary->flag())
    binary->refuse("True: voxels as text are not read");
  body.swapped = header.flag({"BinaryDataByteOrderMSB", "ElementByteOrderMSB"});
  body.compressed = header.flag({"CompressedData"});
  const auto skip = header.find({"HeaderSize"});
  if (!skip) return body;
  const std::int64_t bytes = skip->whole(-1, std::numeric_limits<std::int64_t>::max());
  if (bytes == -1 && body.compressed)
    skip->refuse("a number from 0 up, which compressed data need");
  if (bytes == -1)
    body.offset = size - std::min(size, bytes_of(volume));
  else if (static_cast<std::uint64_t>(bytes) > size - std::min(size, body.offset))
    skip->refuse("a number of bytes that " + body.file.string() + " has");
  else
    body.offset += static_cast<std::uint64_t>(bytes);
  return body;
}

std::string three(const std::array<double, 3>& numbers) {
  return decimal(numbers[0]) + " " + decimal(numbers[1]) + " " + decimal(numbers[2]);
}

std::string metaimage_header(const VolumeHeader& header) {
  const char* type = "";
  for (const MetaType& known : kTypes)
    if (known.dtype == header.dtype && !*type) type = known.name;
  const Shape& shape = header.shape;
  const std::string channels =
      header.components > 1
          ? "ElementNumberOfChannels = " + std::to_string(header.components) + "\n"
          : "";
  return "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\n"
         "CompressedData = False\nTransformMatrix = 1 0 0 0 1 0 0 0 1\nOffset = " +
         three(header.origin) + "\nElementSpacing = " + three(header.spacing) +
         "\nDimSize = " + std::to_string(shape.x) + " " + std::to_string(shape.y) + " " +
         std::to_string(shape.z) + "\n" + channels + "ElementType = " + type + "\n";
}

}  // namespace

StoredVolume read_metaimage(const fs::path& path, const std::string&) {
  const MetaHeader header = parse_header(path);
  if (const auto object = header.find({"ObjectType"}); object && object->value != "Image")
    object->refuse("Image");
  StoredVolume volume;
  volume.header.dtype = dtype_of(header.get({"ElementType"}));
  take_shape(header, volume.header);
  const Body body = plan_body(header, path, volume.header);
  volume.voxels = read_body(volume.header, body, name_of(body, path));
  return volume;
}

std::vector<fs::path> metaimage_files(const fs::path& path) {
  const std::string data = parse_header(path).get({"ElementDataFile"}).value;
  return is_local(data) ? std::vector<fs::path>{} : std::vector<fs::path>{data};
}

WrittenForm metaimage_attached(const fs::path& path, const VolumeHeader& header) {
  // Voxels begin where any type of theirs may.
  const std::string fields = metaimage_header(header), comment = "Comment = kanbench";
  const std::string last = "ElementDataFile = LOCAL\n";
  const std::size_t ends = fields.size() + comment.size() + 1 + last.size();
  return {path, fields + comment + std::string((8 - ends % 8) % 8, '.') + "\n" + last, {}, {}, {},
          true};
}

WrittenForm metaimage_detached(const fs::path& path, const VolumeHeader& header) {
  const fs::path body = fs::path(path).replace_extension(".raw");
  return {body,
          {},
          {},
          path,
          metaimage_header(header) + "ElementDataFile = " + body.filename().string() + "\n",
          true};
}

}  // namespace kanbench
