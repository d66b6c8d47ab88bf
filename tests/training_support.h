#pragma once
// A small volume, and a run that learns it in a moment.

#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "kanbench/run.h"
#include "kanbench/volume.h"

namespace kanbench::test {

/// A smooth field.
inline Volume smooth_volume(const Shape& shape = {24, 20, 16}) {
  auto voxels = std::make_shared<std::vector<float>>();
  for (int z = 0; z < shape.z; ++z)
    for (int y = 0; y < shape.y; ++y)
      for (int x = 0; x < shape.x; ++x)
        voxels->push_back(std::sin(0.3f * x) * std::cos(0.25f * y) + 0.05f * z);
  return Volume("smooth", shape, Dtype::float32,
                std::shared_ptr<const void>(voxels, voxels->data()), "a test");
}

inline Run small_run(const std::string& network = "mlp") {
  Run run;
  run.dataset = "smooth";
  run.network_type = network;
  run.lrate = 1e-2;
  run.lrate_decay = 6;
  run.epochs = 8;
  run.n_neurons = 16;
  run.n_hidden_layers = 2;
  run.n_levels = 3;
  run.n_features_per_level = 4;
  run.per_level_scale = 1.6;
  run.log2_hashmap_size = 11;
  run.base_resolution = 6;
  return run;
}

}  // namespace kanbench::test
