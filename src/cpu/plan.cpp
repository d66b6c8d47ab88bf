// Where a decoder's numbers lie in scratch and in sums.

#include <algorithm>

#include "cpu/kernels.h"

namespace kanbench::cpu {
namespace {

int pad(int floats) { return (floats + kMaxWidth - 1) / kMaxWidth * kMaxWidth; }

}  // namespace

void lay_out(std::vector<LayerPlan>& layers, DecoderPlan& plan) {
  const std::int64_t rows = plan.rows;
  std::int64_t sums = 0, scratch = 0;
  plan.room = plan.widest = plan.columns = 0;
  const auto take = [&](bool there, std::int64_t floats) {
    const std::int64_t at = there ? sums : -1;
    if (there) sums += floats;
    return at;
  };
  for (LayerPlan& layer : layers) {
    const std::int64_t in = layer.in;
    layer.columns = pad(layer.out);
    layer.base_out = layers[static_cast<std::size_t>(layer.base_layer)].out;
    layer.base_columns = pad(layer.base_out);
    layer.dweight = take(true, in * layer.size * layer.columns);
    layer.dbase = take(layer.base_weight >= 0, in * layer.base_columns);
    layer.dscale = take(layer.edges, in * layer.columns);
    layer.dshift = take(layer.edges, in * layer.columns);
    layer.dshare = take(layer.share >= 0, kMaxWidth);
    layer.dinner = take(layer.inner >= 0, inner_count(layer) * kMaxWidth);
    layer.dbias = take(layer.bias >= 0, std::int64_t{layer.out} * kMaxWidth);
    layer.dnorm_weight = take(layer.norm, in * kMaxWidth);
    layer.dnorm_bias = take(layer.norm, in * kMaxWidth);
    scratch += (layer.norm ? (in + 1) * rows : 0) + layer.out * rows;
    plan.room = std::max({plan.room, in * rows + 3 * block_floats(layer, plan.rows),
                          in * rows + local_floats(layer, plan.rows)});
    plan.widest = std::max(plan.widest, in);
    plan.columns = std::max<std::int64_t>(plan.columns, layer.columns);
  }
  plan.layers = layers.data();
  plan.count = static_cast<int>(layers.size());
  plan.outputs = layers.back().out;
  plan.scratch = scratch + plan.room + (plan.widest + plan.columns) * rows;
  plan.sums = sums;
}

}  // namespace kanbench::cpu
