#pragma once
// A small volume of three components, smooth, each with a range of its own.

#include <cmath>
#include <memory>
#include <vector>

#include "kanbench/volume.h"

namespace kanbench::test {

template <class Voxel>
Volume vector_volume(const Shape& shape, Dtype dtype, bool equal = false) {
  auto voxels = std::make_shared<std::vector<Voxel>>();
  for (int c = 0; c < 3; ++c)
    for (int z = 0; z < shape.z; ++z)
      for (int y = 0; y < shape.y; ++y)
        for (int x = 0; x < shape.x; ++x) {
          const int k = equal ? 0 : c;
          const double wave = std::sin(0.3 * x + k) * std::cos(0.25 * y * (k + 1)) + 0.05 * z;
          voxels->push_back(static_cast<Voxel>(40 + (20 + 10 * k) * wave));
        }
  return Volume("vector", shape, dtype, std::shared_ptr<const void>(voxels, voxels->data()),
                "a test", 3);
}

}  // namespace kanbench::test
