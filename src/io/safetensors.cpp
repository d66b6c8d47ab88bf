// The safetensors container: eight bytes of header length, a JSON header, the tensors' bytes. The
// reader trusts nothing: a hostile file is an Error.

#include "kanbench/safetensors.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

#include "io/quote.h"
#include "kanbench/error.h"
#include "kanbench/file.h"

namespace kanbench {
namespace {

static_assert(std::endian::native == std::endian::little, "lengths are copied as they are");

constexpr std::uint64_t kMaxHeader = 100'000'000;
constexpr std::size_t kMaxRank = 64;
constexpr std::size_t kPrefix = 8;

constexpr std::pair<const char*, std::size_t> kTypes[] = {
    {"BOOL", 1}, {"U8", 1},  {"I8", 1},  {"F8_E5M2", 1}, {"F8_E4M3", 1},
    {"I16", 2},  {"U16", 2}, {"F16", 2}, {"BF16", 2},    {"I32", 4},
    {"U32", 4},  {"F32", 4}, {"I64", 8}, {"U64", 8},     {"F64", 8}};

struct Entry {
  std::string name;
  std::string dtype;
  std::vector<std::uint64_t> shape, offsets;
  bool has_dtype = false, has_shape = false, has_offsets = false;
};

struct Header {
  std::map<std::string, std::string> metadata;
  std::vector<Entry> entries;
};

// Takes the header as it is parsed, so that nothing but what the format allows is ever built.
class HeaderReader {
 public:
  explicit HeaderReader(std::string source) : source_(std::move(source)) {}
  Header take() { return std::move(header_); }

  bool null() { return refuse("null"); }
  bool boolean(bool) { return refuse("true or false"); }
  bool number_integer(std::int64_t) { return refuse("a negative number"); }
  bool number_float(double, const std::string& text) { return refuse("the number " + text); }
  bool binary(std::vector<std::uint8_t>&) { return refuse("binary data"); }

  bool number_unsigned(std::uint64_t value) {
    if (place_ != Place::shape && place_ != Place::offsets) refuse("a number");
    std::vector<std::uint64_t>& list = place_ == Place::shape ? entry().shape : entry().offsets;
    if (list.size() == (place_ == Place::shape ? kMaxRank : 2)) refuse("a longer list");
    list.push_back(value);
    return true;
  }

  bool string(std::string& text) {
    if (place_ == Place::metadata) {
      if (!header_.metadata.emplace(key_, text).second) duplicate(key_);
    } else if (place_ == Place::tensor && key_ == "dtype") {
      if (std::exchange(entry().has_dtype, true)) duplicate(key_);
      entry().dtype = text;
    } else {
      refuse("text");
    }
    return true;
  }

  bool start_object(std::size_t) {
    if (place_ == Place::before) {
      place_ = Place::top;
    } else if (place_ == Place::top && key_ == "__metadata__") {
      if (std::exchange(has_metadata_, true)) duplicate(key_);
      place_ = Place::metadata;
    } else if (place_ == Place::top) {
      header_.entries.emplace_back().name = key_;
      place_ = Place::tensor;
    } else {
      refuse("an object");
    }
    return true;
  }
  bool end_object() {
    place_ = place_ == Place::top ? Place::after : Place::top;
    return true;
  }
  bool key(std::string& text) {
    key_ = text;
    if (place_ == Place::tensor && text != "dtype" && text != "shape" && text != "data_offsets")
      refuse("an unknown key");
    return true;
  }

  bool start_array(std::size_t) {
    if (place_ != Place::tensor || key_ == "dtype") refuse("a list");
    if (std::exchange(key_ == "shape" ? entry().has_shape : entry().has_offsets, true))
      duplicate(key_);
    place_ = key_ == "shape" ? Place::shape : Place::offsets;
    return true;
  }
  bool end_array() {
    place_ = Place::tensor;
    return true;
  }

  bool parse_error(std::size_t position, const std::string&, const std::exception&) {
    throw Error(source_ + ": not safetensors: its header is no JSON from byte " +
                std::to_string(kPrefix + position) + " on");
  }

