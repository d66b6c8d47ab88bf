#include "coded_block.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <string_view>

#include "io/quote.h"
#include "kanbench/error.h"
#include "kanbench/zstd.h"

namespace kanbench {
namespace {

struct Form {
  const char* word;
  Coding::Kind kind;
  int bytes;
};
constexpr Form kForms[] = {{"f32", Coding::Kind::floats, 4},
                           {"f16", Coding::Kind::halves, 2},
                           {"q8", Coding::Kind::steps, 1},
                           {"q16", Coding::Kind::steps, 2}};

// Beyond it what a better search finds in rounded numbers is not worth its time.
constexpr std::size_t kSmall = std::size_t{4} << 20;
// Numbers that may be worth statistics of their own.
constexpr std::int64_t kFrameNumbers = 512;
// A frame's block of 128 KB has a header of three bytes.
constexpr std::size_t kMostPerByte = 1 << 17;

const Form& form(const Coded& coded) {
  const int bytes = coded.kind == Coding::Kind::floats ? 4
                    : coded.kind == Coding::Kind::steps &&
                            std::all_of(coded.codes.begin(), coded.codes.end(),
                                        [](std::uint16_t code) { return code < 256; })
                        ? 1
                        : 2;
  return *std::find_if(std::begin(kForms), std::end(kForms), [&](const Form& one) {
    return one.kind == coded.kind && one.bytes == bytes;
  });
}

std::string index_line(const Slice& slice) {
  return slice.name + " " + std::to_string(slice.rows) + " " + std::to_string(slice.columns) + " ";
}

void append(const void* data, std::size_t bytes, std::vector<std::byte>& content) {
  const auto* begin = static_cast<const std::byte*>(data);
  content.insert(content.end(), begin, begin + bytes);
}

template <class Number>
void append_planes(const std::vector<Number>& numbers, int bytes, std::vector<std::byte>& content) {
  const auto* all = reinterpret_cast<const std::byte*>(numbers.data());
  for (int plane = 0; plane < bytes; ++plane)
    for (std::size_t i = 0; i < numbers.size(); ++i)
      content.push_back(all[i * sizeof(Number) + static_cast<std::size_t>(plane)]);
}

template <class Number>
std::vector<Number> read_planes(const std::byte* from, std::size_t count, int bytes) {
  std::vector<Number> numbers(count, 0);
  auto* all = reinterpret_cast<std::byte*>(numbers.data());
  for (int plane = 0; plane < bytes; ++plane)
    for (std::size_t i = 0; i < count; ++i)
      all[i * sizeof(Number) + static_cast<std::size_t>(plane)] =
          from[static_cast<std::size_t>(plane) * count + i];
  return numbers;
}

// Frames of `content` that end at `ends`.
std::vector<std::byte> compress(std::span<const std::byte> content,
                                const std::vector<std::size_t>& ends) {
  const int level = content.size() <= kSmall ? 19 : 6;
  std::vector<std::byte> bytes;
  std::size_t begin = 0;
  for (const std::size_t end : ends) {
    const std::vector<std::byte> frame = zstd_compress(content.subspan(begin, end - begin), level);
    bytes.insert(bytes.end(), frame.begin(), frame.end());
    begin = end;
  }
  return bytes;
}

// The most that the content of these tensors can be.
std::size_t most_content(const std::vector<Slice>& slices) {
  std::size_t most = 1;
  for (const Slice& slice : slices)
    most += index_line(slice).size() + 32 + 8 + 12 * static_cast<std::size_t>(slice.size());
  return most;
}

}  // namespace

const char* form_of(const Coded& coded) { return form(coded).word; }

CodedBlock write_coded(std::span<const CodedTensor> tensors) {
  std::string index;
  for (const CodedTensor& one : tensors)
    index += index_line(*one.slice) + form_of(one.coded) + " " +
             std::to_string(one.coded.block_rows) + "\n";
  index += "\n";
  std::vector<std::byte> content;
  append(index.data(), index.size(), content);
  std::vector<std::size_t> ends;
  for (const CodedTensor& one : tensors) {
    const bool own = one.slice->size() >= kFrameNumbers;
    if (own) ends.push_back(content.size());
    const Coded& coded = one.coded;
    append(coded.scales.data(), coded.scales.size() * sizeof(float), content);
    append(coded.offsets.data(), coded.offsets.size() * sizeof(float), content);
    if (coded.kind == Coding::Kind::floats)
      append_planes(coded.floats, 4, content);
    else
      append_planes(coded.codes, form(coded).bytes, content);
    if (own) ends.push_back(content.size());
  }
  ends.push_back(content.size());
  ends.erase(std::unique(ends.begin(), ends.end()), ends.end());
  std::vector<std::byte> whole = compress(content, {content.size()}), cut = compress(content, ends);
  return {content.size(), cut.size() < whole.size() ? std::move(cut) : std::move(whole)};
}

CodedReader::CodedReader(std::span<const std::byte> bytes, std::size_t content,
                         std::vector<Slice> slices, std::string source)
    : source_(std::move(source)), slices_(std::move(slices)) {
  const std::size_t most = most_content(slices_);
  if (content > most || content / kMostPerByte > bytes.size())
    throw Error(source_ + ": " + std::to_string(content) +
                " bytes of coded numbers in a tensor of " + std::to_string(bytes.size()) +
                " bytes, at most " + std::to_string(std::min(most, bytes.size() * kMostPerByte)) +
                " are possible");
  content_.resize(content);
  zstd_decompress(bytes, content_, source_ + ": tensor 'coded'");
  read_index();
}

std::string CodedReader::at(const Slice& slice) const {
  return source_ + ": tensor " + quote(slice.name) + ": ";
}

CodedReader::Entry CodedReader::read_entry(const std::string& line, const Slice& slice) const {
  const std::string wanted = index_line(slice);
  if (!line.starts_with(wanted))
    throw Error(at(slice) + "expected " + quote(wanted) + " in the index of coded tensors, found " +
                quote(line));
  const std::size_t space = std::min(line.find(' ', wanted.size()), line.size());
  const std::string word = line.substr(wanted.size(), space - wanted.size());
  const auto* found = std::find_if(std::begin(kForms), std::end(kForms),
                                   [&](const Form& one) { return word == one.word; });
  if (found == std::end(kForms))
    throw Error(at(slice) + "coded in an unknown way " + quote(word) +
                ": known are f32, f16, q8, q16");
  Entry entry{found->kind, found->bytes, 0};
  const char* begin = line.data() + std::min(space + 1, line.size());
  const char* end = line.data() + line.size();
  const auto [stop, failure] = std::from_chars(begin, end, entry.block_rows);
  if (failure != std::errc{} || stop != end || entry.block_rows < 0 ||
      entry.block_rows > slice.rows || (entry.block_rows > 0 && entry.kind != Coding::Kind::steps))
    throw Error(at(slice) + "blocks of " + quote(std::string(begin, end)) + " rows, it has " +
                std::to_string(slice.rows));
  return entry;
}

void CodedReader::read_index() {
  const std::string_view text(reinterpret_cast<const char*>(content_.data()), content_.size());
  std::size_t expected = 0;
  for (const Slice& slice : slices_) {
    const std::size_t end = text.find('\n', cursor_);
    if (end == text.npos)
      throw Error(at(slice) + "missing in the index of coded tensors, its architecture has it");
    entries_.push_back(read_entry(std::string(text.substr(cursor_, end - cursor_)), slice));
    const Entry& entry = entries_.back();
    if (entry.kind == Coding::Kind::steps)
      expected += 8 * static_cast<std::size_t>(block_count(slice.rows, entry.block_rows));
    expected += static_cast<std::size_t>(slice.size()) * static_cast<std::size_t>(entry.bytes);
    cursor_ = end + 1;
  }
  if (cursor_ >= text.size() || text[cursor_] != '\n')
    throw Error(source_ +
                ": the index of coded tensors has more lines than its architecture has "
                "tensors");
  ++cursor_;
  if (content_.size() - cursor_ != expected)
    throw Error(source_ + ": expected " + std::to_string(expected) +
                " bytes of coded numbers by their index, found " +
                std::to_string(content_.size() - cursor_));
}

Coded CodedReader::next() {
  const Slice& slice = slices_[next_];
  const Entry& entry = entries_[next_++];
  Coded coded;
  coded.kind = entry.kind;
  coded.block_rows = entry.block_rows;
  if (entry.kind == Coding::Kind::steps)
    for (std::vector<float>* numbers : {&coded.scales, &coded.offsets}) {
      numbers->resize(static_cast<std::size_t>(block_count(slice.rows, entry.block_rows)));
      const std::size_t bytes = numbers->size() * sizeof(float);
      std::memcpy(numbers->data(), content_.data() + cursor_, bytes);
      cursor_ += bytes;
    }
  const auto count = static_cast<std::size_t>(slice.size());
  const std::byte* from = content_.data() + cursor_;
  if (entry.kind == Coding::Kind::floats)
    coded.floats = read_planes<float>(from, count, entry.bytes);
  else
    coded.codes = read_planes<std::uint16_t>(from, count, entry.bytes);
  cursor_ += count * static_cast<std::size_t>(entry.bytes);
  return coded;
}

}  // namespace kanbench
