// Figures of merit, slice after slice. Rows are summed one by one and then in order, so that the
// result does not depend on who summed them.
#include "kanbench/metrics.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>
#include <vector>

#include "kanbench/error.h"
#include "kanbench/parallel.h"
#include "ssim.h"

namespace kanbench {
namespace {

// Rows that one task takes: enough that the ten rows filtered twice matter little.
constexpr std::int64_t rows_per_task = 64;

std::int64_t tasks_of(std::int64_t rows) { return (rows + rows_per_task - 1) / rows_per_task; }

double ordered_sum(const std::vector<double>& rows) {
  double total = 0;
  for (double row : rows) total += row;
  return total;
}

struct Axes {
  ssim::Axis x, y, z;
};

Axes axes_of(const Shape& shape, bool cropped) {
  return {{shape.x, cropped}, {shape.y, cropped}, {shape.z, cropped}};
}

bool crops_2d(const Shape& s) { return std::min(s.x, s.y) >= ssim::taps; }
bool crops_3d(const Shape& s) { return crops_2d(s) && s.z >= ssim::taps; }

}  // namespace

struct MetricsSum::State {
  explicit State(Shape s)
      : shape(s),
        plane(axes_of(s, crops_2d(s))),
        space(axes_of(s, crops_3d(s))),
        slots(std::min<std::int64_t>(s.z, ssim::taps)) {
    const auto held = static_cast<std::size_t>(slots * s.x * s.y);
    original.resize(held);
    reconstruction.resize(held);
    squares.resize(static_cast<std::size_t>(s.y));
    maxima.resize(static_cast<std::size_t>(s.y));
    sums_2d.resize(static_cast<std::size_t>(plane.y.outputs()));
    sums_3d.resize(static_cast<std::size_t>(space.y.outputs()));
  }

  float* slot(std::vector<float>& ring, std::int64_t z) {
    return ring.data() + (z % slots) * shape.x * shape.y;
  }
  void take(const float* a, const float* b);
  void take_row(std::int64_t y, const float* a, const float* b);
  void measure(bool with_plane, std::int64_t centre);

  Shape shape;
  Axes plane, space;
  std::int64_t slots;
  std::vector<float> original, reconstruction;
  std::vector<double> squares, maxima, sums_2d, sums_3d;
  std::int64_t taken = 0, centres = 0;
  double square_sum = 0, max_error = 0, ssim_2d = 0, ssim_3d = 0;
};

void MetricsSum::State::take_row(std::int64_t y, const float* a, const float* b) {
  const std::int64_t at = y * shape.x;
  float* kept_a = slot(original, taken) + at;
  float* kept_b = slot(reconstruction, taken) + at;
  double squared = 0, largest = 0;
  for (std::int64_t x = 0; x < shape.x; ++x) {
    kept_a[x] = a[at + x];
    kept_b[x] = std::clamp(b[at + x], 0.0f, 1.0f);
    const double error = std::abs(static_cast<double>(kept_b[x]) - kept_a[x]);
    squared += error * error;
    largest = std::max(largest, error);
  }
  squares[static_cast<std::size_t>(y)] = squared;
  maxima[static_cast<std::size_t>(y)] = largest;
}

void MetricsSum::State::take(const float* a, const float* b) {
  parallel(tasks_of(shape.y), [&](std::int64_t task) {
    const std::int64_t first = task * rows_per_task;
    const std::int64_t last = std::min(first + rows_per_task, shape.y);
    for (std::int64_t y = first; y < last; ++y) take_row(y, a, b);
  });
  square_sum += ordered_sum(squares);
  max_error = std::max(max_error, *std::max_element(maxima.begin(), maxima.end()));
  ++taken;
}

// The 2-D map of the slice taken last, if wanted, and the 3-D map at `centre`, an output along z;
// -1 for none. Both in one round of tasks.
void MetricsSum::State::measure(bool with_plane, std::int64_t centre) {
  const float* last[2] = {slot(original, taken - 1), slot(reconstruction, taken - 1)};
  const ssim::Window flat{{&last[0], 1}, {&last[1], 1}};
  std::vector<const float*> a(ssim::taps), b(ssim::taps);
  for (int k = 0; k < ssim::taps && centre >= 0; ++k) {
    const std::int64_t z = space.z.source(centre, k);
    a[static_cast<std::size_t>(k)] = slot(original, z);
    b[static_cast<std::size_t>(k)] = slot(reconstruction, z);
  }
  const ssim::Window deep{a, b};
  const std::int64_t planes = with_plane ? tasks_of(plane.y.outputs()) : 0;
  const std::int64_t spaces = centre >= 0 ? tasks_of(space.y.outputs()) : 0;
  parallel(planes + spaces, [&](std::int64_t task) {
    const bool is_plane = task < planes;
    const Axes& axes = is_plane ? plane : space;
    const std::int64_t first = (is_plane ? task : task - planes) * rows_per_task;
    const std::int64_t count = std::min(rows_per_task, axes.y.outputs() - first);
    std::vector<double>& sums = is_plane ? sums_2d : sums_3d;
    ssim::row_sums(
        is_plane ? flat : deep, axes.x, axes.y, first,
        std::span(sums).subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(count)));
  });
  if (planes) ssim_2d += ordered_sum(sums_2d);
  if (spaces) ssim_3d += ordered_sum(sums_3d);
}

