// NRRD's header is lines "field: value" up to an empty one or, detached, to the file's end.

#include "io/nrrd.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <map>
#include <optional>

#include "decimal.h"
#include "io/body.h"
#include "io/quote.h"
#include "io/words.h"
#include "kanbench/error.h"
#include "mapping.h"

namespace kanbench {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxHeader = std::size_t{1} << 20;

struct NrrdHeader {
  std::string source;
  std::map<std::string, std::string> fields;
  /// Where the header ends; none where no empty line does.
  std::optional<std::uint64_t> end;

  std::optional<Entry> find(const std::string& key) const {
    const auto field = fields.find(key);
    if (field == fields.end()) return std::nullopt;
    return Entry{source, key, field->second};
  }
  Entry get(const std::string& key) const {
    if (const std::optional<Entry> entry = find(key)) return *entry;
    throw Error(source + ": its NRRD header has no '" + key + "'");
  }
};

// Spellings of one field.
std::string canonical(std::string key) {
  if (key == "datafile") return "data file";
  if (key == "lineskip") return "line skip";
  if (key == "byteskip") return "byte skip";
  return key;
}

NrrdHeader parse_header(const fs::path& path) {
  NrrdHeader header;
  header.source = path.string();
  const std::string text = start_of_file(path, kMaxHeader);
  if (text.substr(0, 7) != "NRRD000" || text.size() < 9 || text[7] < '1' || text[7] > '5' ||
      (text[8] != '\n' && text[8] != '\r'))
    throw Error(header.source + ": not NRRD: it begins with " + quote(text.substr(0, 8)) +
                ", not with NRRD0001 to NRRD0005");
  for (std::size_t at = text.find('\n') + 1; at > 0 && at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    const std::string_view line = trimmed(std::string_view(text).substr(at, end - at));
    at = end + 1;
    if (line.empty()) {
      if (end < text.size()) header.end = at;
      break;
    }
    const std::size_t colon = line.find(':');
    if (line[0] == '#' || line.substr(std::min(colon, line.size()), 2) == ":=") continue;
    if (colon == std::string_view::npos)
      throw Error(header.source + ": NRRD header: " + quote(line) + " is no 'field: value'");
    header.fields[canonical(lower(trimmed(line.substr(0, colon))))] =
        trimmed(line.substr(colon + 1));
  }
  return header;
}

Dtype dtype_of(const Entry& type) {
  static const std::map<std::string, Dtype> names = {{"signed char", Dtype::int8},
                                                     {"int8_t", Dtype::int8},
                                                     {"uchar", Dtype::uint8},
                                                     {"unsigned char", Dtype::uint8},
                                                     {"uint8_t", Dtype::uint8},
                                                     {"short", Dtype::int16},
                                                     {"short int", Dtype::int16},
                                                     {"signed short", Dtype::int16},
                                                     {"signed short int", Dtype::int16},
                                                     {"int16_t", Dtype::int16},
                                                     {"ushort", Dtype::uint16},
                                                     {"unsigned short", Dtype::uint16},
                                                     {"unsigned short int", Dtype::uint16},
                                                     {"uint16_t", Dtype::uint16},
                                                     {"int", Dtype::int32},
                                                     {"signed int", Dtype::int32},
                                                     {"int32_t", Dtype::int32},
                                                     {"uint", Dtype::uint32},
                                                     {"unsigned int", Dtype::uint32},
                                                     {"uint32_t", Dtype::uint32},
                                                     {"longlong", Dtype::int64},
                                                     {"long long", Dtype::int64},
                                                     {"long long int", Dtype::int64},
                                                     {"signed long long", Dtype::int64},
                                                     {"signed long long int", Dtype::int64},
                                                     {"int64_t", Dtype::int64},
                                                     {"ulonglong", Dtype::uint64},
                                                     {"unsigned long long", Dtype::uint64},
                                                     {"unsigned long long int", Dtype::uint64},
                                                     {"uint64_t", Dtype::uint64},
                                                     {"float", Dtype::float32},
                                                     {"double", Dtype::float64}};
  const std::string word = lower(type.value);
  if (const auto found = names.find(word); found != names.end()) return found->second;
  Dtype dtype;
  if (word.size() > 2 && parse_dtype(word, dtype)) return dtype;
  type.refuse("a type of numbers: uchar, short, int, float, double and the like are");
}

// "(1,0,0) none (0,1,0)": a vector an axis, empty for none.
std::vector<std::vector<double>> vectors(const Entry& entry) {
  std::vector<std::vector<double>> all;
  std::string_view rest = trimmed(entry.value);
  while (!rest.empty()) {
    all.emplace_back();
    if (lower(rest.substr(0, 4)) == "none") {
      rest = trimmed(rest.substr(4));
      continue;
    }
    const std::size_t end = rest.find(')');
    if (rest[0] != '(' || end == std::string_view::npos) entry.refuse("vectors like (1,0,0)");
    std::string inside(rest.substr(1, end - 1));
    std::replace(inside.begin(), inside.end(), ',', ' ');
    all.back() = Entry{entry.source, entry.key, inside}.reals();
    rest = trimmed(rest.substr(end + 1));
  }
  return all;
}

// Which axis is that of components: none, the first or the last.
std::optional<std::size_t> component_axis(const NrrdHeader& header, std::size_t axes) {
  std::vector<std::size_t> found;
  if (const auto kinds = header.find("kinds")) {
    const auto words = words_of(kinds->value);
    if (words.size() != axes) kinds->refuse(std::to_string(axes) + " kinds, one an axis");
    for (std::size_t a = 0; a < axes; ++a)
      if (const std::string kind = lower(words[a]);
          kind != "domain" && kind != "space" && kind != "time" && kind != "none" && kind != "???")
        found.push_back(a);
  } else if (const auto directions = header.find("space directions")) {
    const auto each = vectors(*directions);
    for (std::size_t a = 0; a < std::min(axes, each.size()); ++a)
      if (each[a].empty()) found.push_back(a);
  }
  if (found.empty()) return std::nullopt;
  if (found.size() > 1 || (found[0] != 0 && found[0] != axes - 1))
    throw Error(header.source +
                ": kinds: one axis, the first or the last, may hold a voxel's components");
  return found[0];
}

void take_sizes(const NrrdHeader& header, VolumeHeader& volume, Body& body,
                std::optional<std::size_t>& components) {
  const std::int64_t axes = header.get("dimension").whole(1, 16);
  const Entry entry = header.get("sizes");
  std::vector<std::int64_t> sizes = entry.wholes(static_cast<std::size_t>(axes));
  const std::string what = entry.source + ": sizes: " + quote(entry.value);
  components = component_axis(header, sizes.size());
  if (components) {
    set_components(volume, sizes[*components], what);
    body.interleaved = *components == 0;
    sizes.erase(sizes.begin() + static_cast<std::ptrdiff_t>(*components));
  }
  while (sizes.size() > 3 && sizes.back() == 1) sizes.pop_back();
  if (sizes.size() != 2 && sizes.size() != 3)
    entry.refuse(
        "the sizes of a volume: 2 or 3 axes, and one of components whose `kinds` says "
        "vector, can be read");
  volume.shape = require_shape(sizes, what);
}

void take_place(const NrrdHeader& header, std::optional<std::size_t> components,
                VolumeHeader& volume) {
  std::vector<double> lengths;
  if (const auto directions = header.find("space directions")) {
    for (const std::vector<double>& vector : vectors(*directions)) {
      double square = 0;
      for (const double part : vector) square += part * part;
      lengths.push_back(std::sqrt(square));
    }
  } else if (const auto spacings = header.find("spacings")) {
    lengths = spacings->reals();
  }
  if (components && *components < lengths.size())
    lengths.erase(lengths.begin() + static_cast<std::ptrdiff_t>(*components));
  for (std::size_t d = 0; d < std::min<std::size_t>(3, lengths.size()); ++d)
    volume.spacing[d] = spacing_of(lengths[d]);
  const auto origin = header.find("space origin");
  if (!origin) return;
  const auto place = vectors(*origin);
  if (place.size() != 1) origin->refuse("one vector like (0,0,0)");
  for (std::size_t d = 0; d < std::min<std::size_t>(3, place[0].size()); ++d)
    volume.origin[d] = std::isfinite(place[0][d]) ? place[0][d] : 0;
}

// Past so many lines from `offset` on.
std::uint64_t skip_lines(const Body& body, std::int64_t lines, const Entry& entry) {
  const std::uint64_t size = size_of_file(body.file, entry.source);
  const auto memory = map_file(body.file, size);
  const char* const bytes = static_cast<const char*>(memory.get());
  const char* at = bytes + std::min(size, body.offset);
  for (; lines > 0; --lines) {
    at = std::find(at, bytes + size, '\n');
    if (at == bytes + size) entry.refuse("a number of lines that the data file has");
    ++at;
  }
  return static_cast<std::uint64_t>(at - bytes);
}

void take_skips(const NrrdHeader& header, const VolumeHeader& volume, Body& body) {
  constexpr std::int64_t most = std::numeric_limits<std::int64_t>::max();
  if (const auto lines = header.find("line skip"))
    if (const std::int64_t count = lines->whole(0, most); count > 0)
      body.offset = skip_lines(body, count, *lines);
  const auto bytes = header.find("byte skip");
  if (!bytes) return;
  const std::int64_t count = bytes->whole(-1, most);
  if (body.compressed) {
    if (count < 0) bytes->refuse("a number from 0 up, which compressed data need");
    body.skip = static_cast<std::uint64_t>(count);
    return;
  }
  const std::uint64_t size = size_of_file(body.file, header.source);
  const std::uint64_t wanted = bytes_of(volume);
  if (count < 0)
    body.offset = size - std::min(size, wanted);
  else if (static_cast<std::uint64_t>(count) > size - std::min(size, body.offset))
    bytes->refuse("a number of bytes that " + body.file.string() + " has");
  else
    body.offset += static_cast<std::uint64_t>(count);
}

Body plan_body(const NrrdHeader& header, const fs::path& path, const VolumeHeader& volume) {
  Body body;
  if (const auto data = header.find("data file")) {
    const std::string& name = data->value;
    if (name.empty() || lower(words_of(name)[0]) == "list" || name.find('%') != std::string::npos)
      data->refuse("the name of one file: lists of files are not read");
    body.file = path.parent_path() / name;
    size_of_file(body.file, header.source + ": data file");
  } else {
    if (!header.end)
      throw Error(header.source + ": its NRRD header names no data file and no empty line ends it");
    body.file = path;
    body.offset = *header.end;
  }
  const Entry encoding = header.get("encoding");
  const std::string word = lower(encoding.value);
  body.compressed = word == "gzip" || word == "gz";
  if (word != "raw" && !body.compressed) encoding.refuse("raw or gzip, which can be read");
  if (size_of(volume.dtype) > 1) {
    const Entry endian = header.get("endian");
    const std::string order = lower(endian.value);
    if (order != "little" && order != "big") endian.refuse("little or big");
    body.swapped = order == "big";
  }
  return body;
}

const char* nrrd_type(Dtype dtype) {
  if (dtype == Dtype::float32) return "float";
  if (dtype == Dtype::float64) return "double";
  return name(dtype);
}

// A place needs NRRD's `space` fields, and so does an axis without one, that of components, which
// stands first for VTK's sake; a volume that starts at 0 does with plain spacings.
std::string nrrd_place(const VolumeHeader& header) {
  const auto& [spacing, origin] = std::pair(header.spacing, header.origin);
  const std::string x = decimal(spacing[0]), y = decimal(spacing[1]), z = decimal(spacing[2]);
  const bool several = header.components > 1;
  if (!several && origin == std::array<double, 3>{}) return "spacings: " + x + " " + y + " " + z;
  return std::string("space dimension: 3\nspace directions: ") + (several ? "none " : "") + "(" +
         x + ",0,0) (0," + y + ",0) (0,0," + z + ")\nspace origin: (" + decimal(origin[0]) + "," +
         decimal(origin[1]) + "," + decimal(origin[2]) + ")";
}

std::string nrrd_header(const VolumeHeader& header) {
  const bool several = header.components > 1;
  const Shape& shape = header.shape;
  return "NRRD0004\ntype: " + std::string(nrrd_type(header.dtype)) +
         "\ndimension: " + (several ? "4" : "3") +
         "\nsizes: " + (several ? std::to_string(header.components) + " " : "") +
         std::to_string(shape.x) + " " + std::to_string(shape.y) + " " + std::to_string(shape.z) +
         "\n" + nrrd_place(header) + (several ? "\nkinds: vector domain domain domain" : "") +
         "\nendian: little\nencoding: raw\n";
}

}  // namespace

