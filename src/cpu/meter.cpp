// Measuring a reconstruction that lies in host memory.

#include <algorithm>
#include <vector>

#include "cpu/backend.h"

namespace kanbench::cpu {
namespace {

class HostMeter : public Meter {
 public:
  HostMeter(const Volume& volume, double low, double high, Range slices)
      : volume_(volume),
        low_(low),
        high_(high),
        original_(static_cast<std::size_t>(slice())),
        reconstruction_(original_.size()),
        sum_(volume.shape, slices),
        z_(with_halo(slices, volume.shape).begin) {}

  void add(std::int64_t count, const float* values) override {
    for (std::int64_t i = 0; i < count; ++i) {
      normalise(volume_.view(), z_++ * slice(), slice(), original_.data());
      std::copy_n(values + i * slice(), slice(), reconstruction_.data());
      rescale(reconstruction_.data(), slice(), low_, high_, volume_.view());
      sum_.add_slice(original_.data(), reconstruction_.data());
    }
  }
  MetricSums sums() override { return sum_.sums(); }

 private:
  std::int64_t slice() const { return volume_.shape.x * volume_.shape.y; }

  const Volume& volume_;
  double low_, high_;
  std::vector<float> original_, reconstruction_;
  MetricsSum sum_;
  std::int64_t z_;
};

}  // namespace

std::unique_ptr<Meter> CpuBackend::open_meter(const Volume& volume, double low, double high,
                                              Range slices) {
  return std::make_unique<HostMeter>(volume, low, high, slices);
}

}  // namespace kanbench::cpu
