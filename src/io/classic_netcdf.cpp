#include "io/classic_netcdf.h"

#include <algorithm>
#include <cstdint>
#include <vector>

#include "kanbench/error.h"

namespace kanbench {
namespace {

constexpr std::uint64_t kMostName = 256, kMostAxes = 1024, kMost = std::uint64_t{1} << 60;

std::uint64_t padded(std::uint64_t bytes) { return (bytes + 3) / 4 * 4; }

std::uint64_t times(std::uint64_t a, std::uint64_t b) {
  return b > 0 && a > kMost / b ? kMost : std::min(kMost, a * b);
}

class ClassicHeader {
 public:
  ClassicHeader(std::span<const std::byte> file, const std::string& source)
      : file_(file), source_(source), version_(static_cast<int>(file[3])) {}

  void check() {
    at_ = 4;
    const std::uint64_t streaming = version_ == 5 ? ~std::uint64_t{0} : 0xffffffffu;
    const std::uint64_t records = word();
    list(0x0a, [&] {
      skip_name();
      extents_.push_back(word());
    });
    skip_attributes();
    list(0x0b, [&] { take_variable(); });
    // A single variable of records is not padded.
    if (of_records_.size() == 1) record_ = of_records_[0].bytes;
    if (records == streaming || records == 0) return;
    for (const Part& part : of_records_)
      require(part.begin + std::min(kMost, times(records - 1, record_) + part.bytes));
  }

 private:
  struct Part {
    std::uint64_t begin, bytes;
  };

  std::uint64_t number(int bytes) {
    if (file_.size() - at_ < static_cast<std::size_t>(bytes)) refuse();
    std::uint64_t value = 0;
    for (int i = 0; i < bytes; ++i) value = value << 8 | static_cast<std::uint64_t>(file_[at_++]);
    return value;
  }
  // A count or a length.
  std::uint64_t word() { return number(version_ == 5 ? 8 : 4); }

  void skip(std::uint64_t bytes) {
    if (bytes > file_.size() - at_) refuse();
    at_ += static_cast<std::size_t>(bytes);
  }

  // Calls `item` for each element of a list that is absent or has that tag. An element takes bytes,
  // so that a count that is too large ends with the file.
  template <class Item>
  void list(std::uint64_t tag, Item item) {
    const std::uint64_t found = number(4), count = word();
    if (found != tag && (found != 0 || count != 0)) refuse();
    for (std::uint64_t i = 0; i < count; ++i) item();
  }

  void skip_name() {
    const std::uint64_t length = word();
    if (length == 0 || length > kMostName) refuse();
    skip(padded(length));
  }

  std::uint64_t type_bytes() {
    constexpr int sizes[] = {1, 1, 2, 4, 4, 8, 1, 2, 4, 8, 8};
    const std::uint64_t code = number(4);
    if (code < 1 || code > std::size(sizes)) refuse();
    return static_cast<std::uint64_t>(sizes[code - 1]);
  }

  void skip_attributes() {
    list(0x0c, [&] {
      skip_name();
      const std::uint64_t each = type_bytes();
      skip(padded(times(word(), each)));
    });
  }

  void take_variable() {
    skip_name();
    const std::uint64_t axes = word();
    if (axes > kMostAxes) refuse();
    bool of_records = false;
    std::uint64_t count = 1;
    for (std::uint64_t a = 0; a < axes; ++a) {
      const std::uint64_t axis = word();
      if (axis >= extents_.size()) refuse();
      const std::uint64_t extent = extents_[static_cast<std::size_t>(axis)];
      if (extent == 0 && a > 0) refuse();
      of_records |= extent == 0;
      count = extent == 0 ? count : times(count, extent);
    }
    skip_attributes();
    const std::uint64_t bytes = times(count, type_bytes());
    word();
    const std::uint64_t begin = number(version_ == 1 ? 4 : 8);
    if (begin > kMost) refuse();
    if (!of_records) return require(begin + bytes);
    of_records_.push_back({begin, bytes});
    record_ = std::min(kMost, record_ + padded(bytes));
  }

  void require(std::uint64_t bytes) const {
    if (bytes <= file_.size()) return;
    throw Error(source_ + ": its header asks for " + std::to_string(bytes) +
                " bytes, the file has " + std::to_string(file_.size()) + ": it is cut short");
  }

  [[noreturn]] void refuse() const {
    throw Error(source_ + ": not NetCDF, or cut short: its header is none from byte " +
                std::to_string(at_) + " on");
  }

  std::span<const std::byte> file_;
  const std::string& source_;
  int version_;
  std::size_t at_ = 0;
  std::vector<std::uint64_t> extents_;
  std::vector<Part> of_records_;
  std::uint64_t record_ = 0;
};

}  // namespace

void check_classic_netcdf(std::span<const std::byte> file, const std::string& source) {
  const auto is = [&](std::size_t i, int value) { return static_cast<int>(file[i]) == value; };
  if (file.size() < 4 || !is(0, 'C') || !is(1, 'D') || !is(2, 'F')) return;
  if (is(3, 1) || is(3, 2) || is(3, 5)) ClassicHeader(file, source).check();
}

}  // namespace kanbench
