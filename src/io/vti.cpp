// ImageData's arrays, in all the ways that VTK's writers store them.

#include "io/vti.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <limits>
#include <optional>

#include "decimal.h"
#include "io/base64.h"
#include "io/body.h"
#include "io/inflate.h"
#include "io/quote.h"
#include "io/variables.h"
#include "io/vti_header.h"
#include "io/words.h"
#include "kanbench/error.h"
#include "mapping.h"

namespace kanbench {
namespace {

namespace fs = std::filesystem;

constexpr std::pair<const char*, Dtype> kTypes[] = {
    {"UInt8", Dtype::uint8},    {"Int8", Dtype::int8},     {"UInt16", Dtype::uint16},
    {"Int16", Dtype::int16},    {"UInt32", Dtype::uint32}, {"Int32", Dtype::int32},
    {"UInt64", Dtype::uint64},  {"Int64", Dtype::int64},   {"Float32", Dtype::float32},
    {"Float64", Dtype::float64}};

std::optional<Dtype> dtype_of(const std::string& type) {
  for (const auto& [name, dtype] : kTypes)
    if (type == name) return dtype;
  return std::nullopt;
}

const char* vti_type(Dtype dtype) {
  for (const auto& [name, its] : kTypes)
    if (its == dtype) return name;
  check(false, "a type that VTK lacks");
  return "";
}

// The bytes of one array, however they are written.
class ArrayBytes {
 public:
  ArrayBytes(std::span<const std::byte> raw) : raw_(raw), base64_({}), is_raw_(true) {}
  ArrayBytes(std::string_view text) : base64_(text), left_(text.size() / 4 * 3), is_raw_(false) {}

  void read(std::span<std::byte> out, const std::string& what) {
    std::size_t got = 0;
    if (is_raw_) {
      got = std::min(out.size(), raw_.size());
      if (got > 0) std::memcpy(out.data(), raw_.data(), got);
      raw_ = raw_.subspan(got);
    } else {
      got = base64_.read(out);
      left_ -= std::min(left_, got);
    }
    if (got < out.size())
      throw Error(what + ": its data end after " + std::to_string(got) + " of " +
                  std::to_string(out.size()) + " bytes: the file is cut short or damaged");
  }
  /// No more are left than these.
  std::uint64_t left() const { return is_raw_ ? raw_.size() : left_; }

 private:
  std::span<const std::byte> raw_;
  Base64Reader base64_;
  std::uint64_t left_ = 0;
  bool is_raw_;
};

class VtiFile {
 public:
  explicit VtiFile(const fs::path& path) : path_(path), source_(path.string()) {
    const std::uint64_t size = size_of_file(path, source_);
    if (size == 0) throw Error(source_ + ": is empty");
    mapped_ = map_file(path, size);
    bytes_ = {static_cast<const char*>(mapped_.get()), size};
    header_ = parse_vti(bytes_, {}, source_);
    for (std::size_t i = 0; i < header_.arrays.size(); ++i) add_candidate(i);
  }

  const std::vector<Candidate>& candidates() const { return candidates_; }

  void take_texts(const std::vector<Chosen>& chosen) {
    std::vector<std::size_t> wanted;
    for (const Chosen& one : chosen)
      if (header_.arrays[numbers_[one.candidate]].format != "appended")
        wanted.push_back(numbers_[one.candidate]);
    if (!wanted.empty()) header_ = parse_vti(bytes_, wanted, source_);
  }

  StoredVolume read(const Chosen& chosen) const {
    const VtiArray& array = header_.arrays[numbers_[chosen.candidate]];
    const std::string what = source_ + ":" + array.name;
    if (!chosen.index.empty()) throw Error(what + ": takes no place in brackets: name it alone");
    StoredVolume volume;
    VolumeHeader& h = volume.header;
    h.dtype = dtype_of(array.type).value();
    h.shape = shape_of(candidates_[chosen.candidate], chosen, source_);
    const Entry components{what, "NumberOfComponents", array.components};
    set_components(h, components.whole(1, std::numeric_limits<std::int64_t>::max()),
                   what + ": NumberOfComponents");
    h.spacing = header_.spacing;
    for (std::size_t d = 0; d < 3; ++d) {
      const std::int64_t low = header_.extent[2 * d];
      const bool between = array.cell && header_.extent[2 * d + 1] > low;
      h.origin[d] =
          header_.origin[d] + (static_cast<double>(low) + (between ? 0.5 : 0)) * header_.spacing[d];
    }
    if (array.format == "ascii")
      volume.voxels = in_order(h, parse_numbers(h, array, what), false, true, what);
    else
      volume.voxels = read_binary(h, array, what);
    return volume;
  }

