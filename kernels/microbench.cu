// Measurements of a device's limits. Each kernel does one thing and as little else as can be; what
// it computes is written where a condition holds that never does, so that nothing is left out.

#include <algorithm>
#include <functional>
#include <limits>
#include <string>

#include "kernels/device.h"
#include "kernels/microbench.h"
#include "kernels/runtime.h"

namespace kanbench::cuda {
namespace {

constexpr int kThreads = 256;
// Chains of arithmetic, or accesses under way, of a thread.
constexpr int kChains = 8;
constexpr float kNever = 1.2345678e30f;

/// Random words: the thread's own start, then a step that costs one instruction.
struct Draw {
  std::uint32_t state;
  KB_DEVICE explicit Draw(std::uint32_t thread) : state(thread * 2654435761u ^ 0x9e3779b9u) {
    state ^= state >> 15;
    state *= 0x85ebca6bu;
  }
  /// Below 2^bits; the generator's high bits are its good ones.
  KB_DEVICE std::uint32_t next(int bits) {
    state = state * 1664525u + 1013904223u;
    return state >> (32 - bits);
  }
};

KB_DEVICE std::uint32_t thread_number() { return blockIdx.x * blockDim.x + threadIdx.x; }

KB_KERNEL(kThreads) copy_kernel(const uint4* from, uint4* to, std::int64_t count) {
  const std::int64_t stride = std::int64_t{gridDim.x} * kThreads;
  for (std::int64_t i = thread_number(); i < count; i += stride) to[i] = load_once(from + i);
}

KB_KERNEL(kThreads)
gather_kernel(const std::uint32_t* table, int sector_bits, int accesses, float* out) {
  Draw draw(thread_number());
  std::uint32_t sum = 0;
  for (int i = 0; i < accesses; i += kChains) {
    std::uint32_t word[kChains];
    for (int k = 0; k < kChains; ++k)
      word[k] = load_once(table + std::size_t{draw.next(sector_bits)} * 8);
    for (int k = 0; k < kChains; ++k) sum += word[k];
  }
  if (sum == 0xdeadbeefu) out[0] = kNever;
}

// Additions of each width, of numbers that leave the table as it is or nearly so.
struct AddFloat {
  using Element = float;
  static constexpr const char* name = "f32";
  KB_DEVICE static void add(float* at) { add1(at, 1e-30f); }
};
struct AddFloat2 {
  using Element = float2;
  static constexpr const char* name = "v2.f32";
  KB_DEVICE static void add(float2* at) {
    add2(reinterpret_cast<float*>(at), make_float2(1e-30f, 1e-30f));
  }
};
struct AddFloat4 {
  using Element = float4;
  static constexpr const char* name = "v4.f32";
  KB_DEVICE static void add(float4* at) {
    add4(reinterpret_cast<float*>(at), make_float4(1e-30f, 1e-30f, 1e-30f, 1e-30f));
  }
};
struct AddHalf2 {
  using Element = std::uint32_t;
  static constexpr const char* name = "f16x2";
  KB_DEVICE static void add(std::uint32_t* at) { add_half2(at, 0x04000400u); }
};
struct AddHalf8 {
  using Element = uint4;
  static constexpr const char* name = "v4.f16x2";
  KB_DEVICE static void add(uint4* at) {
    add_half8(at, make_uint4(0x04000400u, 0x04000400u, 0x04000400u, 0x04000400u));
  }
};
struct AddWord {
  using Element = unsigned long long;
  static constexpr const char* name = "u64";
  KB_DEVICE static void add(unsigned long long* at) { add_u64(at, 1); }
};

template <class Add>
KB_KERNEL(kThreads)
add_kernel(typename Add::Element* table, int bits, int accesses) {
  Draw draw(thread_number());
  for (int i = 0; i < accesses; ++i) Add::add(table + draw.next(bits));
}

KB_KERNEL(kThreads) multiply_kernel(int instructions, float* out) {
  float x[kChains];
  for (int k = 0; k < kChains; ++k) x[k] = static_cast<float>(threadIdx.x + k);
  const float a = 0.999f, b = 1e-3f * static_cast<float>(threadIdx.x);
  for (int i = 0; i < instructions; i += kChains)
    for (int k = 0; k < kChains; ++k) x[k] = x[k] * a + b;
  float sum = 0;
  for (int k = 0; k < kChains; ++k) sum += x[k];
  if (sum == kNever) out[0] = sum;
}

KB_KERNEL(kThreads) exponential_kernel(int instructions, float* out) {
  float x[kChains];
  for (int k = 0; k < kChains; ++k) x[k] = 1e-3f * static_cast<float>(threadIdx.x + k);
  for (int i = 0; i < instructions; i += kChains)
    for (int k = 0; k < kChains; ++k) x[k] = exp2_approx(-x[k]);
  float sum = 0;
  for (int k = 0; k < kChains; ++k) sum += x[k];
  if (sum == kNever) out[0] = sum;
}

// Fragments of numbers between 1/2 and 1 of either sign: zeros would draw less power, and a device
// runs faster with them.
struct HalfProduct {
  static constexpr const char* name = "mma half";
  static constexpr double operations = 2.0 * 16 * 8 * 16;
  KB_DEVICE static std::uint32_t operand(std::uint32_t word) {
    return (word & 0x83ff83ffu) | 0x38003800u;
  }
  KB_DEVICE static void add(float (&c)[4], const std::uint32_t (&a)[4], std::uint32_t b0,
                            std::uint32_t b1) {
    mma_half(c, a, b0, b1);
  }
};
struct Tf32Product {
  static constexpr const char* name = "mma tf32";
  static constexpr double operations = 2.0 * 16 * 8 * 8;
  KB_DEVICE static std::uint32_t operand(std::uint32_t word) {
    return (word & 0x807fe000u) | 0x3f000000u;
  }
  KB_DEVICE static void add(float (&c)[4], const std::uint32_t (&a)[4], std::uint32_t b0,
                            std::uint32_t b1) {
    mma_tf32(c, a, b0, b1);
  }
};

template <class Product>
KB_KERNEL(kThreads)
product_kernel(int instructions, float* out) {
  Draw draw(thread_number());
  float c[kChains][4] = {};
  std::uint32_t a[4], b[2];
  for (std::uint32_t& word : a) word = Product::operand(draw.next(31) * 2654435761u);
  for (std::uint32_t& word : b) word = Product::operand(draw.next(31) * 2654435761u);
  for (int i = 0; i < instructions; i += kChains)
    for (int k = 0; k < kChains; ++k) Product::add(c[k], a, b[0], b[1]);
  float sum = 0;
  for (int k = 0; k < kChains; ++k) sum += c[k][0] + c[k][1] + c[k][2] + c[k][3];
  if (sum == kNever) out[0] = sum;
}

class Timer {
 public:
  explicit Timer(cudaStream_t stream) : stream_(stream) {
    checked(cudaEventCreate(&start_));
    checked(cudaEventCreate(&end_));
  }
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;
  ~Timer() {
    if (start_) cudaEventDestroy(start_);
    if (end_) cudaEventDestroy(end_);
  }
  double seconds(const std::function<void()>& work) {
    checked(cudaEventRecord(start_, stream_));
    work();
    checked(cudaEventRecord(end_, stream_));
    checked(cudaEventSynchronize(end_));
    float milliseconds = 0;
    checked(cudaEventElapsedTime(&milliseconds, start_, end_));
    // The clock's own step, so that nothing is infinitely fast.
    return std::max(static_cast<double>(milliseconds) * 1e-3, 5e-7);
  }

