// Decoding a lattice: bricks of voxels, whose corners in the grid are near each other.

#include <algorithm>

#include "cpu/backend.h"
#include "kanbench/error.h"
#include "kanbench/parallel.h"

namespace kanbench::cpu {
namespace {

// A brick of at most `rows` voxels for a box: edges double in turn while they fit.
Shape choose_brick(const Shape& box, int rows) {
  std::int64_t edge[3] = {1, 1, 1};
  const std::int64_t most[3] = {box.x, box.y, box.z};
  for (bool grown = true; grown;) {
    grown = false;
    for (int d = 0; d < 3; ++d)
      if (edge[0] * edge[1] * edge[2] * 2 <= rows && edge[d] < most[d]) {
        edge[d] *= 2;
        grown = true;
      }
  }
  return {edge[0], edge[1], edge[2]};
}

float centre(std::int64_t voxel, std::int64_t size) {
  return static_cast<float>((static_cast<double>(voxel) + 0.5) / static_cast<double>(size));
}

struct Bricks {
  Lattice lattice;
  Shape edge, count;

  // Calls visit(i, x, y, z) for voxel i of brick `b`, from the box's corner; those past the box's
  // end are left out.
  template <class Visit>
  void each(std::int64_t b, Visit visit) const {
    const Shape box = lattice.box.shape();
    const std::int64_t x0 = b % count.x * edge.x, y0 = b / count.x % count.y * edge.y,
                       z0 = b / (count.x * count.y) * edge.z;
    std::int64_t i = 0;
    for (std::int64_t z = z0; z < z0 + edge.z; ++z)
      for (std::int64_t y = y0; y < y0 + edge.y; ++y)
        for (std::int64_t x = x0; x < x0 + edge.x; ++x, ++i)
          if (x < box.x && y < box.y && z < box.z) visit(i, x, y, z);
  }
};

void place_points(const Bricks& bricks, std::int64_t b, int rows, float* points) {
  std::fill_n(points, 3 * rows, 0.0f);
  const Lattice& lattice = bricks.lattice;
  bricks.each(b, [&](std::int64_t i, std::int64_t x, std::int64_t y, std::int64_t z) {
    points[i] = centre(lattice.box.low[0] + x, lattice.size.x);
    points[rows + i] = centre(lattice.box.low[1] + y, lattice.size.y);
    points[2 * rows + i] = centre(lattice.box.low[2] + z, lattice.size.z);
  });
}

void store(const Bricks& bricks, std::int64_t b, const float* results, int outputs, int rows,
           const Decoded& out) {
  const Shape box = bricks.lattice.box.shape();
  const auto each = [&](int output, auto put) {
    const float* result = results + std::int64_t{output} * rows;
    bricks.each(b, [&](std::int64_t v, std::int64_t x, std::int64_t y, std::int64_t z) {
      put((z * box.y + y) * box.x + x, result[v]);
    });
  };
  for (int o = 0; out.values && o < outputs; ++o)
    each(o, [&](std::int64_t at, float value) { out.values[o * box.count() + at] = value; });
  if (!out.voxels) return;
  visit(out.dtype, [&]<class Voxel>(Voxel) {
    auto* voxels = static_cast<Voxel*>(out.voxels);
    each(0, [&](std::int64_t at, float value) {
      const double held = std::clamp(value, 0.0f, 1.0f);
      voxels[at] = to_voxel<Voxel>(out.low + held * (out.high - out.low));
    });
  });
}

}  // namespace

void CpuBackend::decode(const Model& model, const Lattice& lattice, const Decoded& out) {
  constexpr std::int64_t kGroup = 16;
  const Shape box = lattice.box.shape();
  const int rows = tile_rows(model.spec(), 1 << 16);
  const DecoderPlan& plan = plan_for(model, rows);
  check(!out.voxels || plan.outputs == 1, "voxels of several outputs");
  const std::int64_t result_floats = std::int64_t{plan.outputs} * rows;
  const Shape edge = choose_brick(box, rows);
  const Bricks bricks{lattice,
                      edge,
                      {(box.x + edge.x - 1) / edge.x, (box.y + edge.y - 1) / edge.y,
                       (box.z + edge.z - 1) / edge.z}};
  place_levels(model);
  const std::int64_t width = kanbench::width(model.spec().encoder);
  const std::int64_t tile_floats = (3 + width) * rows;
  parallel((bricks.count.count() + kGroup - 1) / kGroup, [&](std::int64_t task) {
    float* scratch = scratch_floats(plan.scratch + result_floats + kGroup * tile_floats);
    float* results = scratch + plan.scratch;
    const std::int64_t first = task * kGroup;
    Tiling t;
    t.rows = rows;
    t.tiles = std::min(kGroup, bricks.count.count() - first);
    t.width = width;
    t.points = results + result_floats;
    t.features = t.points + kGroup * 3 * rows;
    for (std::int64_t i = 0; i < t.tiles; ++i)
      place_points(bricks, first + i, rows, t.points + i * 3 * rows);
    encode(model, t);
    for (std::int64_t i = 0; i < t.tiles; ++i) {
      TileArguments a{};
      a.plan = &plan;
      a.parameters = model.parameters().data();
      a.features = t.features + i * width * rows;
      a.scratch = scratch;
      a.values = results;
      kernels_.forward(a);
      store(bricks, first + i, results, plan.outputs, rows, out);
    }
  });
}

}  // namespace kanbench::cpu
