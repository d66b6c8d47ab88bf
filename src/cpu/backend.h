#pragma once
// The CPU backend. A batch goes through in three phases: encoded level by level, so that one
// level's table is hot at a time; tiles of rows through the whole decoder and back, in cache;
// gradients scattered into tables by threads that own a level or a range of its rows. Sums are cut
// into chunks by the batch alone, so that any thread count gives the same bits.

#include <memory>
#include <unordered_map>
#include <utility>
#include <vector>

#include "cpu/kernels.h"
#include "cpu/room.h"
#include "kanbench/backend.h"

namespace kanbench::cpu {

/// What a step has touched of one table's gradient, by share of its rows.
struct LevelTouch {
  std::vector<std::uint8_t> flags;
  std::vector<std::vector<std::uint32_t>> lines;
  std::vector<std::int64_t> counts;
  /// Whether the lists name all that is not zero.
  bool listed = true;
};

/// Kept beside a model: plans of its decoder by tile height, and what its gradient holds.
struct ModelCache {
  struct Plan {
    std::vector<LayerPlan> layers;
    DecoderPlan decoder;
  };
  std::unordered_map<int, Plan> plans;
  std::vector<LevelTouch> touched;
  /// The levels' geometries as the parameters of the batch under way place them.
  std::vector<Geometry> levels;
};

/// A batch cut into tiles: points [tiles][3][rows], features [tiles][width][rows].
struct Tiling {
  int rows = 0;
  std::int64_t tiles = 0, width = 0;
  float* points = nullptr;
  float* features = nullptr;
};

/// A range of one table's rows, the `index`th, that one thread owns while gradients are scattered.
struct LevelShare {
  int table;
  std::size_t index;
  std::int64_t first, rows;
};

class CpuBackend : public Backend {
 public:
  explicit CpuBackend(const std::string& instruction_set)
      : kernels_(choose_kernels(instruction_set)) {}

  std::string name() const override;
  std::size_t free_bytes() const override;
  std::size_t peak_bytes() const override;
  void* allocate(std::size_t bytes) override;
  void release(void* memory) noexcept override;
  void upload(void* to, const void* host, std::size_t bytes) override;
  void download(void* host, const void* from, std::size_t bytes) override;
  void copy(void* to, const void* from, std::size_t bytes) override;
  void limit_memory(std::size_t bytes) override { limit_ = bytes; }
  bool holds(const Volume& volume, const Box& box, std::size_t reserved) const override;
  VolumeView place(const Volume& volume, const Box&) override { return volume.view(); }
  void* allocate_host(std::size_t bytes) override;
  void release_host(void* memory) noexcept override;
  void stage(void* to, const void* host, std::size_t bytes) override;
  void finish_staging() override {}
  std::int64_t begin_fetch(void* host, const void* from, std::size_t bytes) override;
  void finish_fetch(std::int64_t) override {}
  bool is_host() const override { return true; }
  std::vector<Precision> precisions(const ModelSpec&) const override { return {Precision::fp32}; }
  std::size_t bytes_per_row(const ModelSpec& spec) const override;
  std::size_t working_bytes(const ModelSpec& spec, std::int64_t rows) const override;
  void sample(const VolumeView& volume, const Box& box, const Stream& stream,
              std::int64_t first_row, Rows points, Rows targets) override;
  void sample_bricks(std::span<const BrickRows> bricks, const Stream& stream, Rows points,
                     Rows targets) override;
  void predict(const Model& model, ConstRows points, Rows values) override;
  void decode(const Model& model, const Lattice& lattice, const Decoded& out) override;
  std::unique_ptr<Meter> open_meter(const Volume& volume, double low, double high,
                                    Range slices) override;
  void blend(const float* values, const Weights& weights, float low, float range,
             float* out) override;
  void quantise(const float* values, std::int64_t count, const Decoded& out) override;
  BatchSums gradient(Model& model, ConstRows points, ConstRows targets, const Objective& objective,
                     const Ready& ready) override;
  void gradient_changed(Model& model) override;
  void parameters_changed(Model&) override {}
  double squared_norm(const Model& model) override;
  bool update(Model& model, const Optimizer& optimizer, std::int64_t step) override;
  BatchSums step(Model& model, ConstRows points, ConstRows targets, const Objective& objective,
                 const Optimizer& optimizer, std::int64_t step) override;
  double shape(Model& model, ConstRows points, ConstRows targets, const GeometryStep& step,
               const SumNumbers& sum) override;
  std::vector<Ceiling> measure_ceilings() override;
  std::vector<Stage> profile(Model& model, const VolumeView& volume, std::int64_t rows,
                             const Loss& loss, const Optimizer& optimizer) override;

 private:
  // passes.cpp
  Tiling tile(const Model& model, ConstRows points, int rows);
  void encode(const Model& model, const Tiling& tiling);
  void forward(const Model& model, const Tiling& tiling, Rows values);
  BatchSums train_tiles(Model& model, const Tiling& tiling, ConstRows targets,
                        const Objective& objective);
  void reduce(Model& model, const DecoderPlan& plan, int chunks);
  // update.cpp
  void share_table(const Model& model, int table, std::int64_t shares,
                   std::vector<LevelShare>& all) const;
  std::vector<LevelShare> share_tables(const Model& model, std::int64_t rows) const;
  void scatter_share(Model& model, const Tiling& tiling, const LevelShare& share);
  void scatter(Model& model, const Tiling& tiling);
  void scatter_by_level(Model& model, const Tiling& tiling, const Ready& ready);
  std::pair<UpdateStep, UpdateStep> steps_of(const Model& model, const Optimizer& optimizer,
                                             std::int64_t step);
  bool update_share(Model& model, bool skip, const UpdateStep& step, const LevelShare& share);
  // edges.cpp
  void add_edge_gradient(Model& model, const EdgePenalty& penalty);

  // geometry.cpp
  void penalise(Model& model, const Objective& objective);

  // memory.cpp
  std::size_t used() const;
  void require(std::size_t bytes) const;
  float* floats(Room& room, std::int64_t count);

  const DecoderPlan& plan_for(const Model& model, int rows) const;

  const Kernels& kernels_;
  std::size_t allocated_ = 0, peak_ = 0, limit_ = 0;
  std::unordered_map<void*, std::size_t> sizes_;
  Room points_, features_, sums_, density_;
};

inline std::int64_t ceil_divide(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

/// Parts that a batch's sums are cut into at most.
inline constexpr std::int64_t kMaxChunks = 64;

/// Brings the cache's levels to where the parameters have them: grids that move are somewhere else
/// after each step. Called before tiles are encoded, by one thread.
void place_levels(const Model& model);

/// Level `l` of the model over some tiles, its table within `block` (parameters or gradient).
LevelArguments level_arguments(const Model& model, int l, float* block, const Tiling& tiling,
                               std::int64_t first_tile, std::int64_t tiles);

/// The cache of `model`, made at first.
ModelCache& cache_of(const Model& model);

/// Height of tiles for a batch of `rows`: enough tiles for many threads, each small enough that a
/// tile's numbers stay in cache.
int tile_rows(const ModelSpec& spec, std::int64_t rows);

/// This thread's scratch for tiles.
float* scratch_floats(std::int64_t count);

}  // namespace kanbench::cpu