 private:
  enum class Place { before, top, metadata, tensor, shape, offsets, after };

  Entry& entry() { return header_.entries.back(); }
  std::string here() const {
    const bool within =
        place_ == Place::tensor || place_ == Place::shape || place_ == Place::offsets;
    return within ? "tensor " + quote(header_.entries.back().name) + ", " + quote(key_)
                  : quote(key_);
  }
  bool refuse(const std::string& what) const {
    throw Error(source_ + ": not safetensors: " + what + " in its header at " + here());
  }
  void duplicate(const std::string& name) const {
    throw Error(source_ + ": not safetensors: " + quote(name) + " stands twice in its header, at " +
                here());
  }

  std::string source_, key_;
  Header header_;
  Place place_ = Place::before;
  bool has_metadata_ = false;
};

std::string at_tensor(const std::string& source, const Entry& entry) {
  return source + ": tensor " + quote(entry.name) + ": ";
}

std::string type_names() {
  std::vector<std::string> names;
  for (const auto& [word, size] : kTypes) names.push_back(word);
  return join(names);
}

// The bytes that dtype and shape call for.
std::uint64_t expected_bytes(const Entry& entry, const std::string& source) {
  const std::uint64_t size = safetensors_size_of(entry.dtype);
  if (size == 0)
    throw Error(at_tensor(source, entry) + "unknown dtype " + quote(entry.dtype) + ": known are " +
                type_names());
  constexpr std::uint64_t most = std::numeric_limits<std::int64_t>::max();
  std::uint64_t bytes = size;
  for (const std::uint64_t extent : entry.shape) {
    if (extent > most || (extent != 0 && bytes > most / extent))
      throw Error(at_tensor(source, entry) + "its shape is too large for any file");
    bytes *= extent;
  }
  return bytes;
}

void check_entry(const Entry& entry, std::uint64_t room, const std::string& source) {
  const char* missing = !entry.has_dtype     ? "dtype"
                        : !entry.has_shape   ? "shape"
                        : !entry.has_offsets ? "data_offsets"
                                             : nullptr;
  if (missing) throw Error(at_tensor(source, entry) + "has no '" + missing + "'");
  const std::vector<std::uint64_t>& at = entry.offsets;
  if (at.size() != 2 || at[0] > at[1])
    throw Error(at_tensor(source, entry) + "'data_offsets' is not [begin, end], begin <= end");
  if (at[1] > room)
    throw Error(at_tensor(source, entry) + "ends at byte " + std::to_string(at[1]) +
                " of the data, which has " + std::to_string(room) +
                ": the file is cut short or its offsets are wrong");
  const std::uint64_t expected = expected_bytes(entry, source);
  if (at[1] - at[0] != expected)
    throw Error(at_tensor(source, entry) + "expected " + std::to_string(expected) +
                " bytes by its shape, found " + std::to_string(at[1] - at[0]) + " by its offsets");
}

// Sorts by place and proves that the tensors tile the data.
void check_tiling(std::vector<Entry>& entries, std::uint64_t room, const std::string& source) {
  std::stable_sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return std::pair(a.offsets[0], a.offsets[1]) < std::pair(b.offsets[0], b.offsets[1]);
  });
  std::uint64_t end = 0;
  for (const Entry& entry : entries) {
    const std::uint64_t begin = entry.offsets[0];
    if (begin != end)
      throw Error(at_tensor(source, entry) + "begins at byte " + std::to_string(begin) +
                  " of the data where " + std::to_string(end) +
                  " is expected: " + (begin < end ? "tensors overlap" : "there is a hole"));
    end = entry.offsets[1];
  }
  if (end != room)
    throw Error(source + ": not safetensors: its tensors end at byte " + std::to_string(end) +
                " of the data, which has " + std::to_string(room));
  std::vector<const std::string*> names;
  for (const Entry& entry : entries) names.push_back(&entry.name);
  std::sort(names.begin(), names.end(), [](auto a, auto b) { return *a < *b; });
  const auto twice =
      std::adjacent_find(names.begin(), names.end(), [](auto a, auto b) { return *a == *b; });
  if (twice != names.end())
    throw Error(source + ": not safetensors: tensor " + quote(**twice) + " stands twice");
}

