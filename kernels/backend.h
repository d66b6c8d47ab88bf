#pragma once
// The CUDA backend: one device, one stream for what is computed and one for what is staged. Models
// that the fused kernels can take go through them, all others through the general decoder.

#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "kanbench/backend.h"
#include "kernels/fused.h"
#include "kernels/general.h"
#include "kernels/grid.h"
#include "kernels/level.h"
#include "kernels/moving.h"
#include "kernels/runtime.h"
#include "kernels/sample.h"
#include "kernels/step.h"
#include "kernels/transfer.h"
#include "kernels/tuning.h"

namespace kanbench::cuda {

/// A step as it was recorded, and what it was recorded for.
struct RecordedStep {
  cudaGraphExec_t graph = nullptr;
  /// Addresses and numbers that the recording holds; another step is recorded anew.
  std::vector<std::int64_t> key;
  RecordedStep() = default;
  RecordedStep(const RecordedStep&) = delete;
  RecordedStep& operator=(const RecordedStep&) = delete;
  ~RecordedStep() { clear(); }
  void clear();
};

/// What the backend keeps beside a model.
struct DeviceModel {
  /// Of encoders that kernels/grid.h does; the others go by level, and are not within a kernel.
  GridInfo grid;
  bool by_level = false;
  MovingGrids moving;
  DeviceArray<float> places;
  DeviceArray<double> shaping;
  std::optional<FusedPlan> plan;
  /// Blocks of each way to use the fused kernels; no warps where that way is not open.
  FusedShape predict, predict_features, train, whole;
  std::unique_ptr<GeneralDecoder> general;
  /// Packed weights, vectors, and the table in 16 bits: current while `packed`.
  DeviceArray<unsigned char> weights, table;
  DeviceArray<float> vectors;
  bool packed = false;
  /// Working memory of a batch.
  DeviceArray<unsigned char> features, dfeatures;
  DeviceArray<float> partials;
  DeviceArray<double> sums, norms, edges;
  DeviceArray<std::uint64_t> fixed;
  DeviceArray<StepState> state;
  /// What the loss scale was started for; 0 before.
  double scaled_for = 0;
  /// The decoder's gradient as it was before one that may overflow.
  DeviceArray<float> before;
  /// Whether draw, encode, decoder and scatter are one kernel, once that has been measured.
  std::optional<bool> fuses;
  std::string choice;
  RecordedStep recorded;
};

/// One batch: points, targets, and how they are judged. Where `draws` has one for each of the
/// targets' numbers they are drawn.
struct DeviceBatch {
  Rows points, targets;
  Objective objective;
  std::vector<DrawArguments> draws;
};

/// A batch that was given, which kernels only read.
DeviceBatch given_batch(ConstRows points, ConstRows targets, const Objective& objective);

class CudaBackend : public Backend {
 public:
  CudaBackend(int index, const DeviceSettings& settings);
  ~CudaBackend() override;
  CudaBackend(const CudaBackend&) = delete;
  CudaBackend& operator=(const CudaBackend&) = delete;

  std::string name() const override;
  std::size_t free_bytes() const override;
  std::size_t peak_bytes() const override { return memory_use().peak; }
  void* allocate(std::size_t bytes) override;
  void release(void* memory) noexcept override;
  void upload(void* to, const void* host, std::size_t bytes) override;
  void download(void* host, const void* from, std::size_t bytes) override;
  void copy(void* to, const void* from, std::size_t bytes) override;
  void limit_memory(std::size_t bytes) override { memory_use().limit = bytes; }
  bool holds(const Volume& volume, const Box& box, std::size_t reserved) const override;
  VolumeView place(const Volume& volume, const Box& box) override;
  void displace() override;
  void* allocate_host(std::size_t bytes) override;
  void release_host(void* memory) noexcept override;
  void stage(void* to, const void* host, std::size_t bytes) override;
  void finish_staging() override;
  std::int64_t begin_fetch(void* host, const void* from, std::size_t bytes) override;
  void finish_fetch(std::int64_t number) override { fetches_->finish(number); }
  bool is_host() const override { return false; }
  void* queue() const override { return stream_; }
  std::vector<Precision> precisions(const ModelSpec& spec) const override;
  std::size_t bytes_per_row(const ModelSpec& spec) const override;
  std::size_t working_bytes(const ModelSpec& spec, std::int64_t rows) const override;
  void sample(const VolumeView& volume, const Box& box, const Stream& stream,
              std::int64_t first_row, Rows points, Rows targets) override;
  void sample_bricks(std::span<const BrickRows> bricks, const Stream& stream, Rows points,
                     Rows targets) override;
  void predict(const Model& model, ConstRows points, Rows values) override;
  void decode(const Model& model, const Lattice& lattice, const Decoded& out) override;
  std::size_t evaluation_bytes(const Volume& volume) const override;
  std::unique_ptr<Meter> open_meter(const Volume& volume, double low, double high,
                                    Range slices) override;
  void blend(const float* values, const Weights& weights, float low, float range,
             float* out) override;
  void quantise(const float* values, std::int64_t count, const Decoded& out) override;
  BatchSums gradient(Model& model, ConstRows points, ConstRows targets, const Objective& objective,
                     const Ready& ready) override;
  void gradient_changed(Model&) override {}
  void parameters_changed(Model& model) override;
  double squared_norm(const Model& model) override;
  bool update(Model& model, const Optimizer& optimizer, std::int64_t step) override;
  BatchSums step(Model& model, ConstRows points, ConstRows targets, const Objective& objective,
                 const Optimizer& optimizer, std::int64_t step) override;
  int steps_per_call() const override { return 32; }
  std::vector<BatchSums> train(Model& model, const VolumeView& volume, const Box& box,
                               const Objective& objective, std::span<const TrainingStep> steps,
                               Rows points, Rows targets) override;
  double shape(Model& model, ConstRows points, ConstRows targets, const GeometryStep& step,
               const SumNumbers& sum) override;
  std::string choices(const Model& model) const override;
  std::vector<Ceiling> measure_ceilings() override;
  std::vector<Stage> profile(Model& model, const VolumeView& volume, std::int64_t rows,
                             const Loss& loss, const Optimizer& optimizer) override;

