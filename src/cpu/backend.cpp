#include "cpu/backend.h"

#include <algorithm>

#include "kanbench/error.h"
#include "kanbench/math/voxels.h"
#include "kanbench/parallel.h"

namespace kanbench {

std::unique_ptr<Backend> open_cpu(const std::string& instruction_set) {
  return std::make_unique<cpu::CpuBackend>(instruction_set);
}

}  // namespace kanbench

namespace kanbench::cpu {

std::string CpuBackend::name() const {
  const int count = threads();
  return "cpu " + std::to_string(count) + (count == 1 ? " thread " : " threads ") + kernels_.name;
}

std::size_t CpuBackend::bytes_per_row(const ModelSpec& spec) const {
  // Points, their tiles, targets and features.
  return sizeof(float) * static_cast<std::size_t>(3 + 3 + spec.outputs() + width(spec.encoder));
}

namespace {

// Normalised values of a volume of one component at points x[axis][count].
void look_up(const VolumeView& volume, const float* const (&x)[3], std::int64_t count,
             float* targets) {
  const double range = 1 / (volume.high - volume.low);
  visit(volume.dtype, [&]<class Voxel>(Voxel) {
    const VoxelGrid<Voxel> grid = grid_of<Voxel>(volume);
    for (std::int64_t i = 0; i < count; ++i) {
      const auto value = lookup(grid, x[0][i], x[1][i], x[2][i]);
      targets[i] = static_cast<float>((static_cast<double>(value) - volume.low) * range);
    }
  });
}

void draw_guided(const SamplingGuide& guide, const Stream& stream, std::int64_t first,
                 std::int64_t count, float* const (&x)[3]) {
  for (std::int64_t i = 0; i < count; ++i) {
    float unit[3];
    guide.place(stream.words(static_cast<std::uint64_t>(first + i)), unit);
    for (int d = 0; d < 3; ++d) x[d][i] = unit[d];
  }
}

}  // namespace

void CpuBackend::sample(const VolumeView& volume, const Box& box, const Stream& stream,
                        std::int64_t first_row, Rows points, Rows targets) {
  constexpr std::int64_t kChunk = 2048;
  check(targets.width == volume.components, "targets of another number of components");
  const Shape& n = volume.shape;
  const std::int64_t size[3] = {n.x, n.y, n.z};
  float scale[3], offset[3];
  for (int d = 0; d < 3; ++d) {
    const double voxels = static_cast<double>(size[d]);
    scale[d] = static_cast<float>(static_cast<double>(box.high[d] - box.low[d]) / voxels);
    offset[d] = static_cast<float>(static_cast<double>(box.low[d]) / voxels);
  }
  parallel((points.rows + kChunk - 1) / kChunk, [&](std::int64_t chunk) {
    const std::int64_t begin = chunk * kChunk, count = std::min(kChunk, points.rows - begin);
    float* x[3];
    for (int d = 0; d < 3; ++d) x[d] = points.data + d * points.stride + begin;
    if (volume.guide.ends)
      draw_guided(volume.guide, stream, first_row + begin, count, x);
    else
      kernels_.draw(stream, first_row + begin, count, x[0], x[1], x[2]);
    for (int d = 0; d < 3; ++d)
      for (std::int64_t i = 0; i < count; ++i) x[d][i] = offset[d] + x[d][i] * scale[d];
    for (int c = 0; c < volume.components; ++c)
      look_up(volume.component(c), x, count, targets.data + c * targets.stride + begin);
  });
}

void CpuBackend::sample_bricks(std::span<const BrickRows> bricks, const Stream& stream, Rows points,
                               Rows targets) {
  // Within a task sample() is serial.
  parallel(static_cast<std::int64_t>(bricks.size()), [&](std::int64_t i) {
    Backend::sample_bricks(bricks.subspan(static_cast<std::size_t>(i), 1), stream, points, targets);
  });
}

ModelCache& cache_of(const Model& model) {
  // The cache belongs to the backend; making it at first use does not change the model.
  auto& slot = const_cast<Model&>(model).cache;
  if (!slot) slot = std::make_shared<ModelCache>();
  return *static_cast<ModelCache*>(slot.get());
}

namespace {

// Splines of an input that are not zero, where leaving the others out is worth it: a product by
// rows takes about twice as long a coefficient as one of blocks.
int local_of(const Layer& layer) {
  const auto* spline = std::get_if<basis::BSpline>(&layer.basis);
  if (!spline || layer.out < kMaxWidth) return 0;
  const int local = spline->order + 1;
  return spline->size() >= 4 * local ? local : 0;
}

void make_plan(const ModelSpec& spec, const Layout& layout, int rows, ModelCache::Plan& plan) {
  check(spec.layers.size() <= kMostLayers, "a decoder of more layers than the kernels hold");
  for (const Slice& slice : layout.slices)
    check(!slice.encoder || slice.columns <= kMostFeatures, "more features than the kernels hold");
  for (std::size_t l = 0; l < spec.layers.size(); ++l) {
    const Layer& layer = spec.layers[l];
    const LayerOffsets& at = layout.layers[l];
    LayerPlan p{};
    p.in = layer.in;
    p.out = layer.out;
    p.size = size(layer.basis);
    p.basis = static_cast<int>(layer.basis.index());
    p.basis_data = std::visit([](const auto& b) -> const void* { return &b; }, layer.basis);
    p.norm = layer.norm;
    p.weight = at.weight;
    p.base_weight = at.base_weight;
    p.bias = at.bias;
    p.norm_weight = at.norm_weight;
    p.norm_bias = at.norm_bias;
    p.activation = layer.activation;
    p.base_activation = layer.base_activation;
    p.base_normalised = layer.base_normalised;
    p.edges = layer.edges;
    p.local = local_of(layer);
    p.base_layer = static_cast<int>(l) + layer.base_skip;
    p.inner_size = inner(layer.basis);
    p.inner_stride = layer.inner == Inner::input ? p.inner_size : 0;
    p.share = at.activation_share;
    p.inner = at.inner;
    p.scale = at.edge_scale;
    p.shift = at.edge_shift;
    plan.layers.push_back(p);
  }
  plan.decoder.output = static_cast<int>(spec.output);
  plan.decoder.rows = rows;
  lay_out(plan.layers, plan.decoder);
}

}  // namespace

const DecoderPlan& CpuBackend::plan_for(const Model& model, int rows) const {
  auto& plans = cache_of(model).plans;
  const auto found = plans.find(rows);
  if (found != plans.end()) return found->second.decoder;
  ModelCache::Plan& plan = plans[rows];
  make_plan(model.spec(), model.layout(), rows, plan);
  return plan.decoder;
}

std::size_t CpuBackend::working_bytes(const ModelSpec& spec, std::int64_t rows) const {
  const int tile = tile_rows(spec, rows);
  ModelCache::Plan plan;
  make_plan(spec, make_layout(spec), tile, plan);
  const std::int64_t tiles = ceil_divide(rows, tile);
  const std::int64_t floats = std::min(kMaxChunks, tiles) * plan.decoder.sums;
  return static_cast<std::size_t>(tiles * tile) * bytes_per_row(spec) +
         static_cast<std::size_t>(floats) * sizeof(float);
}

int tile_rows(const ModelSpec& spec, std::int64_t rows) {
  bool expands = false;
  for (const Layer& layer : spec.layers) expands |= size(layer.basis) > 1;
  const int most = expands ? 64 : 128;
  if (rows >= 16 * most) return most;
  return rows >= 512 ? 64 : 32;
}

float* scratch_floats(std::int64_t count) {
  thread_local Room scratch;
  return scratch.floats(count);
}

}  // namespace kanbench::cpu