double psnr_of(double mse) {
  return mse == 0 ? std::numeric_limits<double>::infinity() : -10 * std::log10(mse);
}

std::string ssim_variant(const Shape& shape) {
  const std::string plane = crops_2d(shape) ? "cropped" : "mirror-padded";
  const std::string space = crops_3d(shape) ? "cropped" : "mirror-padded";
  return "Wang, Gaussian window 11x11, sigma 1.5, " + plane +
         ", mean over z slices; 3-D: 11x11x11, " + space;
}

MetricsSum::MetricsSum(Shape shape) {
  check(shape.x > 0 && shape.y > 0 && shape.z > 0, "a volume to measure has no voxels");
  state_ = std::make_unique<State>(shape);
}
MetricsSum::~MetricsSum() = default;
MetricsSum::MetricsSum(MetricsSum&&) noexcept = default;

void MetricsSum::add_slice(const float* original, const float* reconstruction) {
  State& s = *state_;
  check(s.taken < s.shape.z, "more slices were measured than the volume has");
  s.take(original, reconstruction);
  // The newest slice completes the window of one output along z; the mirrored form leaves the
  // last five, and all where there are fewer than six slices, to result().
  const std::int64_t ready = s.taken - (s.space.z.cropped ? ssim::taps : ssim::radius + 1);
  const std::int64_t centre = ready >= 0 ? ready : -1;
  if (centre >= 0) s.centres = centre + 1;
  s.measure(true, centre);
}

Metrics MetricsSum::result() {
  State& s = *state_;
  check(s.taken == s.shape.z, "fewer slices were measured than the volume has");
  for (; s.centres < s.space.z.outputs(); ++s.centres) s.measure(false, s.centres);
  Metrics m;
  m.mse = s.square_sum / static_cast<double>(s.shape.count());
  m.psnr = psnr_of(m.mse);
  const std::int64_t in_planes = s.plane.x.outputs() * s.plane.y.outputs() * s.shape.z;
  const std::int64_t in_space = s.space.x.outputs() * s.space.y.outputs() * s.space.z.outputs();
  m.ssim = s.ssim_2d / static_cast<double>(in_planes);
  m.ssim_3d = s.ssim_3d / static_cast<double>(in_space);
  // A comparison with NaN is false, so the running maximum would pass over it.
  m.max_error = std::isnan(m.mse) ? m.mse : s.max_error;
  return m;
}

void normalise(const VolumeView& view, std::int64_t first, std::int64_t count, float* out) {
  constexpr std::int64_t per_task = 1 << 16;
  visit(view.dtype, [&](auto zero) {
    using T = decltype(zero);
    const T* voxels = static_cast<const T*>(view.data) + first;
    const double low = view.low, range = view.high - view.low;
    parallel((count + per_task - 1) / per_task, [&](std::int64_t task) {
      const std::int64_t last = std::min((task + 1) * per_task, count);
      for (std::int64_t i = task * per_task; i < last; ++i) {
        out[i] = static_cast<float>((static_cast<double>(voxels[i]) - low) / range);
      }
    });
  });
}

void rescale(float* values, std::int64_t count, double low, double high, const VolumeView& view) {
  const bool same = low == view.low && high == view.high;
  const double range = view.high - view.low;
  for (std::int64_t i = 0; i < count; ++i) {
    values[i] = std::clamp(values[i], 0.0f, 1.0f);
    if (!same) values[i] = static_cast<float>((low + values[i] * (high - low) - view.low) / range);
  }
}

}  // namespace kanbench