 private:
  cudaTextureObject_t texture_of(const VolumeView& volume) const;
  // passes.cu
  DeviceModel& prepare(const Model& model);
  void refresh(const Model& model, DeviceModel& device);
  const void* table_of(const Model& model, const DeviceModel& device) const;
  void encode_by_level(const Model& model, DeviceModel& device, Precision table, ConstRows points,
                       const FeatureRows& out);
  FeatureRows encode_batch(const Model& model, DeviceModel& device, ConstRows points);
  void predict_general(const Model& model, DeviceModel& device, ConstRows points, Rows values);
  void decode_pieces(const Model& model, const Lattice& lattice, const Decoded& out);
  int most_blocks(const FusedPlan& plan, const FusedShape& shape, FusedMode mode) const;
  FusedArguments fused_arguments(const Model& model, const DeviceModel& device) const;
  // gradient.cu
  void start_scaling(DeviceModel& device, double scale);
  float largest_scale(const DeviceModel& device) const;
  void enqueue_decoder(Model& model, DeviceModel& device, const DeviceBatch& batch,
                       const FeatureRows& features);
  FeatureRows enqueue_slopes(Model& model, DeviceModel& device, const DeviceBatch& batch);
  void enqueue_scatter(Model& model, DeviceModel& device, const DeviceBatch& batch,
                       const FeatureRows& features, const Ready& ready = {});
  void enqueue_edges(Model& model, DeviceModel& device, const Objective& objective);
  void enqueue_tables(const Layout& layout, const DeviceModel& device, const ScatterTarget& target,
                      ConstRows points, const FeatureRows& dfeatures, const Ready& ready);
  void enqueue_penalty(Model& model, const DeviceModel& device, const Objective& objective);
  void enqueue_gradient(Model& model, DeviceModel& device, const DeviceBatch& batch);
  FeatureRows settle_slopes(Model& model, DeviceModel& device, const DeviceBatch& batch);
  // profile.cu
  /// Seconds of an update where every parameter has a gradient.
  double time_update(Model& model, DeviceModel& device, const Optimizer& optimizer);
  // train.cu
  void enqueue_update(Model& model, DeviceModel& device, const Optimizer& optimizer);
  void enqueue_step(Model& model, DeviceModel& device, const DeviceBatch& batch,
                    const Optimizer& optimizer);
  void launch_step(Model& model, DeviceModel& device, const DeviceBatch& batch,
                   const Optimizer& optimizer);
  void upload_steps(DeviceModel& device, std::span<const TrainingStep> steps);
  std::vector<BatchSums> collect(DeviceModel& device, std::size_t steps);
  std::vector<BatchSums> train_recorded(Model& model, const VolumeView& volume, const Box& box,
                                        const Objective& objective,
                                        std::span<const TrainingStep> steps, Rows points,
                                        Rows targets);
  void choose(Model& model, DeviceModel& device, const DeviceBatch& batch);
  cudaGraphExec_t record(const std::function<void()>& work);
  Tuning time_ways(Model& model, DeviceModel& device, const DeviceBatch& batch);

  int index_;
  DeviceSettings settings_;
  cudaDeviceProp properties_{};
  cudaStream_t stream_ = nullptr, staging_ = nullptr;
  cudaEvent_t staged_ = nullptr, computed_ = nullptr;
  std::mutex staging_mutex_;
  std::optional<Fetches> fetches_;
  std::unordered_map<void*, std::size_t> sizes_;
  DeviceArray<unsigned char> volume_;
  DeviceArray<DrawArguments> bricks_;
  std::unique_ptr<VolumeTexture> texture_;
  const void* textured_ = nullptr;
  std::vector<Ceiling> ceilings_;
};

}  // namespace kanbench::cuda