 private:
  void add_candidate(std::size_t number) {
    const VtiArray& array = header_.arrays[number];
    if (!dtype_of(array.type)) return;
    const auto same = [&](const VtiArray& other) { return other.name == array.name; };
    const bool alone = std::count_if(header_.arrays.begin(), header_.arrays.end(), same) == 1;
    Candidate candidate{alone ? array.name : (array.cell ? "CellData/" : "PointData/") + array.name,
                        {}};
    for (std::size_t d = 3; d-- > 0;) {
      constexpr std::int64_t most = std::int64_t{1} << 48;
      const std::int64_t low = header_.extent[2 * d], high = header_.extent[2 * d + 1];
      if (low < -most || high > most || high < low)
        throw Error(source_ + ": Extent: " + std::to_string(low) + " to " + std::to_string(high) +
                    " holds no points");
      candidate.extents.push_back(array.cell ? std::max<std::int64_t>(1, high - low)
                                             : high - low + 1);
    }
    candidates_.push_back(std::move(candidate));
    numbers_.push_back(number);
  }

  std::shared_ptr<const std::byte[]> parse_numbers(const VolumeHeader& h, const VtiArray& array,
                                                   const std::string& what) const {
    const auto count = static_cast<std::size_t>(h.shape.count() * h.components);
    if (count > array.text.size() / 2 + 1)
      throw Error(what + ": " + std::to_string(count) + " numbers do not fit its text of " +
                  std::to_string(array.text.size()) + " bytes");
    const auto memory = allocate_voxels(bytes_of(h), what);
    std::string_view rest = array.text;
    visit(h.dtype, [&](auto zero) {
      using T = decltype(zero);
      for (std::size_t i = 0; i < count; ++i) {
        rest = rest.substr(std::min(rest.find_first_not_of(" \t\r\n"), rest.size()));
        T value{};
        const auto [stop, failure] = std::from_chars(rest.data(), rest.data() + rest.size(), value);
        if (failure != std::errc{})
          throw Error(what + ": number " + std::to_string(i) + ": " + quote(rest.substr(0, 20)) +
                      " is no " + array.type);
        std::memcpy(memory.get() + i * sizeof(T), &value, sizeof(T));
        rest.remove_prefix(static_cast<std::size_t>(stop - rest.data()));
      }
    });
    if (!trimmed(rest).empty())
      throw Error(what + ": has more than " + std::to_string(count) + " numbers");
    return memory;
  }

  // Where an array's bytes begin within the file.
  std::uint64_t start_of(const VtiArray& array, const std::string& what) const {
    if (header_.appended == 0) throw Error(what + ": the file has no AppendedData");
    const auto offset = static_cast<std::uint64_t>(
        Entry{what, "offset", array.offset}.whole(0, std::numeric_limits<std::int64_t>::max()));
    if (offset >= bytes_.size() - header_.appended)
      throw Error(what + ": offset: '" + array.offset + "' is behind the file's end");
    return header_.appended + offset;
  }

  std::shared_ptr<const void> read_binary(const VolumeHeader& h, const VtiArray& array,
                                          const std::string& what) const {
    if (array.format != "appended" && array.format != "binary")
      throw Error(what + ": format: " + quote(array.format) + " is not ascii, binary or appended");
    if (array.format == "binary") {
      ArrayBytes bytes{std::string_view(array.text)};
      return read_stored(h, bytes, what);
    }
    const std::uint64_t start = start_of(array, what);
    const std::string_view data = bytes_.substr(start);
    if (header_.appended_base64) {
      ArrayBytes bytes{data};
      return read_stored(h, bytes, what);
    }
    ArrayBytes bytes{std::as_bytes(std::span(data))};
    if (header_.compressed) return read_stored(h, bytes, what);
    require_size(h, read_word(bytes, what), what);
    const std::uint64_t behind = start + (header_.long_header ? 8 : 4);
    return read_body(h, {path_, behind, false, 0, header_.big_endian, true}, what);
  }

  std::uint64_t read_word(ArrayBytes& bytes, const std::string& what) const {
    std::array<std::byte, 8> word{};
    const std::span<std::byte> own = std::span(word).first(header_.long_header ? 8 : 4);
    bytes.read(own, what);
    if (header_.big_endian) std::reverse(own.begin(), own.end());
    std::uint64_t value;
    std::memcpy(&value, word.data(), sizeof value);
    return value;
  }

  static void require_size(const VolumeHeader& h, std::uint64_t stated, const std::string& what) {
    if (stated != bytes_of(h))
      throw Error(what + ": states " + std::to_string(stated) + " bytes, " + text(h.shape) + " x " +
                  std::to_string(h.components) + " " + name(h.dtype) + " are " +
                  std::to_string(bytes_of(h)));
  }

