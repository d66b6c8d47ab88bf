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
  State(Shape s, Range measured)
      : shape(s),
        slices(measured),
        held(with_halo(measured, s)),
        plane(axes_of(s, crops_2d(s))),
        space(axes_of(s, crops_3d(s))),
        border(space.z.cropped ? ssim::radius : 0),
        slots(std::min<std::int64_t>(held.size(), ssim::taps)),
        next(held.begin),
        next_centre(std::max(slices.begin, border)) {
    const auto voxels = static_cast<std::size_t>(slots * s.x * s.y);
    original.resize(voxels);
    reconstruction.resize(voxels);
    squares.resize(static_cast<std::size_t>(s.y));
    maxima.resize(static_cast<std::size_t>(s.y));
    sums_2d.resize(static_cast<std::size_t>(plane.y.outputs()));
    sums_3d.resize(static_cast<std::size_t>(space.y.outputs()));
  }

  float* slot(std::vector<float>& ring, std::int64_t z) {
    return ring.data() + (z % slots) * shape.x * shape.y;
  }
  // Slices that are centres of the 3-D map and measured here end before this one.
  std::int64_t centres_end() const { return std::min(slices.end, shape.z - border); }
  void take(const float* a, const float* b);
  void take_row(std::int64_t y, const float* a, const float* b);
  void measure(bool with_plane, std::int64_t centre);

  Shape shape;
  Range slices, held;
  Axes plane, space;
  std::int64_t border, slots;
  std::vector<float> original, reconstruction;
  std::vector<double> squares, maxima, sums_2d, sums_3d;
  // The slice that comes next, and the next centre of the 3-D map.
  std::int64_t next, next_centre;
  MetricSums sums;
};

void MetricsSum::State::take_row(std::int64_t y, const float* a, const float* b) {
  const std::int64_t at = y * shape.x;
  float* kept_a = slot(original, next) + at;
  float* kept_b = slot(reconstruction, next) + at;
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
  if (next >= slices.begin && next < slices.end) {
    sums.squared_error += ordered_sum(squares);
    sums.max_error = std::max(sums.max_error, *std::max_element(maxima.begin(), maxima.end()));
  }
  ++next;
}

// The 2-D map of the slice taken last, if wanted, and the 3-D map about slice `centre`; -1 for
// none. Both in one round of tasks.
void MetricsSum::State::measure(bool with_plane, std::int64_t centre) {
  const float* last[2] = {slot(original, next - 1), slot(reconstruction, next - 1)};
  const ssim::Window flat{{&last[0], 1}, {&last[1], 1}};
  std::vector<const float*> a(ssim::taps), b(ssim::taps);
  for (int k = 0; k < ssim::taps && centre >= 0; ++k) {
    const std::int64_t z = space.z.source(centre - border, k);
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
    std::vector<double>& rows = is_plane ? sums_2d : sums_3d;
    ssim::row_sums(
        is_plane ? flat : deep, axes.x, axes.y, first,
        std::span(rows).subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(count)));
  });
  if (planes) sums.ssim += ordered_sum(sums_2d);
  if (spaces) sums.ssim_3d += ordered_sum(sums_3d);
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

Range with_halo(Range slices, const Shape& shape) {
  if (slices.size() <= 0) return {slices.begin, slices.begin};
  return {std::max<std::int64_t>(slices.begin - ssim::radius, 0),
          std::min(slices.end + ssim::radius, shape.z)};
}

Metrics metrics_of(const MetricSums& sums, const Shape& shape) {
  const Axes plane = axes_of(shape, crops_2d(shape)), space = axes_of(shape, crops_3d(shape));
  const std::int64_t in_planes = plane.x.outputs() * plane.y.outputs() * shape.z;
  const std::int64_t in_space = space.x.outputs() * space.y.outputs() * space.z.outputs();
  Metrics m;
  m.mse = sums.squared_error / static_cast<double>(shape.count());
  m.psnr = psnr_of(m.mse);
  m.ssim = sums.ssim / static_cast<double>(in_planes);
  m.ssim_3d = sums.ssim_3d / static_cast<double>(in_space);
  m.max_error = sums.finite ? sums.max_error : std::numeric_limits<double>::quiet_NaN();
  return m;
}

Metrics mean_of(const std::vector<Metrics>& components) {
  check(!components.empty(), "the metrics of no component");
  Metrics mean;
  for (const Metrics& one : components) {
    mean.mse += one.mse;
    mean.ssim += one.ssim;
    mean.ssim_3d += one.ssim_3d;
    // What is not a number stays so.
    if (!std::isnan(mean.max_error) && !(one.max_error <= mean.max_error))
      mean.max_error = one.max_error;
  }
  const auto count = static_cast<double>(components.size());
  mean.mse /= count;
  mean.ssim /= count;
  mean.ssim_3d /= count;
  mean.psnr = psnr_of(mean.mse);
  return mean;
}

MetricsSum::MetricsSum(Shape shape, Range slices) {
  check(shape.x > 0 && shape.y > 0 && shape.z > 0, "a volume to measure has no voxels");
  check(0 <= slices.begin && slices.begin <= slices.end && slices.end <= shape.z,
        "slices to measure outside their volume");
  state_ = std::make_unique<State>(shape, slices);
}
MetricsSum::~MetricsSum() = default;
MetricsSum::MetricsSum(MetricsSum&&) noexcept = default;

void MetricsSum::add_slice(const float* original, const float* reconstruction) {
  State& s = *state_;
  check(s.next < s.held.end, "more slices were measured than the volume has");
  const bool with_plane = s.next >= s.slices.begin && s.next < s.slices.end;
  s.take(original, reconstruction);
  // The newest slice completes the window about the sixth last; the mirrored form leaves the
  // volume's last five centres to sums().
  const bool ready = s.next_centre < s.centres_end() && s.next_centre + ssim::radius < s.next;
  s.measure(with_plane, ready ? s.next_centre : -1);
  s.next_centre += ready;
}

MetricSums MetricsSum::sums() {
  State& s = *state_;
  check(s.next == s.held.end, "fewer slices were measured than the volume has");
  for (; s.next_centre < s.centres_end(); ++s.next_centre) s.measure(false, s.next_centre);
  // A comparison with NaN is false, so the running maximum would pass over it.
  s.sums.finite = !std::isnan(s.sums.squared_error);
  return s.sums;
}

Metrics MetricsSum::result() {
  check(state_->slices == Range{0, state_->shape.z}, "the metrics of a part of a volume");
  return metrics_of(sums(), state_->shape);
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
