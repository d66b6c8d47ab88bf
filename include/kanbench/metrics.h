#pragma once
// Figures of merit of a reconstruction against the normalised volume, slice by slice, in double.

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "kanbench/range.h"
#include "kanbench/volume.h"

namespace kanbench {

/// All on values in [0, 1], the reconstruction clamped to it.
struct Metrics {
  double mse = 0;
  /// -10 log10(mse): the peak is the volume's own range. Infinite for an exact reconstruction.
  double psnr = 0;
  /// Mean over z slices of 2-D SSIM.
  double ssim = 0;
  double ssim_3d = 0;
  double max_error = 0;
};

/// Of several components, each normalised by its own range: the means, the PSNR of the mean MSE,
/// and the largest error of any.
Metrics mean_of(const std::vector<Metrics>& components);

/// What metrics of z slices add up from: those of several ranges make those of all.
struct MetricSums {
  double squared_error = 0, max_error = 0;
  /// Over the SSIM maps' points whose centres lie in the slices.
  double ssim = 0, ssim_3d = 0;
  /// False once a value was not a number.
  bool finite = true;
};

/// The metrics of a volume of that shape by the sums over all its slices.
Metrics metrics_of(const MetricSums& sums, const Shape& shape);

/// The z slices that measuring `slices` needs: five more a side, where the volume has them.
Range with_halo(Range slices, const Shape& shape);

/// -10 log10(mse); infinity for 0.
double psnr_of(double mse);

/// How SSIM was taken, to stand wherever it is printed, for a volume of this shape: the window and
/// its border ("cropped", or "mirror-padded" where an axis is under 11 voxels).
std::string ssim_variant(const Shape& shape);

/// Takes a volume and its reconstruction slice after slice and holds no more than eleven of them.
/// SSIM is Wang's (IEEE TIP 2004) as scikit-image computes it with gaussian_weights=True,
/// sigma=1.5, use_sample_covariance=False, data_range=1: 11 taps an axis, K1 0.01, K2 0.03, biased
/// covariance, a border of 5 voxels cropped; where an axis in question is under 11 voxels, nothing
/// is cropped and the field is mirrored without repeating the edge. The 3-D figure uses the same
/// window along three axes. The result does not depend on the thread count.
class MetricsSum {
 public:
  /// To measure `slices` of a volume of that shape.
  MetricsSum(Shape shape, Range slices);
  explicit MetricsSum(Shape shape) : MetricsSum(shape, {0, shape.z}) {}
  ~MetricsSum();
  MetricsSum(MetricsSum&&) noexcept;

  /// The next z slice of with_halo(), x fastest: original and reconstruction, shape.x * shape.y
  /// each. The reconstruction is clamped here.
  void add_slice(const float* original, const float* reconstruction);
  /// After all of them.
  MetricSums sums();
  /// The same where they were all of the volume's.
  Metrics result();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Voxels first ... first + count - 1 of the view's first component (x fastest), normalised to
/// [0, 1]. Host memory.
void normalise(const VolumeView& view, std::int64_t first, std::int64_t count, float* out);

/// Clamps `count` values to [0, 1], which stands for [low, high], and normalises them as the view's
/// voxels are.
void rescale(float* values, std::int64_t count, double low, double high, const VolumeView& view);

}  // namespace kanbench
