// That tests/emulator finds what it is there to find: kernels with a fault each, streams without
// their event, calls that a device would refuse.

#include "emulator.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <set>
#include <vector>

#include "kanbench/error.h"
#include "kernels/device.h"
#include "support.h"

namespace kanbench::cuda::test {
namespace {

using kanbench::test::message_of;

class Emulator : public testing::Test {
 protected:
  Emulator() { emulator::reset(); }
  ~Emulator() override { emulator::reset(); }
};

template <class T>
struct Room {
  explicit Room(std::size_t count) : count(count) { checked(cudaMalloc(&data, count * sizeof(T))); }
  explicit Room(const std::vector<T>& values) : Room(values.size()) {
    checked(cudaMemcpy(data, values.data(), count * sizeof(T), cudaMemcpyHostToDevice));
  }
  Room(const Room&) = delete;
  ~Room() { cudaFree(data); }
  std::vector<T> read() const {
    std::vector<T> values(count);
    checked(cudaMemcpy(values.data(), data, count * sizeof(T), cudaMemcpyDeviceToHost));
    return values;
  }
  T* data = nullptr;
  std::size_t count;
};

// Each thread's number goes to its mirror image through shared memory.
KB_KERNEL(128) mirror_kernel(int* out, bool with_barrier) {
  KB_SHARED(int, places);
  places[threadIdx.x] = static_cast<int>(threadIdx.x) + 1;
  if (with_barrier) __syncthreads();
  out[blockIdx.x * blockDim.x + threadIdx.x] = places[blockDim.x - 1 - threadIdx.x];
}

std::set<std::vector<int>> mirrored(bool with_barrier) {
  std::set<std::vector<int>> seen;
  for (std::uint64_t seed = 0; seed < 8; ++seed) {
    emulator::set_schedule(seed);
    Room<int> out(384);
    launch(mirror_kernel, Grid{3, 128, 128 * sizeof(int)}, out.data, with_barrier);
    seen.insert(out.read());
  }
  return seen;
}

TEST_F(Emulator, SchedulesAgreeOnAKernelWithItsBarrierAndNotWithout) {
  EXPECT_EQ(mirrored(true).size(), 1u);
  EXPECT_EQ(mirrored(true).begin()->at(5), 123);
  EXPECT_GT(mirrored(false).size(), 2u);
}

// The same between the lanes of a warp.
KB_KERNEL(32) mirror_warp_kernel(int* out, bool with_barrier) {
  KB_SHARED(int, places);
  places[threadIdx.x] = static_cast<int>(threadIdx.x) + 1;
  if (with_barrier) __syncwarp();
  out[threadIdx.x] = places[31 - threadIdx.x];
}

TEST_F(Emulator, LanesOfAWarpDoNotRunInStep) {
  for (const bool with_barrier : {true, false}) {
    std::set<std::vector<int>> seen;
    for (std::uint64_t seed = 0; seed < 8; ++seed) {
      emulator::set_schedule(seed);
      Room<int> out(32);
      launch(mirror_warp_kernel, Grid{1, 32, 128}, out.data, with_barrier);
      seen.insert(out.read());
    }
    EXPECT_EQ(seen.size() == 1, with_barrier);
  }
}

KB_KERNEL(64) leave_early_kernel(int* out) {
  if (threadIdx.x % 3) return;
  __syncwarp();
  out[threadIdx.x] = 1;
}

TEST_F(Emulator, LanesThatHaveEndedDoNotHoldUpSyncwarp) {
  const Room<int> out(64);
  launch(leave_early_kernel, {1, 64}, out.data);
  EXPECT_EQ(out.read()[33], 1);
  EXPECT_EQ(out.read()[34], -1);
}

KB_KERNEL(64) copy_without_waiting_kernel(const float4* in, float4* out, bool waits) {
  KB_SHARED(float4, staged);
  copy_async16(staged + threadIdx.x, in + threadIdx.x);
  if (waits) copy_async_wait();
  out[threadIdx.x] = staged[threadIdx.x];
}

TEST_F(Emulator, AnAsynchronousCopyNotAwaitedMayNotBeThere) {
  const Room<float4> in(std::vector<float4>(64, {1, 2, 3, 4}));
  for (const bool waits : {true, false}) {
    const Room<float4> out(64);
    launch(copy_without_waiting_kernel, Grid{1, 64, 1024}, in.data, out.data, waits);
    int missing = 0;
    for (const float4& v : out.read()) missing += std::isnan(v.w);
    EXPECT_EQ(missing > 0, !waits);
  }
}

KB_KERNEL(64) divergent_barrier_kernel() {
  if (threadIdx.x < 40) __syncthreads();
}
KB_KERNEL(64) divergent_shuffle_kernel(float* out) {
  if (threadIdx.x != 35) out[threadIdx.x] = shuffle_xor(1.0f, 1);
}
KB_KERNEL(32) mixed_collectives_kernel(float* out) {
  if (threadIdx.x < 16)
    out[0] = shuffle_xor(1.0f, 1);
  else
    out[1] = static_cast<float>(ballot(true));
}
KB_KERNEL(64) barrier_in_a_warp_kernel(float* out) {
  if (threadIdx.x == 3)
    __syncthreads();
  else
    out[threadIdx.x] = warp_sum(1.0f);
}

TEST_F(Emulator, ABarrierOrCollectiveThatSomeNeverReachIsNamed) {
  const auto fault = [](auto&& launch_it) { return message_of<emulator::Fault>(launch_it); };
  const Room<float> out(64);
  const std::string barrier = fault([] { launch(divergent_barrier_kernel, Grid{2, 64}); });
  EXPECT_NE(barrier.find("warp 1: lanes 0-7 at a barrier; lanes 8-31 have ended"), barrier.npos)
      << barrier;
  EXPECT_NE(barrier.find("block ("), barrier.npos);
  const std::string shuffled = fault([&] { launch(divergent_shuffle_kernel, {1, 64}, out.data); });
  EXPECT_NE(shuffled.find("warp 1: lanes 0-2, 4-31 at a shuffle; lanes 3 have ended"),
            shuffled.npos)
      << shuffled;
  const std::string mixed = fault([&] { launch(mixed_collectives_kernel, {1, 32}, out.data); });
  EXPECT_NE(mixed.find("while lanes"), mixed.npos) << mixed;
  const std::string within = fault([&] { launch(barrier_in_a_warp_kernel, {1, 64}, out.data); });
  EXPECT_NE(within.find("lanes 0-2, 4-31 at a shuffle; lanes 3 at a barrier"), within.npos)
      << within;
  // All goes on as before.
  EXPECT_EQ(mirrored(true).size(), 1u);
}

KB_KERNEL(32) write_shared_kernel(int at) {
  KB_SHARED(volatile char, bytes);
  bytes[at] = 1;
}
KB_KERNEL(32) write_kernel(float* out, int at, float value) { out[at] = value; }
KB_KERNEL(32) add_kernel(float* out, int at) { add1(out + at, 1); }
KB_KERNEL(32) add_pair_kernel(float* out, int at) { add2(out + at, float2{1, 1}); }
KB_KERNEL(32) load_rows_kernel(int at) {
  KB_SHARED(const char, bytes);
  std::uint32_t r[4];
  load_matrix4(r, bytes + at);
}

TEST_F(Emulator, WritingOutsideSharedMemoryIsFound) {
  launch(write_shared_kernel, Grid{1, 32, 100}, 99);
  const auto outside = [](int at) { launch(write_shared_kernel, Grid{1, 32, 100}, at); };
  for (const int at : {100, -1, 700}) {
    if (emulator::sanitized())
      EXPECT_DEATH(outside(at), "AddressSanitizer");
    else
      EXPECT_NE(message_of<emulator::Fault>([&] { outside(at); }).find("outside its 100 bytes"),
                std::string::npos);
  }
}

TEST_F(Emulator, WritingOutsideAnAllocationIsFound) {
  const auto outside = [](int at) {
    Room<float> out(10);
    launch(write_kernel, {1, 32}, out.data, at, NAN);
    checked(cudaDeviceSynchronize());
  };
  outside(9);
  for (const int at : {10, -1}) {
    if (emulator::sanitized()) {
      EXPECT_DEATH(outside(at), "AddressSanitizer");
    } else {
      EXPECT_NE(message_of<emulator::Fault>([&] { outside(at); }).find("of 40 bytes"),
                std::string::npos);
      emulator::reset();
    }
  }
}

// As when a destructor frees what a kernel wrote beside.
TEST_F(Emulator, AFaultFoundWhereNothingMayBeThrownIsThrownByTheNextCall) {
  if (emulator::sanitized()) GTEST_SKIP() << "the sanitizer finds it first";
  {
    const Room<float> out(10);
    launch(write_kernel, {1, 32}, out.data, 10, 1.0f);
  }
  void* memory = nullptr;
  EXPECT_THROW(cudaMalloc(&memory, 8), emulator::Fault);
  EXPECT_EQ(cudaMalloc(&memory, 8), cudaSuccess);
  EXPECT_EQ(cudaFree(memory), cudaSuccess);
}

TEST_F(Emulator, InstructionsSayWhereTheyAreAskedForWhatIsNotThere) {
  const Room<float> out(10);
  EXPECT_NE(message_of<emulator::Fault>([&] {
              launch(add_kernel, {1, 32}, out.data, 10);
            }).find("outside the device's memory"),
            std::string::npos);
  EXPECT_NE(message_of<emulator::Fault>([&] {
              launch(add_pair_kernel, {1, 32}, out.data, 1);
            }).find("not so aligned"),
            std::string::npos);
  float here = 0;
  EXPECT_THROW(launch(add_kernel, {1, 32}, &here, 0), emulator::Fault);
  EXPECT_THROW(launch(load_rows_kernel, Grid{1, 32, 64}, 64), emulator::Fault);
  EXPECT_THROW(launch(load_rows_kernel, Grid{1, 32, 64}, 8), emulator::Fault);
}

TEST_F(Emulator, WhatWasNotWrittenIsNaN) {
  for (const float value : Room<float>(100).read()) EXPECT_TRUE(std::isnan(value));
  for (const __half value : Room<__half>(100).read()) EXPECT_TRUE(std::isnan(float(value)));
  // Neither does a block see what the one before it left.
  EXPECT_EQ(mirrored(true).size(), 1u);
}

KB_KERNEL(1024) count_kernel(unsigned* count) { atomicAdd(count, 1u); }

TEST_F(Emulator, LaunchesBeyondTheDevicesLimitsAreRefused) {
  const Room<unsigned> count(std::vector<unsigned>{0});
  const auto run = [&](dim3 blocks, dim3 threads, std::size_t shared = 0) {
    launch(count_kernel, Grid{blocks, threads, shared}, count.data);
  };
  EXPECT_THROW(run(1, 1056), SystemError);
  EXPECT_THROW(run(0, 32), SystemError);
  EXPECT_THROW(run({1, 65536}, 32), SystemError);
  EXPECT_THROW(run(1, 32, 232449), SystemError);
  EXPECT_THROW(run(1, 33), emulator::Fault);
  run({2, 3, 2}, {32, 2, 1}, 232448);
  EXPECT_EQ(count.read()[0], 12u * 64);
  void* arguments[] = {const_cast<unsigned**>(&count.data)};
  EXPECT_EQ(cudaLaunchKernel(write_shared_kernel, 1, 32, arguments, 49 << 10),
            cudaErrorInvalidValue);
  cudaGetLastError();
  emulator::set_capability(80);
  EXPECT_THROW(run(1, 32, 232448), SystemError);
}

TEST_F(Emulator, CopiesInsistOnTheirKind) {
  const Room<float> a(8), b(8);
  std::vector<float> host(8);
  const auto copy = [](void* to, const void* from, cudaMemcpyKind kind, std::size_t bytes = 32) {
    const cudaError_t error = cudaMemcpy(to, from, bytes, kind);
    cudaGetLastError();
    return error;
  };
  EXPECT_EQ(copy(a.data, b.data, cudaMemcpyDeviceToDevice), cudaSuccess);
  EXPECT_EQ(copy(a.data, b.data, cudaMemcpyHostToDevice), cudaErrorInvalidValue);
  EXPECT_EQ(copy(host.data(), b.data, cudaMemcpyHostToDevice), cudaErrorInvalidValue);
  EXPECT_EQ(copy(host.data(), b.data, cudaMemcpyDeviceToDevice), cudaErrorInvalidValue);
  EXPECT_EQ(copy(a.data, host.data(), cudaMemcpyDeviceToHost), cudaErrorInvalidValue);
  EXPECT_EQ(copy(a.data, host.data(), cudaMemcpyDefault), cudaSuccess);
  EXPECT_EQ(copy(a.data, host.data(), cudaMemcpyHostToDevice, 33), cudaErrorInvalidValue);
  EXPECT_EQ(copy(a.data + 7, host.data(), cudaMemcpyHostToDevice, 8), cudaErrorInvalidValue);
}

TEST_F(Emulator, MemoryIsCountedAndRunsOut) {
  emulator::set_memory(1000);
  const std::size_t before = emulator::used_bytes();
  {
    const Room<char> some(900);
    EXPECT_EQ(emulator::used_bytes(), before + 900);
    std::size_t free = 0, total = 0;
    checked(cudaMemGetInfo(&free, &total));
    EXPECT_EQ(free, 1000 - before - 900);
    EXPECT_EQ(total, 1000u);
    const std::string message = message_of<SystemError>([] { Room<char> more(101); });
    EXPECT_NE(message.find("out of memory"), message.npos) << message;
    EXPECT_EQ(cudaGetLastError(), cudaSuccess);
  }
  EXPECT_EQ(emulator::used_bytes(), before);
  int local = 0;
  EXPECT_EQ(cudaFree(&local), cudaErrorInvalidValue);
}

TEST_F(Emulator, CallsFailWhenTold) {
  emulator::fail_next(2, cudaErrorMemoryAllocation);
  void* memory = nullptr;
  checked(cudaMalloc(&memory, 8));
  EXPECT_EQ(cudaMemset(memory, 0, 8), cudaErrorMemoryAllocation);
  EXPECT_EQ(cudaMemset(memory, 0, 8), cudaSuccess);
  EXPECT_EQ(cudaGetLastError(), cudaErrorMemoryAllocation);
  EXPECT_EQ(cudaGetLastError(), cudaSuccess);
  emulator::fail_next(1, cudaErrorIllegalAddress);
  EXPECT_EQ(cudaDeviceSynchronize(), cudaErrorIllegalAddress);
  EXPECT_EQ(cudaMemset(memory, 0, 8), cudaErrorIllegalAddress);
  EXPECT_EQ(cudaGetLastError(), cudaErrorIllegalAddress);
  EXPECT_EQ(cudaGetLastError(), cudaErrorIllegalAddress);
  EXPECT_EQ(cudaFree(memory), cudaErrorIllegalAddress);
  emulator::reset();
  EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
}

TEST_F(Emulator, DevicesMayBeManyOrNone) {
  int count = -1;
  emulator::set_devices(3);
  EXPECT_EQ(cudaGetDeviceCount(&count), cudaSuccess);
  EXPECT_EQ(count, 3);
  EXPECT_EQ(cudaSetDevice(2), cudaSuccess);
  EXPECT_EQ(cudaSetDevice(3), cudaErrorInvalidDevice);
  emulator::set_devices(0);
  EXPECT_EQ(cudaGetDeviceCount(&count), cudaErrorNoDevice);
  EXPECT_EQ(count, 0);
  emulator::set_devices(1, cudaErrorInsufficientDriver);
  EXPECT_EQ(cudaGetDeviceCount(&count), cudaErrorInsufficientDriver);
  void* memory = nullptr;
  EXPECT_EQ(cudaMalloc(&memory, 8), cudaErrorInsufficientDriver);
}

// Runs itself again, with the variable set.
TEST(EmulatorsVariable, SpeaksToWholePrograms) {
  if (!std::getenv("KANBENCH_EMULATOR")) {
    const std::string self = std::filesystem::read_symlink("/proc/self/exe").string();
    const std::string command = "KANBENCH_EMULATOR=memory=64K,devices=2,capability=80,fail=6:2 '" +
                                self + "' --gtest_filter='EmulatorsVariable.*' > /dev/null";
    EXPECT_EQ(std::system(command.c_str()), 0);
    EXPECT_NE(std::system(("KANBENCH_EMULATOR=memry=3 '" + self + "' > /dev/null 2>&1").c_str()),
              0);
    return;
  }
  int count = 0;
  ASSERT_EQ(cudaGetDeviceCount(&count), cudaSuccess);
  EXPECT_EQ(count, 2);
  cudaDeviceProp properties;
  ASSERT_EQ(cudaGetDeviceProperties(&properties, 1), cudaSuccess);
  EXPECT_EQ(properties.major, 8);
  EXPECT_EQ(properties.totalGlobalMem, 65536u);
  void* memory = nullptr;
  EXPECT_EQ(cudaMalloc(&memory, 65537), cudaErrorMemoryAllocation);
  for (const cudaError_t expected : {cudaSuccess, cudaSuccess, cudaErrorMemoryAllocation})
    EXPECT_EQ(cudaGetDeviceCount(&count), expected);
}

}  // namespace
}  // namespace kanbench::cuda::test
