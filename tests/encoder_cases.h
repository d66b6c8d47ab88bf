#pragma once
// An encoder of each kind, small, and several side by side.

#include <string>
#include <vector>

#include "kanbench/math/encoder.h"

namespace kanbench::test {

inline std::vector<Encoder> small_encoders() {
  using namespace encoder;
  const Frequency plain{3, false}, included{6, true};
  const RandomFourier waves{9, 0.7, 5};
  AdaptiveMultiGrid moving;
  moving.n_grids = 3, moving.resolution = 4;
  moving.tv_weight = moving.l1_weight = 0;
  return {Identity{},
          HashGrid{2, 2, 6, 4, 2},
          plain,
          included,
          waves,
          DenseGrid{4, 4},
          DenseGrid{3, 5},
          MultiDenseGrid{3, 2, 2, 1.5},
          TiledGrid{3, 2, 6, 3, 1.9},
          TriPlane{5, 4},
          TriPlane{4, 3},
          moving,
          Concat{{DenseGrid{4, 8}, plain}},
          Concat{{plain, moving, DenseGrid{3, 2}}},
          Concat{{included, HashGrid{2, 2, 6, 4, 2}, Identity{}, TriPlane{3, 1}, waves}}};
}

/// "dense_grid+frequency".
inline std::string label(const Encoder& encoder) {
  const auto* all = std::get_if<encoder::Concat>(&encoder);
  if (!all) return name(encoder);
  std::string text;
  for (const EncoderPart& part : all->parts)
    text += (text.empty() ? "" : "+") +
            std::string(std::visit([](const auto& one) { return one.name; }, part));
  return text;
}

}  // namespace kanbench::test
