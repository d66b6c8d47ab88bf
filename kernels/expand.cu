// A layer's input through its norm and basis, and the gradient back. A thread has one feature of
// one row; a norm's sums over features are taken by a thread a row, feature after feature, and its
// parameters' sums over rows by a block a feature, so that every sum has its order.

#include <algorithm>
#include <cmath>
#include <variant>

#include "kanbench/math/dual.h"
#include "kanbench/math/layer.h"
#include "kernels/device.h"
#include "kernels/expand.h"

namespace kanbench::cuda {
namespace {

constexpr int kThreads = 256;

// The input of a basis: the layer's input, normalised where there are statistics.
struct Normalised {
  ConstRows input;
  const float* statistics;
  std::int64_t stride;
  const float *weight, *bias;
};

KB_DEVICE std::int64_t row_of_thread() {
  return std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
}

KB_DEVICE float unit_at(const Normalised& z, std::int64_t i, std::int64_t row) {
  const float x = z.input.data[i * z.input.stride + row];
  return (x - z.statistics[row]) * z.statistics[z.stride + row];
}

KB_DEVICE float value_at(const Normalised& z, std::int64_t i, std::int64_t row) {
  if (!z.statistics) return z.input.data[i * z.input.stride + row];
  return unit_at(z, i, row) * z.weight[i] + z.bias[i];
}

KB_KERNEL(kThreads)
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

template <class Basis>
KB_KERNEL(kThreads)
expand_kernel(Basis basis, Normalised z, float* phi, float* base) {
  const std::int64_t row = row_of_thread();
  if (row >= z.input.rows) return;
  for (std::int64_t i = blockIdx.y; i < z.input.width; i += gridDim.y) {
    float* out = phi + i * basis.size() * z.stride + row;
    basis.eval(value_at(z, i, row), [&](int k, float value) { out[k * z.stride] = value; });
    if (base) base[i * z.stride + row] = silu(z.input.data[i * z.input.stride + row]);
  }
}

// Writes the gradient of the basis' input; where that is the layer's own, the base branch's too.
template <class Basis>
KB_KERNEL(kThreads)
contract_kernel(Basis basis, Normalised z, const float* dphi, const float* dbase, Rows dz) {
  const std::int64_t row = row_of_thread();
  if (row >= z.input.rows) return;
  for (std::int64_t i = blockIdx.y; i < z.input.width; i += gridDim.y) {
    const float* from = dphi + i * basis.size() * z.stride + row;
    float slope = 0;
    basis.eval(Dual<float>(value_at(z, i, row), 1.0f),
               [&](int k, Dual<float> value) { slope += from[k * z.stride] * value.d; });
    if (dbase && !z.statistics) {
      const float x = z.input.data[i * z.input.stride + row];
      slope += dbase[i * z.stride + row] * silu(Dual<float>(x, 1.0f)).d;
    }
    dz.data[i * dz.stride + row] = slope;
  }
}

// Adds to the norm's gradients, a block a feature.
KB_KERNEL(kThreads)
sum_norm_kernel(Normalised z, Rows dz, float* dweight, float* dbias) {
  KB_SHARED(float, room);
  const std::int64_t i = blockIdx.x;
  const float* slopes = dz.data + i * dz.stride;
  float weight = 0, bias = 0;
  for (std::int64_t row = threadIdx.x; row < z.input.rows; row += blockDim.x) {
    weight += slopes[row] * unit_at(z, i, row);
    bias += slopes[row];
  }
  weight = block_sum(weight, room);
  bias = block_sum(bias, room);
  if (threadIdx.x == 0) {
    dweight[i] += weight;
    dbias[i] += bias;
  }
}

// Turns dz, the gradient of the norm's output, into that of the layer's input, in place.
KB_KERNEL(kThreads)
unnorm_rows_kernel(Normalised z, const float* dbase, Rows dz) {
  const std::int64_t row = row_of_thread();
  if (row >= z.input.rows) return;
  const float width = static_cast<float>(z.input.width), inverse = z.statistics[z.stride + row];
  float sum = 0, dot = 0;
  for (std::int64_t i = 0; i < z.input.width; ++i) {
    const float slope = dz.data[i * dz.stride + row] * z.weight[i];
    sum += slope;
    dot += slope * unit_at(z, i, row);
  }
  sum /= width;
  dot /= width;
  for (std::int64_t i = 0; i < z.input.width; ++i) {
    float& at = dz.data[i * dz.stride + row];
    float dx = inverse * (at * z.weight[i] - sum - unit_at(z, i, row) * dot);
    if (dbase) {
      const float x = z.input.data[i * z.input.stride + row];
      dx += dbase[i * z.stride + row] * silu(Dual<float>(x, 1.0f)).d;
    }
    at = dx;
  }
}

KB_KERNEL(kThreads)
set_bias_kernel(const float* bias, Rows rows) {
  const std::int64_t row = row_of_thread();
  if (row >= rows.rows) return;
  for (std::int64_t o = blockIdx.y; o < rows.width; o += gridDim.y)
    rows.data[o * rows.stride + row] = bias[o];
}

KB_KERNEL(kThreads)
add_row_sums_kernel(ConstRows rows, float* sums) {
  KB_SHARED(float, room);
  const float* from = rows.data + std::int64_t{blockIdx.x} * rows.stride;
  float sum = 0;
  for (std::int64_t row = threadIdx.x; row < rows.rows; row += blockDim.x) sum += from[row];
  sum = block_sum(sum, room);
  if (threadIdx.x == 0) sums[blockIdx.x] += sum;
}

// A thread a row and a block a feature, as far as a grid reaches.
Grid grid_of(std::int64_t rows, std::int64_t width, cudaStream_t stream) {
  return {dim3(static_cast<unsigned>(ceil_divide(rows, kThreads)),
               static_cast<unsigned>(std::min<std::int64_t>(width, 65535))),
          dim3(kThreads), 0, stream};
}
Grid grid_of_blocks(int blocks, cudaStream_t stream) {
  return {dim3(static_cast<unsigned>(blocks)), dim3(kThreads), 32 * sizeof(float), stream};
}

Normalised normalised(const LayerParameters<const float>& p, const LayerRows& rows) {
  return {rows.input, rows.statistics, rows.stride, p.norm_weight, p.norm_bias};
}

}  // namespace

void expand(const Layer& layer, const LayerParameters<const float>& parameters,
            const LayerRows& rows, cudaStream_t stream) {
  if (layer.norm)
    launch(measure_rows_kernel, grid_of(rows.input.rows, 1, stream), rows.input, rows.statistics,
           rows.stride);
  const Grid grid = grid_of(rows.input.rows, layer.in, stream);
  std::visit(
      [&]<class Basis>(const Basis& basis) {
        launch(expand_kernel<Basis>, grid, basis, normalised(parameters, rows), rows.phi,
               rows.base);
      },
      layer.basis);
}

void contract(const Layer& layer, const LayerParameters<const float>& parameters,
              const LayerParameters<float>& gradient, const LayerRows& rows, Rows dinput,
              cudaStream_t stream) {
  const Normalised z = normalised(parameters, rows);
  std::visit(
      [&]<class Basis>(const Basis& basis) {
        launch(contract_kernel<Basis>, grid_of(rows.input.rows, layer.in, stream), basis, z,
               static_cast<const float*>(rows.phi), static_cast<const float*>(rows.base), dinput);
      },
      layer.basis);
  if (!layer.norm) return;
  launch(sum_norm_kernel, grid_of_blocks(layer.in, stream), z, dinput, gradient.norm_weight,
         gradient.norm_bias);
  launch(unnorm_rows_kernel, grid_of(rows.input.rows, 1, stream), z,
         static_cast<const float*>(rows.base), dinput);
}

void set_bias(const float* bias, Rows rows, cudaStream_t stream) {
  launch(set_bias_kernel, grid_of(rows.rows, rows.width, stream), bias, rows);
}

void add_row_sums(ConstRows rows, float* sums, cudaStream_t stream) {
  launch(add_row_sums_kernel, grid_of_blocks(rows.width, stream), rows, sums);
}

}  // namespace kanbench::cuda
