#pragma once
// What comes to a device and goes from it beside the work that is computed: volumes, staged copies
// and fetched ones.

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <vector>

#include "kanbench/volume.h"
#include "kernels/runtime.h"

namespace kanbench::cuda {

/// Copies `box` of a volume in host memory to `to`, x fastest, by way of two small pieces of pinned
/// memory; returns when it is there.
void upload_box(const Volume& volume, const Box& box, void* to, cudaStream_t stream);

/// Copies into pinned memory that go on beside what is computed. Any thread may wait for one.
class Fetches {
 public:
  explicit Fetches(int device);
  Fetches(const Fetches&) = delete;
  Fetches& operator=(const Fetches&) = delete;
  ~Fetches();

  /// Begins a copy of what is at `from` when `after` has done what it was told so far.
  std::int64_t begin(void* host, const void* from, std::size_t bytes, cudaStream_t after);
  void finish(std::int64_t number);

 private:
  cudaEvent_t take_event();

  int device_;
  cudaStream_t stream_ = nullptr;
  cudaEvent_t before_ = nullptr;
  std::mutex mutex_;
  std::int64_t last_ = 0;
  std::map<std::int64_t, cudaEvent_t> under_way_;
  std::vector<cudaEvent_t> idle_;
};

}  // namespace kanbench::cuda