StoredVolume read_nrrd(const fs::path& path, const std::string&) {
  const NrrdHeader header = parse_header(path);
  StoredVolume volume;
  volume.header.dtype = dtype_of(header.get("type"));
  Body body;
  std::optional<std::size_t> components;
  take_sizes(header, volume.header, body, components);
  take_place(header, components, volume.header);
  const bool interleaved = body.interleaved;
  body = plan_body(header, path, volume.header);
  body.interleaved = interleaved;
  take_skips(header, volume.header, body);
  volume.voxels = read_body(volume.header, body, name_of(body, path));
  return volume;
}

std::vector<fs::path> nrrd_files(const fs::path& path) {
  const auto data = parse_header(path).find("data file");
  return data ? std::vector<fs::path>{data->value} : std::vector<fs::path>{};
}

WrittenForm nrrd_attached(const fs::path& path, const VolumeHeader& header) {
  WrittenForm form{path, nrrd_header(header), {}, {}, {}, header.components > 1};
  // Voxels begin where any type of theirs may.
  const std::size_t ends = form.before.size() + 3;
  form.before += "#" + std::string((8 - ends % 8) % 8, ' ') + "\n\n";
  return form;
}

WrittenForm nrrd_detached(const fs::path& path, const VolumeHeader& header) {
  const fs::path body = fs::path(path).replace_extension(".raw");
  return {body,
          {},
          {},
          fs::path(path).replace_extension(".nhdr"),
          nrrd_header(header) + "data file: " + body.filename().string() + "\n",
          header.components > 1};
}

}  // namespace kanbench