 private:
  cudaStream_t stream_;
  cudaEvent_t start_ = nullptr, end_ = nullptr;
};

int bits_of(std::int64_t count) {
  int bits = 0;
  while ((std::int64_t{2} << bits) <= count) ++bits;
  return bits;
}

class Measurement {
 public:
  Measurement(int device, cudaStream_t stream, const MeasureSizes& sizes)
      : stream_(stream), sizes_(sizes), timer_(stream) {
    checked(cudaDeviceGetAttribute(&processors_, cudaDevAttrMultiProcessorCount, device));
    out_.reserve(1);
  }

  std::vector<Ceiling> all() {
    copy();
    arithmetic("flops", "flop", 2, multiply_kernel);
    for (const std::int64_t bytes : sizes_.tables)
      if (bytes <= static_cast<std::int64_t>(free_memory() / 2)) random_access(bytes);
    arithmetic("exp", "exp", 1, exponential_kernel);
    product<HalfProduct>();
    product<Tf32Product>();
    return std::move(found_);
  }

 private:
  /// As many blocks as run at once.
  template <class... P>
  Grid grid(void (*kernel)(P...)) const {
    const int held = std::max(1, resident_blocks(kernel, kThreads, 0));
    return {dim3(static_cast<unsigned>(processors_ * std::min(sizes_.blocks, held))),
            dim3(kThreads), 0, stream_};
  }
  static double threads(const Grid& grid) { return static_cast<double>(grid.blocks.x) * kThreads; }

