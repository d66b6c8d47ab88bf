// Volumes to the device, piece by piece, and fetches from it.

#include <algorithm>
#include <cstring>

#include "kanbench/error.h"
#include "kernels/transfer.h"

namespace kanbench::cuda {
namespace {

constexpr std::size_t kPieceBytes = std::size_t{4} << 20;

/// Two pieces of pinned memory that are filled and sent by turns.
class Pieces {
 public:
  Pieces(void* to, cudaStream_t stream) : to_(static_cast<std::byte*>(to)), stream_(stream) {
    checked(cudaMallocHost(&memory_, 2 * kPieceBytes));
  }
  Pieces(const Pieces&) = delete;
  Pieces& operator=(const Pieces&) = delete;
  ~Pieces() {
    // An upload that ended early may still be reading.
    cudaStreamSynchronize(stream_);
    cudaFreeHost(memory_);
  }

  /// Adds `bytes` to what was added before.
  void add(const std::byte* from, std::size_t bytes) {
    while (bytes > 0) {
      const std::size_t part = std::min(bytes, kPieceBytes - filled_);
      std::memcpy(piece() + filled_, from, part);
      filled_ += part;
      from += part;
      bytes -= part;
      if (filled_ == kPieceBytes) send();
    }
  }
  void finish() {
    send();
    checked(cudaStreamSynchronize(stream_));
  }

 private:
  std::byte* piece() { return static_cast<std::byte*>(memory_) + (second_ ? kPieceBytes : 0); }

  void send() {
    if (filled_ == 0) return;
    checked(cudaMemcpyAsync(to_, piece(), filled_, cudaMemcpyHostToDevice, stream_));
    sent_[second_].record(stream_);
    to_ += filled_;
    filled_ = 0;
    second_ = !second_;
    // What this piece held before must have gone.
    sent_[second_].wait();
  }

  std::byte* to_;
  cudaStream_t stream_;
  void* memory_ = nullptr;
  std::size_t filled_ = 0;
  bool second_ = false;
  Event sent_[2];
};

}  // namespace

void upload_box(const Volume& volume, const Box& box, void* to, cudaStream_t stream) {
  const Shape &n = volume.shape, part = box.shape();
  const std::size_t voxel = size_of(volume.dtype);
  const auto* voxels = static_cast<const std::byte*>(volume.data());
  // Rows that follow each other in the volume go as one.
  const bool whole_rows = part.x == n.x, whole_slices = whole_rows && part.y == n.y;
  const std::int64_t slices = whole_slices ? part.z : 1;
  const std::int64_t rows = whole_rows ? part.y * slices : 1;
  const std::size_t run = static_cast<std::size_t>(part.x * rows) * voxel;
  Pieces pieces(to, stream);
  for (std::int64_t z = box.low[2]; z < box.high[2]; z += slices)
    for (std::int64_t y = box.low[1]; y < box.high[1]; y += whole_rows ? part.y : 1)
      pieces.add(voxels + static_cast<std::size_t>((z * n.y + y) * n.x + box.low[0]) * voxel, run);
  pieces.finish();
}

Fetches::Fetches(int device) : device_(device) {
  checked(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking));
  checked(cudaEventCreateWithFlags(&before_, cudaEventDisableTiming));
}

Fetches::~Fetches() {
  for (const auto& [number, event] : under_way_) cudaEventDestroy(event);
  for (cudaEvent_t event : idle_) cudaEventDestroy(event);
  cudaEventDestroy(before_);
  cudaStreamDestroy(stream_);
}

cudaEvent_t Fetches::take_event() {
  cudaEvent_t event = nullptr;
  if (idle_.empty()) {
    checked(cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
  } else {
    event = idle_.back();
    idle_.pop_back();
  }
  return event;
}

std::int64_t Fetches::begin(void* host, const void* from, std::size_t bytes, cudaStream_t after) {
  checked(cudaSetDevice(device_));
  const std::lock_guard lock(mutex_);
  checked(cudaEventRecord(before_, after));
  checked(cudaStreamWaitEvent(stream_, before_, 0));
  if (bytes > 0) checked(cudaMemcpyAsync(host, from, bytes, cudaMemcpyDeviceToHost, stream_));
  const cudaEvent_t event = take_event();
  under_way_[++last_] = event;
  checked(cudaEventRecord(event, stream_));
  return last_;
}

void Fetches::finish(std::int64_t number) {
  checked(cudaSetDevice(device_));
  cudaEvent_t event = nullptr;
  {
    const std::lock_guard lock(mutex_);
    const auto found = under_way_.find(number);
    check(found != under_way_.end(), "a fetch that is not under way");
    event = found->second;
    under_way_.erase(found);
  }
  const cudaError_t status = cudaEventSynchronize(event);
  const std::lock_guard lock(mutex_);
  idle_.push_back(event);
  checked(status);
}

}  // namespace kanbench::cuda