  std::shared_ptr<const void> read_stored(const VolumeHeader& h, ArrayBytes& bytes,
                                          const std::string& what) const {
    std::shared_ptr<std::byte[]> memory;
    if (header_.compressed) {
      memory = read_blocks(h, bytes, what);
    } else {
      require_size(h, read_word(bytes, what), what);
      if (bytes.left() + 3 < bytes_of(h))
        throw Error(what + ": its data end before their " + std::to_string(bytes_of(h)) +
                    " bytes: the file is cut short or damaged");
      memory = allocate_voxels(bytes_of(h), what);
      bytes.read({memory.get(), bytes_of(h)}, what);
    }
    return in_order(h, memory, header_.big_endian, true, what);
  }

  // Blocks that are compressed each for itself, behind a list of their sizes.
  std::shared_ptr<std::byte[]> read_blocks(const VolumeHeader& h, ArrayBytes& bytes,
                                           const std::string& what) const {
    const std::uint64_t count = read_word(bytes, what), each = read_word(bytes, what);
    const std::uint64_t partial = read_word(bytes, what), all = bytes_of(h);
    const std::uint64_t full = count - (partial > 0 && count > 0 ? 1 : 0);
    const bool fits = each > 0 && full <= all / each && partial <= all &&
                      full * each + partial == all && count <= bytes.left();
    if (!fits)
      throw Error(what + ": its " + std::to_string(count) + " blocks of " + std::to_string(each) +
                  " bytes do not make the " + std::to_string(all) + " bytes of " + text(h.shape) +
                  " x " + std::to_string(h.components) + " " + name(h.dtype));
    std::vector<std::uint64_t> sizes(count);
    std::uint64_t packed = 0;
    for (std::uint64_t& size : sizes) {
      size = read_word(bytes, what);
      if (size > bytes.left() + 3 || (packed += size) > bytes.left() + 3 || size > all + 1024)
        throw Error(what + ": a block of " + std::to_string(size) +
                    " bytes: the file is cut short or damaged");
    }
    if (packed < all / 1032)
      throw Error(what + ": " + std::to_string(packed) + " compressed bytes are too few for " +
                  std::to_string(all));
    const auto memory = allocate_voxels(all, what);
    std::vector<std::byte> block;
    for (std::uint64_t b = 0; b < count; ++b) {
      block.resize(sizes[b]);
      bytes.read(block, what);
      inflate(block, 0, {memory.get() + b * each, b < full ? each : partial}, what);
    }
    return memory;
  }

  const fs::path path_;
  const std::string source_;
  std::shared_ptr<const void> mapped_;
  std::string_view bytes_;
  VtiHeader header_;
  std::vector<Candidate> candidates_;
  // Which array of the header each candidate is.
  std::vector<std::size_t> numbers_;
};

}  // namespace

StoredVolume read_vti(const fs::path& path, const std::string& variable) {
  VtiFile file(path);
  const auto all = choose_variables(variable, file.candidates(), path.string());
  file.take_texts(all);
  std::vector<StoredVolume> parts;
  std::vector<std::string> names;
  for (const Chosen& chosen : all) {
    parts.push_back(file.read(chosen));
    names.push_back(path.string() + ":" + file.candidates()[chosen.candidate].name);
  }
  return join_components(std::move(parts), names);
}

WrittenForm vti_form(const fs::path& path, const VolumeHeader& header) {
  const Shape& s = header.shape;
  const std::string extent = "0 " + std::to_string(s.x - 1) + " 0 " + std::to_string(s.y - 1) +
                             " 0 " + std::to_string(s.z - 1);
  const auto three = [](const std::array<double, 3>& numbers) {
    return decimal(numbers[0]) + " " + decimal(numbers[1]) + " " + decimal(numbers[2]);
  };
  WrittenForm form{path, {}, {}, {}, {}, true};
  form.before =
      "<?xml version=\"1.0\"?>\n<VTKFile type=\"ImageData\" version=\"1.0\" "
      "byte_order=\"LittleEndian\" header_type=\"UInt64\">\n<ImageData WholeExtent=\"" +
      extent + "\" Origin=\"" + three(header.origin) + "\" Spacing=\"" + three(header.spacing) +
      "\">\n<Piece Extent=\"" + extent + "\">\n<PointData " +
      (header.components == 3 ? "Vectors" : "Scalars") + "=\"values\">\n<DataArray type=\"" +
      vti_type(header.dtype) + "\" Name=\"values\" NumberOfComponents=\"" +
      std::to_string(header.components) +
      "\" format=\"appended\" offset=\"0\"/>\n</PointData>\n</Piece>\n</ImageData>\n"
      "<AppendedData encoding=\"raw\">\n";
  // Voxels begin where any type of theirs may.
  form.before += std::string(7 - form.before.size() % 8, ' ') + "_";
  const std::uint64_t bytes = bytes_of(header);
  form.before.append(reinterpret_cast<const char*>(&bytes), sizeof bytes);
  form.after = "\n</AppendedData>\n</VTKFile>\n";
  return form;
}

}  // namespace kanbench
