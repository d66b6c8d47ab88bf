#include "missing.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>
#include <limits>

#include "decimal.h"
#include "io/body.h"
#include "io/quote.h"
#include "kanbench/error.h"
#include "kanbench/math/voxels.h"
#include "kanbench/parallel.h"
#include "nearest_value.h"

namespace kanbench {
namespace {

constexpr std::int64_t kChunk = std::int64_t{1} << 18;
constexpr const char* kRules[] = {"error", "nearest", "min", "max", "mean"};

template <class T>
class Filling {
 public:
  Filling(StoredVolume& volume, const Missing& missing, const std::string& source)
      : volume_(volume), missing_(missing), source_(source) {
    for (const VoxelBytes& bytes : volume.fills) {
      fills_.emplace_back();
      std::memcpy(&fills_.back(), bytes.data(), sizeof(T));
    }
  }

  std::int64_t run() {
    std::int64_t filled = 0;
    const std::int64_t count = volume_.header.shape.count();
    for (int c = 0; c < volume_.header.components; ++c) filled += fill(c * count, c);
    return filled;
  }

 private:
  struct Seen {
    std::int64_t missing = 0, first = std::numeric_limits<std::int64_t>::max();
    T low = std::numeric_limits<T>::max(), high = std::numeric_limits<T>::lowest();
    double sum = 0;
  };

  bool has_value(T value) const {
    if constexpr (std::is_floating_point_v<T>)
      if (!std::isfinite(value)) return false;
    for (const T none : fills_)
      if (value == none) return false;
    return true;
  }
  const T* voxels() const { return static_cast<const T*>(volume_.voxels.get()); }

  // Sums of chunks are added in their order: any number of threads gives the same bits.
  Seen look(const T* component) const {
    const std::int64_t count = volume_.header.shape.count();
    std::vector<Seen> each(static_cast<std::size_t>((count + kChunk - 1) / kChunk));
    parallel(static_cast<std::int64_t>(each.size()), [&](std::int64_t chunk) {
      Seen& seen = each[static_cast<std::size_t>(chunk)];
      const std::int64_t last = std::min(count, (chunk + 1) * kChunk);
      for (std::int64_t i = chunk * kChunk; i < last; ++i) {
        const T value = component[i];
        if (!has_value(value)) {
          seen.first = std::min(seen.first, i);
          ++seen.missing;
          continue;
        }
        seen.low = std::min(seen.low, value);
        seen.high = std::max(seen.high, value);
        seen.sum += static_cast<double>(value);
      }
    });
    Seen all;
    for (const Seen& seen : each) {
      all.missing += seen.missing;
      all.first = std::min(all.first, seen.first);
      all.low = std::min(all.low, seen.low);
      all.high = std::max(all.high, seen.high);
      all.sum += seen.sum;
    }
    return all;
  }

  std::int64_t fill(std::int64_t begin, int component) {
    const Seen seen = look(voxels() + begin);
    if (seen.missing == 0) return 0;
    const Shape& shape = volume_.header.shape;
    const std::string where =
        source_ + (volume_.header.components > 1 ? ", component " + std::to_string(component) : "");
    const std::string count =
        where + ": " + std::to_string(seen.missing) + " of " + std::to_string(shape.count());
    if (missing_.rule == Missing::Rule::error)
      throw Error(
          count + " voxels have no value (NaN, infinity or the file's own mark), the first at " +
          place_text(shape, seen.first) + ": say --missing nearest, min, max, mean or a number");
    if (seen.missing == shape.count() && missing_.rule != Missing::Rule::number)
      throw Error(count + " voxels have no value: nothing is left to fill them from");
    T* own = make_own() + begin;
    if (missing_.rule == Missing::Rule::nearest)
      fill_nearest(own);
    else
      fill_with(own, value_of(seen));
    return seen.missing;
  }

  T value_of(const Seen& seen) const {
    const auto values = static_cast<double>(volume_.header.shape.count() - seen.missing);
    switch (missing_.rule) {
      case Missing::Rule::min:
        return seen.low;
      case Missing::Rule::max:
        return seen.high;
      case Missing::Rule::mean:
        return std::clamp(to_voxel<T>(seen.sum / values), seen.low, seen.high);
      default:
        break;
    }
    const T value = to_voxel<T>(missing_.number);
    const bool held =
        std::is_floating_point_v<T>
            ? std::abs(missing_.number) <= static_cast<double>(std::numeric_limits<T>::max())
            : static_cast<double>(value) == missing_.number;
    if (!held)
      throw Error("--missing " + decimal(missing_.number) + ": " + source_ + " is " +
                  name(volume_.header.dtype) + ", which does not hold that number");
    return value;
  }

  void fill_with(T* own, T value) const {
    const std::int64_t count = volume_.header.shape.count();
    parallel((count + kChunk - 1) / kChunk, [&](std::int64_t chunk) {
      const std::int64_t last = std::min(count, (chunk + 1) * kChunk);
      for (std::int64_t i = chunk * kChunk; i < last; ++i)
        if (!has_value(own[i])) own[i] = value;
    });
  }

  void fill_nearest(T* own) const {
    const std::vector<std::int64_t> nearest =
        nearest_voxels(volume_.header.shape, [&](std::int64_t i) { return has_value(own[i]); });
    // Those that are read from have values of their own, and stay.
    for (std::size_t i = 0; i < nearest.size(); ++i)
      if (nearest[i] != static_cast<std::int64_t>(i)) own[i] = own[nearest[i]];
  }

  // The voxels in memory of their own, which may be a mapped file's.
  T* make_own() {
    if (!own_) {
      own_ = allocate_voxels(bytes_of(volume_.header), source_);
      std::memcpy(own_.get(), volume_.voxels.get(), bytes_of(volume_.header));
      volume_.voxels = std::shared_ptr<const void>(own_, own_.get());
    }
    return reinterpret_cast<T*>(own_.get());
  }

  StoredVolume& volume_;
  const Missing& missing_;
  const std::string& source_;
  std::vector<T> fills_;
  std::shared_ptr<std::byte[]> own_;
};

}  // namespace

Missing parse_missing(const std::string& word, const std::string& what) {
  for (std::size_t i = 0; i < std::size(kRules); ++i)
    if (word == kRules[i]) return {static_cast<Missing::Rule>(i), 0};
  Missing missing{Missing::Rule::number, 0};
  const char* const end = word.data() + word.size();
  const auto [stop, failure] = std::from_chars(word.data(), end, missing.number);
  if (failure != std::errc{} || stop != end || !std::isfinite(missing.number)) {
    const std::vector<std::string> rules(std::begin(kRules), std::end(kRules));
    throw Error(what + ": " + quote(word) + nearest(word, rules) + " is not " + join(rules) +
                " or a finite number");
  }
  return missing;
}

std::string text(const Missing& missing) {
  if (missing.rule == Missing::Rule::number) return decimal(missing.number);
  return kRules[static_cast<std::size_t>(missing.rule)];
}

std::int64_t fill_missing(StoredVolume& volume, const Missing& missing, const std::string& source) {
  return visit(volume.header.dtype,
               [&](auto zero) { return Filling<decltype(zero)>(volume, missing, source).run(); });
}

std::string place_text(const Shape& shape, std::int64_t number) {
  return "(x, y, z) = (" + std::to_string(number % shape.x) + ", " +
         std::to_string(number / shape.x % shape.y) + ", " +
         std::to_string(number / shape.x / shape.y) + ")";
}

}  // namespace kanbench
