#include "checkpoint_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <utility>

#include "kanbench/error.h"
#include "kanbench/math/random.h"
#include "kanbench/range.h"

namespace kanbench {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kFormat = "kanbench checkpoint 1";
constexpr std::int64_t kPrefix = 8, kAlignment = 64, kMaxHeader = 100'000'000;
constexpr std::int64_t kBlocks = 3, kFloat = sizeof(float);

// A name may hold bytes that are no UTF-8.
std::string dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string describe_sizes(const std::vector<std::int64_t>& sizes) {
  std::string text;
  for (const std::int64_t size : sizes) text += (text.empty() ? "" : " ") + std::to_string(size);
  return text;
}

// Member `key` where it is text, else nothing.
const std::string* text_of(const Json& object, const char* key) {
  if (!object.is_object()) return nullptr;
  const auto found = object.find(key);
  return found == object.end() ? nullptr : found->get_ptr<const std::string*>();
}

std::string cut_short(std::int64_t bytes, const std::string& expected) {
  return "it is cut short: " + std::to_string(bytes) + " bytes of " + expected;
}

}  // namespace

CheckpointLayout::CheckpointLayout(const std::string& training, const std::string& state,
                                   std::vector<std::int64_t> sizes)
    : sizes_(std::move(sizes)) {
  Json header = {{"__metadata__",
                  {{"format", kFormat},
                   {"training", training},
                   {"sizes", describe_sizes(sizes_)},
                   {"state", state}}}};
  std::int64_t at = 0;
  for (std::size_t i = 0; i < sizes_.size(); ++i) {
    begins_.push_back(at);
    for (const char* block : {"parameters.", "first_moment.", "second_moment."}) {
      const std::int64_t end = at + kFloat * sizes_[i];
      header[block + std::to_string(i)] = {
          {"dtype", "F32"}, {"shape", {sizes_[i]}}, {"data_offsets", {at, end}}};
      at = end;
    }
  }
  begins_.push_back(at);
  header["hash"] = {{"dtype", "U64"}, {"shape", {1}}, {"data_offsets", {at, at + 8}}};
  const std::string text = dump(header);
  const auto length = static_cast<std::int64_t>(text.size());
  const std::int64_t padded =
      (kPrefix + length + kAlignment - 1) / kAlignment * kAlignment - kPrefix;
  check(padded <= kMaxHeader, "a checkpoint's header of more than 100 MB");
  header_.resize(kPrefix);
  std::memcpy(header_.data(), &padded, kPrefix);
  header_ += text + std::string(static_cast<std::size_t>(padded - length), ' ');
}

std::int64_t CheckpointLayout::offset(std::int64_t model, Block block, std::int64_t index) const {
  const auto m = static_cast<std::size_t>(model);
  return static_cast<std::int64_t>(header_.size()) + begins_[m] +
         kFloat * (sizes_[m] * block + index);
}

std::int64_t CheckpointLayout::hash_offset() const {
  return static_cast<std::int64_t>(header_.size()) + begins_.back();
}

std::uint64_t hash_part(const void* data, std::size_t bytes, std::int64_t offset) {
  check(bytes % 8 == 0 && offset % 8 == 0, "a part of a word to be hashed");
  const char* from = static_cast<const char*>(data);
  std::uint64_t sum = 0, place = static_cast<std::uint64_t>(offset / 8);
  for (std::size_t at = 0; at < bytes; at += 8, ++place) {
    std::uint64_t word;
    std::memcpy(&word, from + at, 8);
    sum += mix64(word + place * 0x9e3779b97f4a7c15);
  }
  return sum;
}

CheckpointReader::CheckpointReader(std::filesystem::path path) : path_(std::move(path)) {
  // Without waiting, should a pipe stand there.
  descriptor_ = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor_ < 0) throw Error(std::string("it cannot be read: ") + std::strerror(errno));
  struct stat status {};
  const bool regular = ::fstat(descriptor_, &status) == 0 && S_ISREG(status.st_mode);
  if (!regular) ::close(std::exchange(descriptor_, -1));
  if (!regular) throw Error("it is not a regular file");
  bytes_ = status.st_size;
}

CheckpointReader::~CheckpointReader() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void CheckpointReader::read(std::int64_t offset, void* data, std::size_t bytes) const {
  char* to = static_cast<char*>(data);
  while (bytes > 0) {
    const ssize_t got = ::pread(descriptor_, to, std::min(bytes, std::size_t{1} << 30), offset);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw Error(std::string("it cannot be read: ") + std::strerror(errno));
    if (got == 0) throw Error(cut_short(offset, std::to_string(offset) + " and more"));
    to += got;
    offset += got;
    bytes -= static_cast<std::size_t>(got);
  }
}

std::string CheckpointReader::read_header() const {
  if (bytes_ < kPrefix) throw Error(cut_short(bytes_, "a header's length"));
  std::uint64_t length = 0;
  read(0, &length, kPrefix);
  if (length > kMaxHeader) throw Error("it is damaged: its header is no checkpoint's");
  if (static_cast<std::int64_t>(length) > bytes_ - kPrefix)
    throw Error(cut_short(bytes_, "its header's " + std::to_string(kPrefix + length)));
  std::string header(static_cast<std::size_t>(kPrefix + length), '\0');
  read(0, header.data(), header.size());
  return header;
}

std::string CheckpointReader::read_state(const std::string& training,
                                         const std::vector<std::int64_t>& sizes) const {
  const std::string header = read_header();
  const Json json = Json::parse(header.begin() + kPrefix, header.end(), nullptr, false);
  const Json metadata = json.is_object() ? json.value("__metadata__", Json()) : Json();
  const std::string *format = text_of(metadata, "format"), *key = text_of(metadata, "training");
  const std::string *found = text_of(metadata, "sizes"), *state = text_of(metadata, "state");
  if (!format || !key || !found || !state || *format != kFormat)
    throw Error("it is damaged: its header is no checkpoint's");
  if (dump(*key) != dump(training)) throw Error("it is of another training");
  if (*found != describe_sizes(sizes))
    throw Error("it is of another architecture, or of another number of models");
  const CheckpointLayout expected(training, *state, sizes);
  if (header != expected.header()) throw Error("it is damaged: its header has been changed");
  if (bytes_ < expected.bytes()) throw Error(cut_short(bytes_, std::to_string(expected.bytes())));
  if (bytes_ > expected.bytes())
    throw Error("it is damaged: " + std::to_string(bytes_ - expected.bytes()) +
                " bytes stand after its end");
  return *state;
}

std::uint64_t CheckpointReader::hash(std::int64_t part, std::int64_t parts,
                                     std::int64_t chunk) const {
  const std::int64_t words = (bytes_ - 8) / 8;
  const auto cut = [&](std::int64_t i) { return 8 * start_of_part(words, i, parts); };
  const std::int64_t end = cut(part + 1);
  std::vector<char> room(static_cast<std::size_t>(std::min(chunk / 8 * 8, end - cut(part))));
  std::uint64_t sum = 0;
  for (std::int64_t at = cut(part); at < end;) {
    const std::size_t count = std::min<std::size_t>(room.size(), end - at);
    read(at, room.data(), count);
    sum += hash_part(room.data(), count, at);
    at += static_cast<std::int64_t>(count);
  }
  return sum;
}

std::uint64_t CheckpointReader::stored_hash() const {
  std::uint64_t hash = 0;
  read(bytes_ - 8, &hash, 8);
  return hash;
}

}  // namespace kanbench
