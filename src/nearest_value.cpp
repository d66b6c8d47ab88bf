// Along each line the distance to a candidate is a parabola; the nearest is found on the lowest of
// them.
#include "nearest_value.h"

#include "kanbench/parallel.h"

namespace kanbench {
namespace {

constexpr std::int64_t kNone = -1;

// One line of voxels, and the lower envelope of its parabolas.
class Line {
 public:
  explicit Line(std::int64_t length)
      : site_(static_cast<std::size_t>(length)),
        height_(site_.size()),
        peak_(site_.size()),
        from_(site_.size()) {}

  // site[i * stride] of the line that begins there: candidates before, nearest candidates after.
  // height(s, i) is the squared distance from candidate s to voxel i but for the line's own axis.
  template <class Height>
  void find(std::int64_t* site, std::int64_t stride, Height height) {
    const auto length = static_cast<std::int64_t>(site_.size());
    std::int64_t last = -1;
    for (std::int64_t i = 0; i < length; ++i) {
      at(site_, i) = site[i * stride];
      if (at(site_, i) == kNone) continue;
      at(height_, i) = height(at(site_, i), i);
      double from = -1;
      for (; last >= 0; --last) {
        from = meeting(at(peak_, last), i);
        if (from > at(from_, last)) break;
      }
      ++last;
      at(peak_, last) = i;
      at(from_, last) = last == 0 ? -1 : from;
    }
    if (last < 0) return;
    for (std::int64_t i = 0, k = 0; i < length; ++i) {
      while (k < last && at(from_, k + 1) < static_cast<double>(i)) ++k;
      site[i * stride] = at(site_, at(peak_, k));
    }
  }

 private:
  template <class T>
  static T& at(std::vector<T>& values, std::int64_t i) {
    return values[static_cast<std::size_t>(i)];
  }
  // Where the parabola of `b`, which lies behind, falls below that of `a`.
  double meeting(std::int64_t a, std::int64_t b) {
    const double rise = static_cast<double>(at(height_, b) + b * b - at(height_, a) - a * a);
    return rise / static_cast<double>(2 * (b - a));
  }

  std::vector<std::int64_t> site_, height_, peak_;
  std::vector<double> from_;
};

}  // namespace

std::vector<std::int64_t> nearest_voxels(const Shape& shape,
                                         const std::function<bool(std::int64_t)>& has_value) {
  const std::int64_t nx = shape.x, ny = shape.y, nz = shape.z;
  std::vector<std::int64_t> site(static_cast<std::size_t>(shape.count()));
  const auto square = [](std::int64_t n) { return n * n; };
  parallel(ny * nz, [&](std::int64_t row) {
    std::int64_t* line = site.data() + row * nx;
    for (std::int64_t x = 0; x < nx; ++x) line[x] = has_value(row * nx + x) ? row * nx + x : kNone;
    Line(nx).find(line, 1, [](std::int64_t, std::int64_t) { return std::int64_t{0}; });
  });
  parallel(nz, [&](std::int64_t z) {
    Line line(ny);
    for (std::int64_t x = 0; x < nx; ++x)
      line.find(site.data() + z * ny * nx + x, nx,
                [&](std::int64_t s, std::int64_t) { return square(s % nx - x); });
  });
  parallel(ny, [&](std::int64_t y) {
    Line line(nz);
    for (std::int64_t x = 0; x < nx; ++x)
      line.find(site.data() + y * nx + x, nx * ny, [&](std::int64_t s, std::int64_t) {
        return square(s % nx - x) + square(s / nx % ny - y);
      });
  });
  return site;
}

}  // namespace kanbench
