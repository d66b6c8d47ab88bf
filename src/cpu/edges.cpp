// The gradient of what the decoder's edges cost, layer by layer, a row of outputs a task.

#include "cpu/backend.h"
#include "kanbench/parallel.h"

namespace kanbench::cpu {

void CpuBackend::add_edge_gradient(Model& model, const EdgePenalty& penalty) {
  if (!penalty.wanted()) return;
  const ModelSpec& spec = model.spec();
  std::vector<EdgeSums> rows;
  for (std::size_t l = 0; l < spec.layers.size(); ++l) {
    const Layer& layer = spec.layers[l];
    const int count = size(layer.basis);
    const std::int64_t in = layer.in, row = in * count;
    const float* const weight = model.parameters().data() + model.layout().layers[l].weight;
    float* const gradient = model.gradient().data() + model.layout().layers[l].weight;
    rows.assign(static_cast<std::size_t>(layer.out), {});
    parallel(layer.out, [&](std::int64_t o) {
      EdgeSums& sums = rows[static_cast<std::size_t>(o)];
      for (std::int64_t i = 0; i < in; ++i) {
        const double edge = edge_size(weight + o * row + i * count, count);
        sums.sizes += edge;
        if (penalty.entropy != 0) sums.logs += edge * std::log(edge);
      }
    });
    EdgeSums all;
    for (const EdgeSums& sums : rows) {
      all.sizes += sums.sizes;
      all.logs += sums.logs;
    }
    parallel(layer.out, [&](std::int64_t o) {
      for (std::int64_t i = 0; i < in; ++i)
        add_edge_slope(penalty, all, weight + o * row + i * count, count,
                       gradient + o * row + i * count);
    });
  }
}

}  // namespace kanbench::cpu
