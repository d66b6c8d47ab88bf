#pragma once
// Figures of merit on the device, as kanbench/metrics.h defines them, slice after slice in double;
// no more than eleven slices are held.

#include <cstdint>
#include <memory>

#include "kanbench/backend.h"
#include "kanbench/volume.h"
#include "kernels/runtime.h"

namespace kanbench::cuda {

class CudaMeter : public Meter {
 public:
  /// Measures slices `slices` of reconstructions of `volume`, which must live as long, whose values
  /// 0 and 1 stand for `low` and `high`.
  CudaMeter(const Volume& volume, double low, double high, Range slices, cudaStream_t stream);
  ~CudaMeter() override;

  void add(std::int64_t count, const float* values) override;
  MetricSums sums() override;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace kanbench::cuda