  /// Times work(n), which does n times `unit_amount`, for n up to `most`.
  void add(const std::string& name, const std::string& unit, double unit_amount, std::int64_t most,
           const std::function<void(std::int64_t)>& work) {
    std::int64_t n = std::min<std::int64_t>(most, std::max<std::int64_t>(kChains, most / 4096));
    timer_.seconds([&] { work(n); });
    double least = timer_.seconds([&] { work(n); });
    while (least < sizes_.seconds && n < most) {
      n = std::min(4 * n, most);
      least = timer_.seconds([&] { work(n); });
    }
    for (int i = 1; i < sizes_.repeats; ++i)
      least = std::min(least, timer_.seconds([&] { work(n); }));
    found_.push_back({name, unit_amount * static_cast<double>(n) / least, unit});
  }

  void copy() {
    const std::int64_t bytes =
        std::min(sizes_.copy_bytes, static_cast<std::int64_t>(free_memory() / 4));
    const std::int64_t most = std::max<std::int64_t>(1, bytes / 16);
    DeviceArray<uint4> buffer;
    uint4* from = buffer.reserve(2 * most);
    checked(cudaMemsetAsync(from, 0, static_cast<std::size_t>(2 * most) * sizeof(uint4), stream_));
    const Grid shape = grid(copy_kernel);
    add("bandwidth", "byte", 32, most,
        [&](std::int64_t count) { launch(copy_kernel, shape, from, from + most, count); });
  }

  void random_access(std::int64_t bytes) {
    DeviceArray<std::uint8_t> table;
    std::uint8_t* data = table.reserve(bytes);
    const std::string size =
        bytes >> 20 ? std::to_string(bytes >> 20) + " MB" : std::to_string(bytes >> 10) + " kB";
    checked(cudaMemsetAsync(data, 0, static_cast<std::size_t>(bytes), stream_));
    const Grid shape = grid(gather_kernel);
    add("gather " + size, "sector", threads(shape), sizes_.accesses, [&](std::int64_t accesses) {
      launch(gather_kernel, shape, reinterpret_cast<const std::uint32_t*>(data),
             bits_of(bytes / 32), static_cast<int>(accesses), out_.data());
    });
    additions<AddFloat>(size, data, bytes);
    additions<AddFloat2>(size, data, bytes);
    additions<AddFloat4>(size, data, bytes);
    additions<AddHalf2>(size, data, bytes);
    additions<AddHalf8>(size, data, bytes);
    additions<AddWord>(size, data, bytes);
  }

  template <class Add>
  void additions(const std::string& size, std::uint8_t* table, std::int64_t bytes) {
    using Element = typename Add::Element;
    const int bits = bits_of(bytes / static_cast<std::int64_t>(sizeof(Element)));
    // One width's bits may be another's infinity.
    checked(cudaMemsetAsync(table, 0, static_cast<std::size_t>(bytes), stream_));
    const Grid shape = grid(add_kernel<Add>);
    add(std::string("red ") + Add::name + " " + size, "red", threads(shape), sizes_.accesses,
        [&](std::int64_t accesses) {
          launch(add_kernel<Add>, shape, reinterpret_cast<Element*>(table), bits,
                 static_cast<int>(accesses));
        });
  }

  void arithmetic(const char* name, const char* unit, double amount, void (*kernel)(int, float*)) {
    const Grid shape = grid(kernel);
    add(name, unit, threads(shape) * amount, sizes_.instructions, [&](std::int64_t instructions) {
      launch(kernel, shape, static_cast<int>(instructions), out_.data());
    });
  }

  template <class Product>
  void product() {
    const Grid shape = grid(product_kernel<Product>);
    add(Product::name, "flop", threads(shape) / 32 * Product::operations, sizes_.instructions,
        [&](std::int64_t instructions) {
          launch(product_kernel<Product>, shape, static_cast<int>(instructions), out_.data());
        });
  }

  cudaStream_t stream_;
  MeasureSizes sizes_;
  Timer timer_;
  int processors_ = 1;
  DeviceArray<float> out_;
  std::vector<Ceiling> found_;
};

}  // namespace

std::vector<Ceiling> measure_device(int device, cudaStream_t stream, const MeasureSizes& sizes) {
  return Measurement(device, stream, sizes).all();
}

}  // namespace kanbench::cuda
