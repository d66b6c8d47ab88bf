#include "kanbench/recipe.h"

#include <algorithm>
#include <cmath>

#include "encoder_choice.h"
#include "kanbench/error.h"

namespace kanbench {

ModelSpec make_spec(const Run& run) {
  ModelSpec spec;
  spec.network_type = run.network_type;
  spec.output = run.output_activation == "Sigmoid" ? OutputActivation::sigmoid
                : run.output_activation == "ReLU"  ? OutputActivation::relu
                                                   : OutputActivation::none;
  spec.encoder = make_encoder(run);
  const bool kan = run.network_type == "fastkan";
  check(kan || run.network_type == "mlp", "a network type without a recipe");
  int in = width(spec.encoder);
  for (int i = 0; i <= run.n_hidden_layers; ++i) {
    Layer layer{in, i < run.n_hidden_layers ? run.n_neurons : 1};
    if (kan) {
      layer.basis = basis::Rbf{run.kan.num_grids, static_cast<float>(run.kan.grid_radius)};
      layer.base = layer.bias = run.kan.use_base_update;
      // Behind a table whose fine levels are still noise, a norm would blow that noise up.
      layer.norm = i > 0 || run.faithful;
    } else if (i > 0) {
      layer.basis = basis::Relu{};
    }
    spec.layers.push_back(layer);
    in = layer.out;
  }
  return spec;
}

Initialisation make_initialisation(const Run& run) {
  Initialisation init;
  if (run.faithful) return init;
  init.spline_std = 0.01;
  // Behind rectifiers, He's bound.
  if (run.network_type == "mlp") init.linear_gain = std::sqrt(6.0);
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
  const double least = run.network_type == "mlp" ? 0.3 : 0.1;
  training.decoder_rate = std::clamp(3e-4 / run.lrate, least, 1.0);
  return training;
}

}  // namespace kanbench
