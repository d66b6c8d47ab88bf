// Voxels looked at once: their range, and that all are numbers.
#include "kanbench/volume.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>
#include <limits>
#include <type_traits>
#include <vector>

#include "kanbench/communicator.h"
#include "kanbench/error.h"
#include "kanbench/parallel.h"
#include "kanbench/range.h"
#include "mapping.h"
#include "missing.h"

namespace kanbench {
namespace {

constexpr std::int64_t kMaxVoxels = std::int64_t{1} << 56;
constexpr std::int64_t kChunk = std::int64_t{1} << 20;
// A file of more is let go of while it is read through.
constexpr std::size_t kLarge = std::size_t{256} << 20;

bool parse_axis(const char*& at, const char* end, std::int64_t& value) {
  const auto [next, failure] = std::from_chars(at, end, value);
  const bool plain = at != end && *at >= '0' && *at <= '9' && failure == std::errc{};
  at = next;
  return plain;
}

// What one look at some of the voxels tells.
template <class T>
struct Seen {
  T low = std::numeric_limits<T>::max(), high = std::numeric_limits<T>::lowest();
  // Voxels that are not finite, and the number of the first.
  std::int64_t bad = 0, first_bad = std::numeric_limits<std::int64_t>::max();

  void join(const Seen& next) {
    low = std::min(low, next.low);
    high = std::max(high, next.high);
    bad += next.bad;
    first_bad = std::min(first_bad, next.first_bad);
  }
};

// Whether the exponent is all ones, asked of the bits: the loop stays free of branches.
template <class T>
bool not_finite(T value) {
  using Bits = std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>;
  constexpr Bits exponent = sizeof(T) == 4 ? Bits{0x7f800000u} : static_cast<Bits>(0x7ffull << 52);
  Bits bits;
  std::memcpy(&bits, &value, sizeof bits);
  return (bits & exponent) == exponent;
}

// Voxels first ... last - 1. Independent lanes let the compiler keep the reduction in vector
// registers; what is not finite is looked for again where there is some.
template <class T>
Seen<T> scan(const T* voxels, std::int64_t first, std::int64_t last) {
  constexpr int lanes = 64 / sizeof(T);
  Seen<T> seen;
  T low[lanes], high[lanes];
  std::fill_n(low, lanes, seen.low);
  std::fill_n(high, lanes, seen.high);
  unsigned bad[lanes] = {};
  const auto take = [&](int lane, T v) {
    low[lane] = v < low[lane] ? v : low[lane];
    high[lane] = v > high[lane] ? v : high[lane];
    if constexpr (std::is_floating_point_v<T>) bad[lane] |= not_finite(v);
  };
  std::int64_t i = first;
  for (; i + lanes <= last; i += lanes)
    for (int lane = 0; lane < lanes; ++lane) take(lane, voxels[i + lane]);
  for (int lane = 0; i < last; ++i, ++lane) take(lane, voxels[i]);
  seen.low = *std::min_element(low, low + lanes);
  seen.high = *std::max_element(high, high + lanes);
  if constexpr (std::is_floating_point_v<T>) {
    if (std::all_of(bad, bad + lanes, [](unsigned b) { return b == 0; })) return seen;
    seen.bad = std::count_if(voxels + first, voxels + last, not_finite<T>);
    seen.first_bad = std::find_if(voxels + first, voxels + last, not_finite<T>) - voxels;
  }
  return seen;
}

// Chunks `chunks` of `count` voxels, let go of as they are done where they are many.
template <class T>
Seen<T> scan_chunks(const std::shared_ptr<const void>& data, std::int64_t count, Range chunks) {
  constexpr auto size = static_cast<std::int64_t>(sizeof(T));
  const bool large = static_cast<std::size_t>(count * size) > kLarge;
  std::vector<Seen<T>> each(static_cast<std::size_t>(chunks.size()));
  parallel(chunks.size(), [&](std::int64_t c) {
    const std::int64_t first = (chunks.begin + c) * kChunk, last = std::min(first + kChunk, count);
    each[static_cast<std::size_t>(c)] = scan(static_cast<const T*>(data.get()), first, last);
    if (large) forget_bytes(data, {first * size, last * size});
  });
  Seen<T> all;
  for (const Seen<T>& chunk : each) all.join(chunk);
  return all;
}

template <class T>
Seen<T> scan_together(const std::shared_ptr<const void>& data, std::int64_t count,
                      Communicator& communicator) {
  const std::int64_t chunks = (count + kChunk - 1) / kChunk;
  const std::int64_t rank = communicator.rank(), ranks = communicator.size();
  const Seen<T> mine =
      scan_chunks<T>(data, count, {chunks * rank / ranks, chunks * (rank + 1) / ranks});
  std::vector<Seen<T>> each(static_cast<std::size_t>(ranks));
  communicator.all_gather(&mine, sizeof mine, each.data());
  Seen<T> all;
  for (const Seen<T>& share : each) all.join(share);
  return all;
}

template <class T>
std::string digits(T value) {
  char text[32];
  return {text, std::to_chars(text, text + sizeof text, value).ptr};
}

template <class T>
void require_numbers(const Seen<T>& seen, const Shape& shape, const std::string& source) {
  if (seen.bad == 0) return;
  throw Error(source + ": " + std::to_string(seen.bad) + " of " + std::to_string(shape.count()) +
              " voxels are not finite, the first at " + place_text(shape, seen.first_bad) +
              ": replace NaN and infinity by numbers, or say --missing nearest, min, max, mean or "
              "a number");
}

template <class T>
void require_range(const Seen<T>& seen, const std::string& source) {
  const double low = static_cast<double>(seen.low), high = static_cast<double>(seen.high);
  if (seen.low == seen.high)
    throw Error(source + ": a constant volume, every voxel is " + digits(seen.low) +
                ": there is nothing to learn");
  if (!(low < high) || !std::isfinite(high - low) || !std::isfinite(1 / (high - low)))
    throw Error(source + ": the range " + digits(seen.low) + " to " + digits(seen.high) +
                " does not fit double precision: scale the voxels");
}

}  // namespace

std::string text(const Shape& shape) {
  return std::to_string(shape.x) + "x" + std::to_string(shape.y) + "x" + std::to_string(shape.z);
}

Shape parse_shape(const std::string& word, const std::string& what) {
  Shape s;
  const char* at = word.data();
  const char* end = at + word.size();
  const auto cross = [&] { return at != end && *at == 'x' ? (++at, true) : false; };
  const bool parsed = parse_axis(at, end, s.x) && cross() && parse_axis(at, end, s.y) && cross() &&
                      parse_axis(at, end, s.z) && at == end;
  if (!parsed || s.x < 1 || s.y < 1 || s.z < 1)
    throw Error(what + ": '" + word +
                "' is no size: XxYxZ with three whole numbers from 1 is, like 64x64x64");
  if (s.x > kMaxVoxels / s.y || s.x * s.y > kMaxVoxels / s.z)
    throw Error(what + ": '" + word + "' is more than 2^56 voxels");
  return s;
}

void require_countable(const Shape& shape, int components, const std::string& what) {
  if (shape.count() > kMaxVoxels / components)
    throw Error(what + ": " + std::to_string(components) + " x " + text(shape) +
                " is more than 2^56 numbers");
}

Volume::Volume(std::string name, Shape shape, Dtype dtype, std::shared_ptr<const void> data,
               const std::string& source, int components)
    : Volume(std::move(name), shape, dtype, std::move(data), source, *open_single(), components) {}

Volume::Volume(std::string name, Shape shape, Dtype dtype, std::shared_ptr<const void> data,
               const std::string& source, Communicator& communicator, int components)
    : name(std::move(name)),
      shape(shape),
      dtype(dtype),
      components(components),
      data_(std::move(data)) {
  check(data_ && shape.x > 0 && shape.y > 0 && shape.z > 0 && components > 0,
        "a volume without voxels");
  require_same(communicator,
               text(shape) + " " + std::to_string(components) + " " + kanbench::name(dtype),
               source);
  visit(dtype, [&](auto voxel) {
    for (int c = 0; c < components; ++c) {
      const auto seen =
          scan_together<decltype(voxel)>(component_data(c), shape.count(), communicator);
      const std::string where =
          components == 1 ? source : source + ", component " + std::to_string(c);
      together(communicator, [&] {
        require_numbers(seen, shape, where);
        require_range(seen, where);
      });
      ranges_.push_back({static_cast<double>(seen.low), static_cast<double>(seen.high)});
    }
  });
  low = ranges_[0][0];
  high = ranges_[0][1];
}

VolumeView VolumeView::component(int number) const {
  check(number >= 0 && number < components, "a component that a view does not have");
  if (components == 1) return *this;
  VolumeView one = *this;
  const std::int64_t voxels = held.shape().count() * number;
  one.data =
      static_cast<const std::byte*>(data) + static_cast<std::size_t>(voxels) * size_of(dtype);
  one.low = ranges[number][0];
  one.high = ranges[number][1];
  one.components = 1;
  one.ranges = nullptr;
  return one;
}

VolumeView Volume::view() const {
  VolumeView all{data_.get(), shape, dtype, low, high, whole(shape)};
  all.components = components;
  if (components > 1) all.ranges = ranges_.data();
  return all;
}

std::shared_ptr<const void> Volume::component_data(int number) const {
  if (components == 1) return data_;
  const auto at = static_cast<std::size_t>(shape.count() * number) * size_of(dtype);
  return {data_, static_cast<const std::byte*>(data_.get()) + at};
}

Volume Volume::component(int number) const {
  check(number >= 0 && number < components, "a component that a volume does not have");
  Volume one = *this;
  one.components = 1;
  one.data_ = component_data(number);
  one.ranges_ = {ranges_[static_cast<std::size_t>(number)]};
  one.low = one.ranges_[0][0];
  one.high = one.ranges_[0][1];
  return one;
}

Volume Volume::cut(const Box& box) const {
  Volume part;
  part.name = name;
  part.shape = box.shape();
  part.dtype = dtype;
  part.spacing = spacing;
  part.origin = origin;
  part.filled = filled;
  for (std::size_t d = 0; d < 3; ++d)
    part.origin[d] += static_cast<double>(box.low[d]) * spacing[d];
  const Shape& n = part.shape;
  check(n.x > 0 && n.y > 0 && n.z > 0, "an empty box");
  check(box.low[0] >= 0 && box.low[1] >= 0 && box.low[2] >= 0 && box.high[0] <= shape.x &&
            box.high[1] <= shape.y && box.high[2] <= shape.z,
        "a box outside its volume");
  const auto size = static_cast<std::int64_t>(size_of(dtype));
  const std::shared_ptr<std::byte[]> copy(new std::byte[part.bytes()]);
  const auto* from = static_cast<const std::byte*>(data());
  const bool large = bytes() > kLarge;
  parallel(n.z, [&](std::int64_t z) {
    const std::int64_t slice = (box.low[2] + z) * shape.y;
    for (std::int64_t y = 0; y < n.y; ++y)
      std::memcpy(copy.get() + (z * n.y + y) * n.x * size,
                  from + ((slice + box.low[1] + y) * shape.x + box.low[0]) * size,
                  static_cast<std::size_t>(n.x * size));
    if (large)
      forget_bytes(data_,
                   {(slice + box.low[1]) * shape.x * size, (slice + box.high[1]) * shape.x * size});
  });
  part.data_ = std::shared_ptr<const void>(copy, copy.get());
  visit(dtype, [&](auto voxel) {
    const auto seen = scan_together<decltype(voxel)>(part.data_, n.count(), *open_single());
    part.low = static_cast<double>(seen.low);
    part.high = static_cast<double>(seen.high);
    part.ranges_ = {{part.low, part.high}};
  });
  return part;
}

void Volume::forget() const { forget_bytes(data_, {0, static_cast<std::int64_t>(bytes())}); }

}  // namespace kanbench
