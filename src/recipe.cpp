#include "kanbench/recipe.h"

#include <algorithm>
#include <cmath>

#include "decoder_kind.h"

namespace kanbench {

ModelSpec make_spec(const Run& run) {
  ModelSpec spec;
  spec.network_type = run.network_type;
  spec.output = run.output_activation == "Sigmoid" ? OutputActivation::sigmoid
                : run.output_activation == "ReLU"  ? OutputActivation::relu
                                                   : OutputActivation::none;
  if (run.encoder == "identity" || run.log2_hashmap_size == 0)
    spec.encoder = encoder::Identity{};
  else
    spec.encoder = encoder::HashGrid{run.n_levels, run.n_features_per_level, run.log2_hashmap_size,
                                     run.base_resolution, run.per_level_scale};
  spec.layers = decoder_kind(run.network_type).layers(run, width(spec.encoder));
  return spec;
}

Initialisation make_initialisation(const Run& run) {
  Initialisation init;
  if (run.faithful) return init;
  const DecoderKind& kind = decoder_kind(run.network_type);
  for (const Layer& layer : make_spec(run).layers)
    init.layers.push_back(kind.draw(run, layer, init.layers.size()));
  return init;
}

Training make_training(const Run& run, std::int64_t batch_size, std::uint64_t seed) {
  Training training;
  training.epochs = run.epochs;
  training.batch_size = batch_size;
  training.lrate = run.lrate;
  training.lrate_decay = run.lrate_decay;
  training.seed = seed;
  training.wire = run.decomposition.wire == "fp16" ? Wire::fp16 : Wire::fp32;
  training.sharded = run.decomposition.sharded;
  if (run.loss == "mse") training.loss = loss::Mse{};
  if (run.faithful) {
    training.adam.skip_untouched = false;
    return training;
  }
  training.anneal = 0.25;
  // One step size for table and decoder is too coarse for the decoder at high rates, and too fine
  // at low ones.
  const double least = decoder_kind(run.network_type).least_rate;
  training.decoder_rate = std::clamp(3e-4 / run.lrate, least, 1.0);
  return training;
}

}  // namespace kanbench
