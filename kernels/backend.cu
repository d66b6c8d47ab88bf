// The device itself: which there are, its memory, and how volumes come to it.

#include <algorithm>
#include <cstdio>

#include "kanbench/decomposition.h"
#include "kanbench/error.h"
#include "kernels/backend.h"
#include "kernels/blend.h"
#include "kernels/meter.h"
#include "kernels/microbench.h"
#include "kernels/quantise.h"

namespace kanbench {

using cuda::checked;

namespace {

// Compute capability 8.0 and above.
constexpr int kLeastMajor = 8;

std::string version_text(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

// What keeps this process from its devices; empty where there is at least one.
std::string find_obstacle(int& count) {
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status == cudaSuccess && count > 0) return "";
  cudaGetLastError();
  count = 0;
  int driver = 0;
  if (cudaDriverGetVersion(&driver) != cudaSuccess) driver = 0;
  cudaGetLastError();
  if (driver == 0) return "No NVIDIA driver is installed here.";
  if (status == cudaErrorInsufficientDriver) {
    int runtime = 0;
    checked(cudaRuntimeGetVersion(&runtime));
    return "The NVIDIA driver is too old: it serves CUDA " + version_text(driver) +
           ", this build needs " + version_text(runtime) + ".";
  }
  if (status == cudaErrorNoDevice || status == cudaSuccess)
    return "No CUDA device is visible (CUDA_VISIBLE_DEVICES may hide it).";
  return std::string("The CUDA devices do not answer: ") + cudaGetErrorString(status) + ".";
}

}  // namespace

std::vector<Device> list_cuda_devices() {
  int count = 0;
  std::vector<Device> devices, too_old;
  if (!find_obstacle(count).empty()) return devices;
  for (int i = 0; i < count; ++i) {
    cudaDeviceProp properties;
    checked(cudaGetDeviceProperties(&properties, i));
    char text[400];
    std::snprintf(text, sizeof text, "%s, %d multiprocessors, compute capability %d.%d, %.0f GB",
                  properties.name, properties.multiProcessorCount, properties.major,
                  properties.minor, static_cast<double>(properties.totalGlobalMem) * 1e-9);
    (properties.major >= kLeastMajor ? devices : too_old)
        .push_back({"cuda:" + std::to_string(i), text});
  }
  devices.insert(devices.end(), too_old.begin(), too_old.end());
  return devices;
}

std::string why_no_cuda() {
  int count = 0;
  std::string obstacle = find_obstacle(count);
  if (!obstacle.empty()) return obstacle;
  for (int i = 0; i < count; ++i) {
    cudaDeviceProp p;
    checked(cudaGetDeviceProperties(&p, i));
    if (p.major >= kLeastMajor) return "";
    if (i == 0)
      obstacle = std::string(p.name) + " has compute capability " + std::to_string(p.major) + "." +
                 std::to_string(p.minor) + ", kanbench needs " + std::to_string(kLeastMajor) +
                 ".0.";
  }
  return obstacle;
}

std::unique_ptr<Backend> open_cuda(int index, const DeviceSettings& settings) {
  return std::make_unique<cuda::CudaBackend>(index, settings);
}

}  // namespace kanbench

namespace kanbench::cuda {
namespace {

std::size_t held_bytes(const Volume& volume, const Box& held) {
  return static_cast<std::size_t>(held.shape().count() * volume.components) * size_of(volume.dtype);
}

}  // namespace

CudaBackend::CudaBackend(int index, const DeviceSettings& settings)
    : index_(index), settings_(settings) {
  checked(cudaSetDevice(index));
  checked(cudaGetDeviceProperties(&properties_, index));
  if (properties_.major < kLeastMajor)
    throw Error("--device cuda:" + std::to_string(index) + ": " + properties_.name +
                " has compute capability " + std::to_string(properties_.major) + "." +
                std::to_string(properties_.minor) + ", kanbench needs 8.0: use --device cpu");
  limit_memory(settings.memory_limit);
  memory_use().peak = memory_use().used;
  checked(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking));
  checked(cudaStreamCreateWithFlags(&staging_, cudaStreamNonBlocking));
  checked(cudaEventCreateWithFlags(&staged_, cudaEventDisableTiming));
  checked(cudaEventCreateWithFlags(&computed_, cudaEventDisableTiming));
  fetches_.emplace(index);
}

CudaBackend::~CudaBackend() {
  texture_.reset();
  fetches_.reset();
  cudaEventDestroy(staged_);
  cudaEventDestroy(computed_);
  cudaStreamDestroy(staging_);
  cudaStreamDestroy(stream_);
}

std::string CudaBackend::name() const {
  return "cuda:" + std::to_string(index_) + " " + properties_.name;
}

std::size_t CudaBackend::free_bytes() const { return free_memory(); }

void* CudaBackend::allocate(std::size_t bytes) {
  void* memory = take_memory(bytes);
  sizes_[memory] = bytes;
  try {
    checked(cudaMemsetAsync(memory, 0, bytes, stream_));
    checked(cudaStreamSynchronize(stream_));
  } catch (...) {
    release(memory);
    throw;
  }
  return memory;
}

void CudaBackend::release(void* memory) noexcept {
  const auto found = sizes_.find(memory);
  if (found == sizes_.end()) return;
  give_memory(memory, found->second);
  sizes_.erase(found);
}

void CudaBackend::upload(void* to, const void* host, std::size_t bytes) {
  checked(cudaMemcpyAsync(to, host, bytes, cudaMemcpyHostToDevice, stream_));
  checked(cudaStreamSynchronize(stream_));
}

