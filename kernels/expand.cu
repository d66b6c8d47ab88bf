// A layer's input through its norm, activation and basis, and the gradient back. A thread has one
// feature of one row; a norm's sums over features are taken by a thread a row, feature after
// feature, and sums over rows by a block each, so that every sum has its order.

#include <cmath>
#include <variant>

#include "kanbench/math/dual.h"
#include "kernels/layer_input.h"

namespace kanbench::cuda {
namespace {

KB_KERNEL(kLayerThreads)
measure_rows_kernel(ConstRows input, float* statistics, std::int64_t stride) {
  const std::int64_t row = row_of_thread();
  if (row >= input.rows) return;
  const float* x = input.data + row;
  const float width = static_cast<float>(input.width);
  float sum = 0, squares = 0;
  for (std::int64_t i = 0; i < input.width; ++i) sum += x[i * input.stride];
  const float mean = sum / width;
  for (std::int64_t i = 0; i < input.width; ++i) {
    const float off = x[i * input.stride] - mean;
    squares += off * off;
  }
  statistics[row] = mean;
  statistics[stride + row] = 1.0f / std::sqrt(squares / width + static_cast<float>(kNormEpsilon));
}

// A basis with its inner parameters, `each` behind each other; null where they are fixed.
template <class Basis>
struct Expander {
  Basis basis;
  const float* inner;
  int each;

