#include "kanbench/volume.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>
#include <limits>
#include <type_traits>
#include <vector>

#include "kanbench/error.h"
#include "kanbench/parallel.h"

namespace kanbench {
namespace {

constexpr std::int64_t kMaxVoxels = std::int64_t{1} << 56;
constexpr std::int64_t kChunk = std::int64_t{1} << 20;

bool parse_axis(const char*& at, const char* end, std::int64_t& value) {
  const auto [next, failure] = std::from_chars(at, end, value);
  const bool plain = at != end && *at >= '0' && *at <= '9' && failure == std::errc{};
  at = next;
  return plain;
}

template <class T>
struct Range {
  T low = std::numeric_limits<T>::max(), high = std::numeric_limits<T>::lowest();
  bool finite = true;
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

// Independent lanes let the compiler keep the reduction in vector registers.
template <class T>
Range<T> scan(const T* voxels, std::int64_t count) {
  constexpr int lanes = 64 / sizeof(T);
  const Range<T> none;
  T low[lanes], high[lanes];
  std::fill_n(low, lanes, none.low);
  std::fill_n(high, lanes, none.high);
  unsigned bad[lanes] = {};
  const auto take = [&](int lane, T v) {
    low[lane] = v < low[lane] ? v : low[lane];
    high[lane] = v > high[lane] ? v : high[lane];
    if constexpr (std::is_floating_point_v<T>) bad[lane] |= not_finite(v);
  };
  std::int64_t i = 0;
  for (; i + lanes <= count; i += lanes)
    for (int lane = 0; lane < lanes; ++lane) take(lane, voxels[i + lane]);
  for (int lane = 0; i < count; ++i, ++lane) take(lane, voxels[i]);
  return {*std::min_element(low, low + lanes), *std::max_element(high, high + lanes),
          std::none_of(bad, bad + lanes, [](unsigned b) { return b != 0; })};
}

template <class T>
[[noreturn]] void report_not_finite(const T* voxels, const Shape& shape,
                                    const std::string& source) {
  const std::int64_t voxel_count = shape.count();
  std::vector<std::int64_t> counts(static_cast<std::size_t>((voxel_count + kChunk - 1) / kChunk));
  parallel(static_cast<std::int64_t>(counts.size()), [&](std::int64_t c) {
    const std::int64_t end = std::min(voxel_count, (c + 1) * kChunk);
    std::int64_t n = 0;
    for (std::int64_t i = c * kChunk; i < end; ++i) n += not_finite(voxels[i]);
    counts[static_cast<std::size_t>(c)] = n;
  });
  std::int64_t total = 0;
  for (const std::int64_t n : counts) total += n;
  const std::int64_t first = std::find_if(voxels, voxels + voxel_count, not_finite<T>) - voxels;
  const std::int64_t x = first % shape.x, y = first / shape.x % shape.y;
  const std::int64_t z = first / shape.x / shape.y;
  throw Error(source + ": " + std::to_string(total) + " of " + std::to_string(voxel_count) +
              " voxels are not finite, the first at (x, y, z) = (" + std::to_string(x) + ", " +
              std::to_string(y) + ", " + std::to_string(z) +
              "): replace NaN and infinity by numbers");
}

template <class T>
std::string digits(T value) {
  char text[32];
  return {text, std::to_chars(text, text + sizeof text, value).ptr};
}

template <class T>
std::array<double, 2> find_range(const T* voxels, const Shape& shape, const std::string& source) {
  const std::int64_t count = shape.count();
  std::vector<Range<T>> chunks(static_cast<std::size_t>((count + kChunk - 1) / kChunk));
  parallel(static_cast<std::int64_t>(chunks.size()), [&](std::int64_t c) {
    chunks[static_cast<std::size_t>(c)] =
        scan(voxels + c * kChunk, std::min(kChunk, count - c * kChunk));
  });
  Range<T> all;
  for (const Range<T>& chunk : chunks) {
    all.low = std::min(all.low, chunk.low);
    all.high = std::max(all.high, chunk.high);
    all.finite = all.finite && chunk.finite;
  }
  if constexpr (std::is_floating_point_v<T>)
    if (!all.finite) report_not_finite(voxels, shape, source);
  const double low = static_cast<double>(all.low), high = static_cast<double>(all.high);
  if (all.low == all.high)
    throw Error(source + ": a constant volume, every voxel is " + digits(all.low) +
                ": there is nothing to learn");
  if (!(low < high) || !std::isfinite(high - low) || !std::isfinite(1 / (high - low)))
    throw Error(source + ": the range " + digits(all.low) + " to " + digits(all.high) +
                " does not fit double precision: scale the voxels");
  return {low, high};
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

Volume::Volume(std::string name, Shape shape, Dtype dtype, std::shared_ptr<const void> data,
               const std::string& source)
    : name(std::move(name)), shape(shape), dtype(dtype), data_(std::move(data)) {
  check(data_ && shape.x > 0 && shape.y > 0 && shape.z > 0, "a volume without voxels");
  const auto range = visit(dtype, [&](auto voxel) {
    return find_range(static_cast<const decltype(voxel)*>(data_.get()), shape, source);
  });
  low = range[0];
  high = range[1];
}

}  // namespace kanbench