void CudaBackend::download(void* host, const void* from, std::size_t bytes) {
  checked(cudaMemcpyAsync(host, from, bytes, cudaMemcpyDeviceToHost, stream_));
  checked(cudaStreamSynchronize(stream_));
}

void CudaBackend::copy(void* to, const void* from, std::size_t bytes) {
  checked(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream_));
}

bool CudaBackend::holds(const Volume& volume, const Box& box, std::size_t reserved) const {
  // place() gives up the volume before.
  const std::size_t room = free_bytes() + volume_.bytes();
  const std::size_t held = held_bytes(volume, grow(box, 1, volume.shape));
  // A texture is a second copy.
  const std::size_t bytes = settings_.texture ? 2 * held : held;
  return reserved <= room && bytes <= room - reserved;
}

void CudaBackend::displace() {
  texture_.reset();
  textured_ = nullptr;
  volume_.clear();
}

VolumeView CudaBackend::place(const Volume& volume, const Box& box) {
  displace();
  VolumeView view = volume.view();
  view.held = grow(box, 1, volume.shape);
  if (settings_.texture && volume.components > 1)
    throw Error("--texture: a volume of " + std::to_string(volume.components) +
                " components is not a texture: leave --texture out");
  if (settings_.texture && !VolumeTexture::fits(view))
    throw Error("--texture: a volume of " + text(volume.shape) + " " +
                kanbench::name(volume.dtype) +
                " cannot be a texture, which holds 8- and 16-bit integers and float32, at most "
                "16384 an axis: leave --texture out");
  const auto bytes = static_cast<std::int64_t>(held_bytes(volume, view.held));
  view.data = volume_.reserve(bytes);
  for (int c = 0; c < volume.components; ++c)
    upload_box(volume.component(c), view.held, volume_.data() + bytes / volume.components * c,
               stream_);
  if (settings_.texture) {
    texture_ = std::make_unique<VolumeTexture>(view, stream_);
    textured_ = view.data;
  }
  return view;
}

void* CudaBackend::allocate_host(std::size_t bytes) {
  // It may be another thread that calls.
  checked(cudaSetDevice(index_));
  void* memory = nullptr;
  checked(cudaMallocHost(&memory, bytes));
  return memory;
}

void CudaBackend::release_host(void* memory) noexcept { cudaFreeHost(memory); }

void CudaBackend::stage(void* to, const void* host, std::size_t bytes) {
  checked(cudaSetDevice(index_));
  const std::lock_guard lock(staging_mutex_);
  // What is under way may still read what lies there.
  checked(cudaEventRecord(computed_, stream_));
  checked(cudaStreamWaitEvent(staging_, computed_, 0));
  checked(cudaMemcpyAsync(to, host, bytes, cudaMemcpyHostToDevice, staging_));
}

void CudaBackend::finish_staging() {
  {
    const std::lock_guard lock(staging_mutex_);
    checked(cudaEventRecord(staged_, staging_));
    checked(cudaStreamWaitEvent(stream_, staged_, 0));
  }
  checked(cudaEventSynchronize(staged_));
}

std::int64_t CudaBackend::begin_fetch(void* host, const void* from, std::size_t bytes) {
  return fetches_->begin(host, from, bytes, stream_);
}

cudaTextureObject_t CudaBackend::texture_of(const VolumeView& volume) const {
  return texture_ && volume.data == textured_ ? texture_->object() : 0;
}

void CudaBackend::sample(const VolumeView& volume, const Box& box, const Stream& stream,
                         std::int64_t first_row, Rows points, Rows targets) {
  check(targets.width == volume.components, "targets of another number of components");
  draw(make_draws(volume, box, stream, first_row, nullptr, texture_of(volume)), points, targets,
       stream_);
}

void CudaBackend::sample_bricks(std::span<const BrickRows> bricks, const Stream& stream,
                                Rows points, Rows targets) {
  if (settings_.texture)
    throw Error("--texture: a volume in bricks is not a texture: leave --texture out");
  const auto count = static_cast<int>(bricks.size());
  std::vector<DrawArguments> all;
  for (int c = 0; c < targets.width; ++c)
    for (const BrickRows& part : bricks)
      all.push_back(make_draw(part.view.component(c), part.box, stream, part.first));
  DrawArguments* there = bricks_.reserve(static_cast<std::int64_t>(all.size()));
  upload(there, all.data(), all.size() * sizeof(DrawArguments));
  for (int c = 0; c < targets.width; ++c, there += count, targets.data += targets.stride)
    draw_bricks(there, count, points, targets, stream_);
}

std::size_t CudaBackend::evaluation_bytes(const Volume& volume) const {
  const Shape& n = volume.shape;
  const auto slice = static_cast<std::size_t>(n.x * n.y);
  const auto held = static_cast<std::size_t>(std::min<std::int64_t>(n.z, 11));
  // A decoded slice and its voxels, the meter's own, and its sums, for each component.
  const std::size_t one =
      slice * (4 + 2 * size_of(volume.dtype) + 2 * held * 4) + (std::size_t{64} << 10);
  return static_cast<std::size_t>(volume.components) * one;
}

std::unique_ptr<Meter> CudaBackend::open_meter(const Volume& volume, double low, double high,
                                               Range slices) {
  return std::make_unique<CudaMeter>(volume, low, high, slices, stream_);
}

void CudaBackend::blend(const float* values, const Weights& weights, float low, float range,
                        float* out) {
  cuda::blend(values, weights, low, range, out, stream_);
}

void CudaBackend::quantise(const float* values, std::int64_t count, const Decoded& out) {
  cuda::quantise(values, count, out.dtype, out.low, out.high, out.voxels, stream_);
}

std::vector<Ceiling> CudaBackend::measure_ceilings() { return measure_device(index_, stream_); }

}  // namespace kanbench::cuda
