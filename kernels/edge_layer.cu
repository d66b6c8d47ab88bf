// Layers whose edges each take the basis at a place of their own. A thread has one row and one
// output, or one input on the way back; an edge's gradients are a block's sum over rows.

#include <variant>

#include "kanbench/error.h"
#include "kanbench/math/dual.h"
#include "kernels/layer_input.h"

namespace kanbench::cuda {
namespace {

struct EdgesAt {
  const float *weight, *scale, *shift;
  int in, out;
};

template <class Basis>
KB_KERNEL(kLayerThreads)
forward_edges_kernel(Basis basis, LayerInput z, EdgesAt edges, Rows out) {
  const std::int64_t row = row_of_thread();
  if (row >= z.input.rows) return;
  for (std::int64_t o = blockIdx.y; o < edges.out; o += gridDim.y) {
    float sum = out.data[o * out.stride + row];
    for (int i = 0; i < edges.in; ++i) {
      const std::int64_t edge = o * edges.in + i;
      basis.eval(edges.scale[edge] * (z.v(i, row) - edges.shift[edge]),
                 [&](int, float phi) { sum += edges.weight[edge] * phi; });
    }
    out.data[o * out.stride + row] = sum;
  }
}

template <class Basis>
KB_KERNEL(kLayerThreads)
pull_edges_kernel(Basis basis, LayerInput z, EdgesAt edges, ConstRows dout, Rows dv) {
  const std::int64_t row = row_of_thread();
  if (row >= z.input.rows) return;
  for (std::int64_t i = blockIdx.y; i < edges.in; i += gridDim.y) {
    const float v = z.v(i, row);
    float sum = 0;
    for (int o = 0; o < edges.out; ++o) {
      const std::int64_t edge = std::int64_t{o} * edges.in + i;
      const float scale = edges.scale[edge];
      const float d = dout.data[o * dout.stride + row] * edges.weight[edge] * scale;
      basis.eval(Dual<float>(scale * (v - edges.shift[edge]), 1.0f),
                 [&](int, Dual<float> phi) { sum += d * phi.d; });
    }
    dv.data[i * dv.stride + row] = sum;
  }
}

/// Adds to the gradients of edge (blockIdx.y, blockIdx.x).
template <class Basis>
KB_KERNEL(kLayerThreads)
sum_edges_kernel(Basis basis, LayerInput z, EdgesAt edges, ConstRows dout, float* dweight,
                 float* dscale, float* dshift) {
  KB_SHARED(float, room);
  const std::int64_t i = blockIdx.x;
  for (std::int64_t o = blockIdx.y; o < edges.out; o += gridDim.y) {
    const std::int64_t edge = o * edges.in + i;
    const float scale = edges.scale[edge], shift = edges.shift[edge];
    float sums[3] = {0, 0, 0};
    for (std::int64_t row = threadIdx.x; row < z.input.rows; row += blockDim.x) {
      const float off = z.v(i, row) - shift, d = dout.data[o * dout.stride + row];
      basis.eval(Dual<float>(scale * off, 1.0f), [&](int, Dual<float> phi) {
        const float slope = d * edges.weight[edge] * phi.d;
        sums[0] += d * phi.v;
        sums[1] += slope * off;
        sums[2] -= slope * scale;
      });
    }
    float* const to[3] = {dweight + edge, dscale + edge, dshift + edge};
    for (int n = 0; n < 3; ++n) {
      const float sum = block_sum(sums[n], room);
      if (threadIdx.x == 0) *to[n] += sum;
      __syncthreads();
    }
  }
}

EdgesAt edges_of(const LayerAt& at) {
  const LayerParameters<const float>& p = at.parameters;
  return {p.weight, p.edge_scale, p.edge_shift, at.layer.in, at.layer.out};
}

template <class Work>
void visit_basis(const LayerAt& at, Work&& work) {
  std::visit(
      [&]<class Basis>(const Basis& basis) {
        if constexpr (kOnEdges<Basis>)
          work(basis);
        else
          check(false, "edges of a basis that is not for them");
      },
      at.layer.basis);
}

}  // namespace

void forward_edges(const LayerAt& at, const LayerRows& rows, Rows out, cudaStream_t stream) {
  visit_basis(at, [&]<class Basis>(const Basis& basis) {
    launch(forward_edges_kernel<Basis>, grid_of(rows.input.rows, at.layer.out, stream), basis,
           input_of(at, rows), edges_of(at), out);
  });
}

void backward_edges(const LayerAt& at, const LayerParameters<float>& gradient,
                    const LayerRows& rows, ConstRows dout, Rows dv, cudaStream_t stream) {
  const LayerInput z = input_of(at, rows);
  visit_basis(at, [&]<class Basis>(const Basis& basis) {
    launch(sum_edges_kernel<Basis>, grid_of_blocks(at.layer.in, at.layer.out, stream), basis, z,
           edges_of(at), dout, gradient.weight, gradient.edge_scale, gradient.edge_shift);
    launch(pull_edges_kernel<Basis>, grid_of(rows.input.rows, at.layer.in, stream), basis, z,
           edges_of(at), dout, dv);
  });
}

}  // namespace kanbench::cuda