nlohmann::ordered_json header_of(const Safetensors& file) {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!file.metadata.empty()) header["__metadata__"] = file.metadata;
  std::uint64_t begin = 0;
  for (const Tensor& tensor : file.tensors) {
    std::uint64_t expected = safetensors_size_of(tensor.dtype);
    for (const std::int64_t extent : tensor.shape) expected *= static_cast<std::uint64_t>(extent);
    check(expected == tensor.data.size(), "a tensor whose data is not of its shape");
    check(tensor.name != "__metadata__" && !header.contains(tensor.name), "a tensor's name twice");
    const std::uint64_t end = begin + tensor.data.size();
    header[tensor.name] = {
        {"dtype", tensor.dtype}, {"shape", tensor.shape}, {"data_offsets", {begin, end}}};
    begin = end;
  }
  return header;
}

}  // namespace

const Tensor* Safetensors::find(const std::string& name) const {
  for (const Tensor& tensor : tensors)
    if (tensor.name == name) return &tensor;
  return nullptr;
}

std::size_t safetensors_size_of(const std::string& dtype) {
  for (const auto& [word, size] : kTypes)
    if (dtype == word) return size;
  return 0;
}

std::string serialise(const Safetensors& file) {
  // A name from a file system may hold bytes that are not UTF-8, which JSON cannot say.
  std::string header =
      header_of(file).dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
  header.resize((header.size() + 7) / 8 * 8, ' ');
  const std::uint64_t length = header.size();
  std::string bytes(kPrefix, '\0');
  std::memcpy(bytes.data(), &length, kPrefix);
  std::size_t total = kPrefix + header.size();
  for (const Tensor& tensor : file.tensors) total += tensor.data.size();
  bytes.reserve(total);
  bytes += header;
  for (const Tensor& tensor : file.tensors)
    bytes.append(reinterpret_cast<const char*>(tensor.data.data()), tensor.data.size());
  return bytes;
}

Safetensors parse_safetensors(std::span<const std::byte> bytes, const std::string& source) {
  if (bytes.size() < kPrefix)
    throw Error(source + ": not safetensors: " + std::to_string(bytes.size()) +
                " bytes, at least 8 are expected");
  std::uint64_t length;
  std::memcpy(&length, bytes.data(), kPrefix);
  const std::uint64_t rest = bytes.size() - kPrefix;
  if (length > kMaxHeader || length > rest)
    throw Error(source + ": not safetensors: its header would have " + std::to_string(length) +
                " bytes, " + std::to_string(std::min(kMaxHeader, rest)) +
                " are possible: the file is cut short or of another kind");
  const char* text = reinterpret_cast<const char*>(bytes.data()) + kPrefix;
  if (length == 0 || *text != '{')
    throw Error(source + ": not safetensors: its header does not begin with '{'");
  HeaderReader reader(source);
  nlohmann::json::sax_parse(text, text + length, &reader);
  Header header = reader.take();

  const std::span<const std::byte> data = bytes.subspan(kPrefix + length);
  for (const Entry& entry : header.entries) check_entry(entry, data.size(), source);
  check_tiling(header.entries, data.size(), source);
  Safetensors file;
  file.metadata = std::move(header.metadata);
  for (Entry& entry : header.entries) {
    const auto own = data.subspan(entry.offsets[0], entry.offsets[1] - entry.offsets[0]);
    file.tensors.push_back({std::move(entry.name),
                            std::move(entry.dtype),
                            {entry.shape.begin(), entry.shape.end()},
                            {own.begin(), own.end()}});
  }
  return file;
}

Safetensors read_safetensors(const std::filesystem::path& path) {
  const std::string bytes = read_file(path);
  return parse_safetensors(std::as_bytes(std::span(bytes)), path.string());
}

void write_safetensors(const std::filesystem::path& path, const Safetensors& file) {
  AtomicFile out(path);
  out.write(serialise(file));
  out.commit();
}

}  // namespace kanbench