  template <class T, class Emit>
  KB_DEVICE void eval(std::int64_t i, T x, Emit&& emit) const {
    if constexpr (kHasInner<Basis>)
      if (inner) {
        const float* own = inner + i * each;
        return basis.eval(
            x, [own](int p) { return T(own[p]); }, emit);
      }
    basis.eval(x, emit);
  }
};

template <class Basis>
Expander<Basis> expander_of(const LayerAt& at, const Basis& basis) {
  const int each = at.layer.inner == Inner::input ? inner(at.layer.basis) : 0;
  return {basis, at.parameters.inner, each};
}

template <class Basis>
KB_KERNEL(kLayerThreads)
expand_kernel(Expander<Basis> expander, LayerInput z, float* phi) {
  const std::int64_t row = row_of_thread();
  if (row >= z.input.rows) return;
  for (std::int64_t i = blockIdx.y; i < z.input.width; i += gridDim.y) {
    float* out = phi + i * expander.basis.size() * z.stride + row;
    expander.eval(i, z.v(i, row), [&](int k, float value) { out[k * z.stride] = value; });
  }
}

KB_KERNEL(kLayerThreads)
expand_base_kernel(LayerInput z, Activation activation, bool normalised, float* base) {
  const std::int64_t row = row_of_thread();
  if (row >= z.input.rows) return;
  for (std::int64_t i = blockIdx.y; i < z.input.width; i += gridDim.y)
    base[i * z.stride + row] =
        kanbench::activate(activation, normalised ? z.v(i, row) : z.x(i, row), 0.0f);
}

// Writes the gradient of the basis' input.
template <class Basis>
KB_KERNEL(kLayerThreads)
contract_kernel(Expander<Basis> expander, LayerInput z, const float* dphi, Rows dv) {
  const std::int64_t row = row_of_thread();
  if (row >= z.input.rows) return;
  for (std::int64_t i = blockIdx.y; i < z.input.width; i += gridDim.y) {
    const float* from = dphi + i * expander.basis.size() * z.stride + row;
    float slope = 0;
    expander.eval(i, Dual<float>(z.v(i, row), 1.0f),
                  [&](int k, Dual<float> value) { slope += from[k * z.stride] * value.d; });
    dv.data[i * dv.stride + row] = slope;
  }
}

// Adds to the gradient of one inner parameter, over one input or all.
template <class Basis>
KB_KERNEL(kLayerThreads)
sum_inner_kernel(Expander<Basis> expander, LayerInput z, const float* dphi, float* dinner) {
  if constexpr (kHasInner<Basis>) {
    KB_SHARED(float, room);
    const int mine = static_cast<int>(blockIdx.x);
    const bool own = expander.each > 0;
    const std::int64_t first = own ? blockIdx.y : 0, step = own ? gridDim.y : 1;
    float sum = 0;
    for (std::int64_t i = first; i < z.input.width; i += step) {
      const float* from = dphi + i * expander.basis.size() * z.stride;
      const float* values = expander.inner + i * expander.each;
      for (std::int64_t row = threadIdx.x; row < z.input.rows; row += blockDim.x)
        expander.basis.eval(
            Dual<float>(z.v(i, row)),
            [&](int p) { return Dual<float>(values[p], p == mine ? 1.0f : 0.0f); },
            [&](int k, Dual<float> value) { sum += from[k * z.stride + row] * value.d; });
      if (!own) continue;
      sum = block_sum(sum, room);
      if (threadIdx.x == 0) dinner[i * expander.each + mine] += sum;
      sum = 0;
      __syncthreads();
    }
    if (own) return;
    sum = block_sum(sum, room);
    if (threadIdx.x == 0) dinner[mine] += sum;
  }
}

// dv += what the base branch gives.
KB_KERNEL(kLayerThreads)
add_base_kernel(LayerInput z, Activation activation, bool normalised, const float* dbase, Rows dv) {
  const std::int64_t row = row_of_thread();
  if (row >= z.input.rows) return;
  for (std::int64_t i = blockIdx.y; i < z.input.width; i += gridDim.y) {
    const float x = normalised ? z.v(i, row) : z.x(i, row);
    const Dual<float> b = kanbench::activate(activation, Dual<float>(x, 1.0f), Dual<float>(0.0f));
    dv.data[i * dv.stride + row] += dbase[i * z.stride + row] * b.d;
  }
}

// Adds to the gradient of prelu's share, in one block.
KB_KERNEL(kLayerThreads)
sum_share_kernel(LayerInput z, Rows dv, float* dshare) {
  KB_SHARED(float, room);
  float sum = 0;
  for (std::int64_t i = 0; i < z.input.width; ++i)
    for (std::int64_t row = threadIdx.x; row < z.input.rows; row += blockDim.x)
      sum -= dv.data[i * dv.stride + row] * max0(-z.u(i, row));
  sum = block_sum(sum, room);
  if (threadIdx.x == 0) *dshare += sum;
}

KB_KERNEL(kLayerThreads)
activate_back_kernel(LayerInput z, Rows dv) {
  const std::int64_t row = row_of_thread();
  if (row >= z.input.rows) return;
  const Dual<float> share(z.share ? *z.share : 0.0f);
  for (std::int64_t i = blockIdx.y; i < z.input.width; i += gridDim.y)
    dv.data[i * dv.stride + row] *=
        kanbench::activate(z.activation, Dual<float>(z.u(i, row), 1.0f), share).d;
}

// Adds to the norm's gradients, a block a feature.
KB_KERNEL(kLayerThreads)
sum_norm_kernel(LayerInput z, Rows dz, float* dweight, float* dbias) {
  KB_SHARED(float, room);
  const std::int64_t i = blockIdx.x;
  const float* slopes = dz.data + i * dz.stride;
  float weight = 0, bias = 0;
  for (std::int64_t row = threadIdx.x; row < z.input.rows; row += blockDim.x) {
    weight += slopes[row] * z.unit(i, row);
    bias += slopes[row];
  }
  weight = block_sum(weight, room);
  bias = block_sum(bias, room);
  if (threadIdx.x == 0) {
    dweight[i] += weight;
    dbias[i] += bias;
  }
}

// Turns dz, the gradient of the norm's output, into that of its input, in place.
KB_KERNEL(kLayerThreads)
unnorm_rows_kernel(LayerInput z, Rows dz) {
  const std::int64_t row = row_of_thread();
  if (row >= z.input.rows) return;
  const float width = static_cast<float>(z.input.width), inverse = z.statistics[z.stride + row];
  float sum = 0, dot = 0;
  for (std::int64_t i = 0; i < z.input.width; ++i) {
    const float slope = dz.data[i * dz.stride + row] * z.weight[i];
    sum += slope;
    dot += slope * z.unit(i, row);
  }
  sum /= width;
  dot /= width;
  for (std::int64_t i = 0; i < z.input.width; ++i) {
    float& at = dz.data[i * dz.stride + row];
    at = inverse * (at * z.weight[i] - sum - z.unit(i, row) * dot);
  }
}

KB_KERNEL(kLayerThreads)
set_bias_kernel(const float* bias, Rows rows) {
  const std::int64_t row = row_of_thread();
  if (row >= rows.rows) return;
  for (std::int64_t o = blockIdx.y; o < rows.width; o += gridDim.y)
    rows.data[o * rows.stride + row] = bias ? bias[o] : 0.0f;
}

KB_KERNEL(kLayerThreads)
add_row_sums_kernel(ConstRows rows, float* sums) {
  KB_SHARED(float, room);
  const float* from = rows.data + std::int64_t{blockIdx.x} * rows.stride;
  float sum = 0;
  for (std::int64_t row = threadIdx.x; row < rows.rows; row += blockDim.x) sum += from[row];
  sum = block_sum(sum, room);
  if (threadIdx.x == 0) sums[blockIdx.x] += sum;
}

}  // namespace

void expand(const LayerAt& at, const LayerRows& rows, cudaStream_t stream) {
  const Layer& layer = at.layer;
  if (layer.norm)
    launch(measure_rows_kernel, grid_of(rows.input.rows, 1, stream), rows.input, rows.statistics,
           rows.stride);
  const LayerInput z = input_of(at, rows);
  const Grid grid = grid_of(rows.input.rows, layer.in, stream);
  if (layer.base)
    launch(expand_base_kernel, grid, z, layer.base_activation, layer.base_normalised, rows.base);
  if (layer.edges) return;
  std::visit(
      [&]<class Basis>(const Basis& basis) {
        launch(expand_kernel<Basis>, grid, expander_of(at, basis), z, rows.phi);
      },
      layer.basis);
}

void contract(const LayerAt& at, const LayerParameters<float>& gradient, const LayerRows& rows,
              Rows dinput, cudaStream_t stream) {
  const LayerInput z = input_of(at, rows);
  const float* dphi = rows.phi;
  std::visit(
      [&]<class Basis>(const Basis& basis) {
        const Expander<Basis> expander = expander_of(at, basis);
        if (expander.inner)
          launch(sum_inner_kernel<Basis>,
                 grid_of_blocks(inner(at.layer.basis), expander.each ? at.layer.in : 1, stream),
                 expander, z, dphi, gradient.inner);
        launch(contract_kernel<Basis>, grid_of(rows.input.rows, at.layer.in, stream), expander, z,
               dphi, dinput);
      },
      at.layer.basis);
  finish_input(at, gradient, rows, dinput, stream);
}

void finish_input(const LayerAt& at, const LayerParameters<float>& gradient, const LayerRows& rows,
                  Rows dv, cudaStream_t stream) {
  const Layer& layer = at.layer;
  const LayerInput z = input_of(at, rows);
  const Grid grid = grid_of(rows.input.rows, layer.in, stream);
  const float* dbase = rows.base;
  const auto add_base = [&] {
    launch(add_base_kernel, grid, z, layer.base_activation, layer.base_normalised, dbase, dv);
  };
  if (layer.base && layer.base_normalised) add_base();
  if (gradient.activation_share)
    launch(sum_share_kernel, grid_of_blocks(1, 1, stream), z, dv, gradient.activation_share);
  if (layer.activation != Activation::none) launch(activate_back_kernel, grid, z, dv);
  if (layer.norm) {
    launch(sum_norm_kernel, grid_of_blocks(layer.in, 1, stream), z, dv, gradient.norm_weight,
           gradient.norm_bias);
    launch(unnorm_rows_kernel, grid_of(rows.input.rows, 1, stream), z, dv);
  }
  if (layer.base && !layer.base_normalised) add_base();
}

void set_bias(const float* bias, Rows rows, cudaStream_t stream) {
  launch(set_bias_kernel, grid_of(rows.rows, rows.width, stream), bias, rows);
}

void add_row_sums(ConstRows rows, float* sums, cudaStream_t stream) {
  launch(add_row_sums_kernel, grid_of_blocks(rows.width, 1, stream), rows, sums);
}

}  // namespace kanbench::cuda
