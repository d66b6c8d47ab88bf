// Streams, events, graphs and textures of the emulated device: what is right works, and what would
// go wrong on a device now and then goes wrong here.

#include <gtest/gtest.h>

#include <cmath>
#include <set>
#include <vector>

#include "emulator.h"
#include "kanbench/error.h"
#include "kernels/device.h"

namespace kanbench::cuda::test {
namespace {

class Streams : public testing::Test {
 protected:
  Streams() {
    emulator::reset();
    checked(cudaStreamCreateWithFlags(&first, cudaStreamNonBlocking));
    checked(cudaStreamCreateWithFlags(&second, cudaStreamNonBlocking));
    checked(cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
    checked(cudaMalloc(&numbers, kCount * sizeof(int)));
    checked(cudaMemset(numbers, 0, kCount * sizeof(int)));
  }
  ~Streams() override {
    emulator::reset();
    cudaFree(numbers);
    cudaEventDestroy(event);
    cudaStreamDestroy(first);
    cudaStreamDestroy(second);
  }
  std::vector<int> read() const {
    std::vector<int> values(kCount);
    checked(cudaMemcpy(values.data(), numbers, kCount * sizeof(int), cudaMemcpyDeviceToHost));
    return values;
  }

  static constexpr int kCount = 32;
  cudaStream_t first = nullptr, second = nullptr;
  cudaEvent_t event = nullptr;
  int* numbers = nullptr;
};

KB_KERNEL(32) set_kernel(int* out, int value) { out[threadIdx.x] = value; }
KB_KERNEL(32) double_kernel(int* out) { out[threadIdx.x] *= 2; }

TEST_F(Streams, AnEventNotAwaitedIsSeen) {
  for (const bool waits : {true, false}) {
    std::set<int> seen;
    for (std::uint64_t seed = 0; seed < 10; ++seed) {
      emulator::set_lazy(true);
      emulator::set_schedule(seed);
      launch(set_kernel, Grid{1, 32, 0, first}, numbers, 3);
      checked(cudaEventRecord(event, first));
      if (waits) checked(cudaStreamWaitEvent(second, event));
      launch(double_kernel, Grid{1, 32, 0, second}, numbers);
      checked(cudaDeviceSynchronize());
      seen.insert(read()[0]);
    }
    EXPECT_EQ(seen, waits ? std::set<int>({6}) : std::set<int>({3, 6}));
  }
}

TEST_F(Streams, WithItsEventsAPipelineIsAlwaysTheSame) {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    emulator::set_lazy(true);
    emulator::set_schedule(seed);
    for (int round = 0; round < 3; ++round) {
      launch(set_kernel, Grid{1, 32, 0, first}, numbers, 3 + round);
      checked(cudaEventRecord(event, first));
      checked(cudaStreamWaitEvent(second, event));
      launch(double_kernel, Grid{1, 32, 0, second}, numbers);
      checked(cudaEventRecord(event, second));
      checked(cudaStreamWaitEvent(first, event));
    }
    checked(cudaEventSynchronize(event));
    EXPECT_EQ(read(), std::vector<int>(kCount, 10));
  }
}

TEST_F(Streams, PinnedMemoryIsReadWhenTheCopyRunsAndPageableAtOnce) {
  emulator::set_lazy(true);
  int* pinned = nullptr;
  checked(cudaMallocHost(&pinned, sizeof(int)));
  int pageable = 1;
  *pinned = 1;
  checked(cudaMemcpyAsync(numbers, pinned, 4, cudaMemcpyHostToDevice, first));
  checked(cudaMemcpyAsync(numbers + 1, &pageable, 4, cudaMemcpyHostToDevice, first));
  *pinned = pageable = 2;
  checked(cudaStreamSynchronize(first));
  EXPECT_EQ(read()[0], 2);
  EXPECT_EQ(read()[1], 1);
  launch(set_kernel, Grid{1, 32, 0, first}, numbers, 7);
  checked(cudaMemcpyAsync(pinned, numbers, 4, cudaMemcpyDeviceToHost, first));
  EXPECT_EQ(*pinned, 2);
  checked(cudaMemcpyAsync(&pageable, numbers, 4, cudaMemcpyDeviceToHost, first));
  EXPECT_EQ(pageable, 7);
  EXPECT_EQ(*pinned, 7);
  checked(cudaFreeHost(pinned));
}

TEST_F(Streams, AGraphDoesAgainWhatWasCaptured) {
  checked(cudaStreamBeginCapture(first, cudaStreamCaptureModeThreadLocal));
  int value = 3;
  launch(set_kernel, Grid{1, 32, 0, first}, numbers, value);
  value = 4;
  checked(cudaEventRecord(event, first));
  checked(cudaStreamWaitEvent(second, event));
  launch(double_kernel, Grid{1, 32, 0, second}, numbers);
  checked(cudaEventRecord(event, second));
  checked(cudaStreamWaitEvent(first, event));
  checked(cudaMemsetAsync(numbers + 4, 0, 4, first));
  cudaGraph_t graph = nullptr;
  checked(cudaStreamEndCapture(first, &graph));
  std::size_t nodes = 0;
  checked(cudaGraphGetNodes(graph, nullptr, &nodes));
  EXPECT_EQ(nodes, 3u);
  EXPECT_EQ(read(), std::vector<int>(kCount, 0)) << "a captured launch does not run";
  cudaGraphExec_t run = nullptr;
  checked(cudaGraphInstantiate(&run, graph));
  checked(cudaGraphDestroy(graph));
  std::vector<int> expected(kCount, 6);
  expected[4] = 0;
  for (const bool lazy : {false, true}) {
    emulator::set_lazy(lazy);
    checked(cudaMemset(numbers, 9, kCount * sizeof(int)));
    checked(cudaGraphLaunch(run, first));
    checked(cudaGraphLaunch(run, first));
    checked(cudaStreamSynchronize(first));
    EXPECT_EQ(read(), expected);
  }
  checked(cudaGraphExecDestroy(run));
}

TEST_F(Streams, WhatWaitsCannotBeCaptured) {
  cudaGraph_t graph = nullptr;
  const auto capture = [&](auto&& forbidden, cudaError_t refused, cudaError_t ended) {
    checked(cudaStreamBeginCapture(first, cudaStreamCaptureModeGlobal));
    EXPECT_EQ(forbidden(), refused);
    EXPECT_EQ(cudaStreamEndCapture(first, &graph), ended);
    EXPECT_EQ(graph, nullptr);
    cudaGetLastError();
  };
  const cudaError_t refused = cudaErrorStreamCaptureUnsupported;
  const cudaError_t spoiled = cudaErrorStreamCaptureInvalidated;
  capture([&] { return cudaStreamSynchronize(first); }, refused, spoiled);
  capture([&] { return cudaDeviceSynchronize(); }, refused, spoiled);
  void* memory = nullptr;
  capture([&] { return cudaMalloc(&memory, 8); }, refused, spoiled);
  int value = 0;
  capture([&] { return cudaMemcpy(&value, numbers, 4, cudaMemcpyDeviceToHost); }, refused, spoiled);
  const auto fork = [&] {
    checked(cudaEventRecord(event, first));
    return cudaStreamWaitEvent(second, event);
  };
  capture(fork, cudaSuccess, cudaErrorStreamCaptureUnjoined);
  EXPECT_EQ(cudaStreamEndCapture(first, &graph), cudaErrorStreamCaptureUnmatched);
}

TEST_F(Streams, EventsTellTime) {
  cudaEvent_t start = nullptr, end = nullptr;
  checked(cudaEventCreate(&start));
  checked(cudaEventCreate(&end));
  float milliseconds = -1;
  EXPECT_EQ(cudaEventElapsedTime(&milliseconds, start, end), cudaErrorInvalidResourceHandle);
  emulator::set_lazy(true);
  checked(cudaEventRecord(start, first));
  launch(set_kernel, Grid{1000, 32, 0, first}, numbers, 1);
  checked(cudaEventRecord(end, first));
  EXPECT_EQ(cudaEventElapsedTime(&milliseconds, start, end), cudaErrorNotReady);
  checked(cudaEventSynchronize(end));
  checked(cudaEventElapsedTime(&milliseconds, start, end));
  EXPECT_GT(milliseconds, 0);
  cudaEventDestroy(start);
  cudaEventDestroy(end);
}

KB_KERNEL(32) look_up_kernel(cudaTextureObject_t texture, float3 at, float* out) {
  out[0] = tex3D<float>(texture, at.x, at.y, at.z);
}

TEST_F(Streams, TexturesInterpolateWithEightBits) {
  // value = x + 10 y + 100 z over 4 x 3 x 2 voxels.
  std::vector<std::uint8_t> voxels;
  for (int z = 0; z < 2; ++z)
    for (int y = 0; y < 3; ++y)
      for (int x = 0; x < 4; ++x) voxels.push_back(static_cast<std::uint8_t>(x + 10 * y + 100 * z));
  const cudaChannelFormatDesc format = cudaCreateChannelDesc<std::uint8_t>();
  cudaArray_t array = nullptr;
  checked(cudaMalloc3DArray(&array, &format, make_cudaExtent(4, 3, 2)));
  cudaMemcpy3DParms copy{};
  copy.srcPtr = make_cudaPitchedPtr(voxels.data(), 4, 4, 3);
  copy.dstArray = array;
  copy.extent = make_cudaExtent(4, 3, 2);
  copy.kind = cudaMemcpyHostToDevice;
  checked(cudaMemcpy3D(&copy));
  cudaResourceDesc resource{};
  resource.resType = cudaResourceTypeArray;
  resource.res.array.array = array;
  cudaTextureDesc how{};
  for (auto& mode : how.addressMode) mode = cudaAddressModeClamp;
  how.filterMode = cudaFilterModeLinear;
  how.readMode = cudaReadModeNormalizedFloat;
  cudaTextureObject_t texture = 0;
  checked(cudaCreateTextureObject(&texture, &resource, &how, nullptr));
  float* out = nullptr;
  checked(cudaMalloc(&out, sizeof(float)));
  const auto at = [&](float x, float y, float z) {
    launch(look_up_kernel, Grid{1, 32, 0, first}, texture, float3{x, y, z}, out);
    float value = 0;
    checked(cudaMemcpy(&value, out, 4, cudaMemcpyDeviceToHost));
    return value * 255;
  };
  EXPECT_NEAR(at(2.5f, 1.5f, 1.5f), 112, 1e-4);
  EXPECT_NEAR(at(2.75f, 1.0f, 1.0f), 2.25 + 5 + 50, 1e-4);
  EXPECT_NEAR(at(-3.0f, 9.0f, 0.2f), 20, 1e-4) << "clamped";
  // 0.001 is nearer to 0 than to 1/256, 0.003 is not.
  EXPECT_NEAR(at(1.501f, 0.5f, 0.5f), 1, 1e-5);
  EXPECT_NEAR(at(1.503f, 0.5f, 0.5f), 1 + 1.0 / 256, 1e-5);
  checked(cudaDestroyTextureObject(texture));
  checked(cudaFreeArray(array));
  checked(cudaFree(out));
}

}  // namespace
}  // namespace kanbench::cuda::test
