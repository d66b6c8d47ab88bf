// The optimizer over the block of parameters, four at a time, and passes beside it.

#include <algorithm>

#include "kernels/device.h"
#include "kernels/update.h"

namespace kanbench::cuda {

namespace {
constexpr int kThreads = 256;
}

/// The optimizer's formula; Adam's with the device's own square root and reciprocal, each good to
/// 2^-22: the change of `w` differs from it by less than one part in a million.
template <class O>
KB_DEVICE void update_one(const UpdateStep& s, float g, float& w, float& m, float& v) {
  if constexpr (O::moments < 2) {
    O::apply(s, g, w, m, v);
  } else {
    if constexpr (std::is_same_v<O, AdamW>) w -= s.decay * w;
    m = s.beta1 * m + (1 - s.beta1) * g;
    v = s.beta2 * v + (1 - s.beta2) * g * g;
    w -= s.rate * m * reciprocal_approx(sqrt_approx(v) * s.root + s.epsilon);
  }
}

KB_DEVICE void store_copy(void* copy, Precision type, std::int64_t i, const float4& w) {
  const uint2 words = type == Precision::fp16 ? uint2{pack_half(w.x, w.y), pack_half(w.z, w.w)}
                                              : uint2{pack_bfloat(w.x, w.y), pack_bfloat(w.z, w.w)};
  static_cast<uint2*>(copy)[i] = words;
}

/// False also for NaN.
KB_DEVICE bool finite(const float4& v) { return v.x * 0 + v.y * 0 + v.z * 0 + v.w * 0 == 0; }

// The share is the whole of it here.
template <class O>
KB_KERNEL(kThreads)
update_kernel(UpdateArguments a) {
  const std::int64_t i = std::int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (4 * i >= a.share.end) return;
  auto* const gradient = reinterpret_cast<float4*>(a.gradient) + i;
  const float4 g = *gradient;
  const bool encoder = 4 * i < a.decoder_begin,
             skip = encoder && (a.skip_untouched || 4 * i >= a.tables_end);
  const bool zero = g.x == 0 && g.y == 0 && g.z == 0 && g.w == 0;
  if (zero && skip) return;
  const bool left_out = a.state && (a.state->overflow || a.state->broken);
  if (!zero) *gradient = float4{0, 0, 0, 0};
  if (left_out) return;
  if (a.not_finite && !finite(g)) or_u32(a.not_finite, 1);
  const StepNumbers* const step = a.state ? a.state->steps + a.state->index : nullptr;
  const UpdateStep s = encoder ? step ? step->encoder : a.encoder
                       : step  ? step->decoder
                               : a.decoder;
  auto* const first = reinterpret_cast<float4*>(a.first_moment) + i;
  auto* const second = reinterpret_cast<float4*>(a.second_moment) + i;
  auto* const parameters = reinterpret_cast<float4*>(a.parameters) + i;
  const float scale = a.clips ? s.scale * a.state->clip : s.scale;
  float4 w = *parameters, m = *first, v{};
  if constexpr (O::moments > 1) v = *second;
  if (!skip || g.x != 0) update_one<O>(s, g.x * scale, w.x, m.x, v.x);
  if (!skip || g.y != 0) update_one<O>(s, g.y * scale, w.y, m.y, v.y);
  if (!skip || g.z != 0) update_one<O>(s, g.z * scale, w.z, m.z, v.z);
  if (!skip || g.w != 0) update_one<O>(s, g.w * scale, w.w, m.w, v.w);
  *parameters = w;
  *first = m;
  if constexpr (O::moments > 1) *second = v;
  if (a.copy && encoder) store_copy(a.copy, a.copy_type, i, w);
}

KB_KERNEL(kThreads)
copy_table_kernel(const float* parameters, std::int64_t count, Precision type, void* copy) {
  const std::int64_t i = std::int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (4 * i < count) store_copy(copy, type, i, reinterpret_cast<const float4*>(parameters)[i]);
}

KB_KERNEL(kThreads) sum_squares_kernel(const float* numbers, std::int64_t count, double* sums) {
  KB_SHARED(double, room);
  double sum = 0;
  for (std::int64_t i = std::int64_t{blockIdx.x} * kThreads + threadIdx.x; 4 * i < count;
       i += std::int64_t{gridDim.x} * kThreads) {
    const float4 n = reinterpret_cast<const float4*>(numbers)[i];
    sum += static_cast<double>(n.x) * n.x + static_cast<double>(n.y) * n.y +
           static_cast<double>(n.z) * n.z + static_cast<double>(n.w) * n.w;
  }
  sum = block_sum(sum, room);
  if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

KB_KERNEL(kThreads)
clip_kernel(const double* sums, int count, float scale, float largest, StepState* state) {
  KB_SHARED(double, room);
  double sum = 0;
  for (int i = static_cast<int>(threadIdx.x); i < count; i += kThreads) sum += sums[i];
  sum = block_sum(sum, room);
  if (threadIdx.x != 0) return;
  state->squared_norm = sum;
  const double factor = scale;
  if (largest != 0) state->clip = clip_factor(factor * factor * sum, largest);
}

KB_KERNEL(kThreads)
check_finite_kernel(const float* numbers, std::int64_t count, unsigned* not_finite) {
  const std::int64_t i = std::int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (4 * i < count && !finite(reinterpret_cast<const float4*>(numbers)[i])) or_u32(not_finite, 1);
}

namespace {

/// A thread for each four of `count` numbers.
Grid shape_fours(std::int64_t count, cudaStream_t stream) {
  return {dim3(static_cast<unsigned>(ceil_divide(count, 4 * kThreads))), dim3(kThreads), 0, stream};
}

}  // namespace

void update(const UpdateArguments& arguments, cudaStream_t stream) {
  const std::int64_t begin = arguments.share.begin, count = arguments.share.size();
  if (count == 0) return;
  UpdateArguments a = arguments;
  a.parameters += begin;
  a.gradient += begin;
  if (a.copy) a.copy = static_cast<std::uint16_t*>(a.copy) + begin;
  a.share = {0, count};
  a.decoder_begin -= begin;
  a.tables_end -= begin;
  visit_optimizer(
      a.kind, [&]<class O>(const O&) { launch(update_kernel<O>, shape_fours(count, stream), a); });
}

void measure_norm(const float* numbers, std::int64_t count, float scale, float largest,
                  double* room, StepState* state, cudaStream_t stream) {
  const std::int64_t blocks = std::min(ceil_divide(count, 4 * kThreads), kNormRoom);
  const std::size_t shared = 32 * sizeof(double);
  if (blocks > 0)
    launch(sum_squares_kernel,
           Grid{dim3(static_cast<unsigned>(blocks)), dim3(kThreads), shared, stream}, numbers,
           count, room);
  launch(clip_kernel, Grid{dim3(1), dim3(kThreads), shared, stream},
         static_cast<const double*>(room), static_cast<int>(blocks), scale, largest, state);
}

void copy_table(const float* parameters, std::int64_t count, Precision type, void* copy,
                cudaStream_t stream) {
  if (count > 0)
    launch(copy_table_kernel, shape_fours(count, stream), parameters, count, type, copy);
}

void check_finite(const float* numbers, std::int64_t count, unsigned* not_finite,
                  cudaStream_t stream) {
  if (count > 0)
    launch(check_finite_kernel, shape_fours(count, stream), numbers, count, not_finite);
}

}  // namespace kanbench::cuda
