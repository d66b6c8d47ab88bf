#pragma once
// The seam between the library and a processor. A backend owns whole passes, so that it can fuse;
// nothing above it sees an activation. Every pointer handed in lives in that backend's memory.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "kanbench/geometry.h"
#include "kanbench/math/edges.h"
#include "kanbench/math/loss.h"
#include "kanbench/math/optimizer.h"
#include "kanbench/math/random.h"
#include "kanbench/metrics.h"
#include "kanbench/model.h"
#include "kanbench/precision.h"
#include "kanbench/range.h"
#include "kanbench/volume.h"

namespace kanbench {

/// `rows` vectors of `width` numbers, feature-major: number j of row i is data[j * stride + i].
template <class T>
struct RowsOf {
  T* data = nullptr;
  std::int64_t rows = 0;
  int width = 1;
  std::int64_t stride = 0;
};
using Rows = RowsOf<float>;
using ConstRows = RowsOf<const float>;

/// The voxel centres of `box` within a volume of shape `size` that fills [0, 1]^3.
struct Lattice {
  Shape size;
  Box box;
};

/// Where a decoded lattice goes, [output][z][y][x] of its box, in the backend's memory; null is
/// left out.
struct Decoded {
  /// As the model gives them.
  float* values = nullptr;
  /// Clamped to [0, 1], brought to [low, high] and rounded to `dtype`; of a model of one output.
  void* voxels = nullptr;
  Dtype dtype = Dtype::float32;
  double low = 0, high = 1;
};

/// Rows of a batch that are drawn in one brick of a volume, of which its view holds what they need.
struct BrickRows {
  VolumeView view;
  Box box;
  std::int64_t first = 0, rows = 0;
};

/// One step of training: the random words of its samples, the optimizer at its rates, and the
/// step's number (from 1); and the step of grids that move, taken between its gradient and its
/// update.
struct TrainingStep {
  Stream stream;
  Optimizer optimizer;
  std::int64_t number = 1;
  GeometryStep geometry = {};
};

/// What a batch is measured by, the factor on its gradient, and two penalties that do not depend on
/// the batch and are left out of the sums: what the decoder's edges cost, and, times `penalty`, the
/// total variation and the absolute values of an adaptive encoder's grids.
struct Objective {
  Loss loss;
  double scale = 1;
  EdgePenalty edges = {};
  double penalty = 1;
};

/// Replaces `count` numbers by their sums over all ranks.
using SumNumbers = std::function<void(double* numbers, std::int64_t count)>;

/// Measures z slices of a reconstruction against a volume, one after the other.
class Meter {
 public:
  virtual ~Meter() = default;
  /// The next `count` z slices of values as decode() wrote them, in the backend's memory. They
  /// begin and end with those of with_halo().
  virtual void add(std::int64_t count, const float* values) = 0;
  /// After all slices.
  virtual MetricSums sums() = 0;
};

/// Called when floats `part` of a gradient are final, by all that was told to the backend so far.
using Ready = std::function<void(Range part)>;

/// Weights of a part of a lattice along x, y and z: the backend's memory holds those along x, then
/// along y, then along z. A value counts as much as the product of its three.
struct Weights {
  const float* data = nullptr;
  /// The part, and the lattice's box that it lies in.
  Box part, whole;
};

/// Sums over the rows of a batch, of each row the mean over the model's outputs.
struct BatchSums {
  double loss = 0;
  double squared_error = 0;
  /// False if the loss or a gradient was not finite, as far as the call has looked. A gradient that
  /// overflowed half precision is not counted: such a step is left out and the next is scaled down.
  bool finite = true;
};

/// One stage of a step, timed alone: how long it takes and how much it does. `ceiling` names the
/// machine's limit that `fraction_of_ceiling` is measured against: one of measure_ceilings(), or
/// "random rows" (of a table of that size).
struct Stage {
  std::string name;
  double seconds = 0, flops = 0, bytes = 0;
  std::string ceiling;
  double fraction_of_ceiling = 0;
};

/// What the machine can do at most, measured: so many `unit`s of `name` a second. Every backend has
/// "flops" (unit "flop": multiply-adds in registers) and "bandwidth" (unit "byte": streaming).
struct Ceiling {
  std::string name;
  double per_second = 0;
  std::string unit;
};

class Backend {
 public:
  virtual ~Backend() = default;

  /// "cpu 2 threads avx512", "cuda:0 NVIDIA H200".
  virtual std::string name() const = 0;
  /// Bytes that may still be allocated.
  virtual std::size_t free_bytes() const = 0;
  /// Most bytes ever in use at once, in this backend's own memory.
  virtual std::size_t peak_bytes() const = 0;

  /// Zeroed memory, aligned for any use; throws SystemError when there is none.
  virtual void* allocate(std::size_t bytes) = 0;
  virtual void release(void* memory) noexcept = 0;
  virtual void upload(void* to, const void* host, std::size_t bytes) = 0;
  virtual void download(void* host, const void* from, std::size_t bytes) = 0;
  /// Copies within this backend's memory.
  virtual void copy(void* to, const void* from, std::size_t bytes) = 0;
  /// Bytes this backend may allocate in all from now on; 0: as many as there are.
  virtual void limit_memory(std::size_t bytes) = 0;
  /// Whether `box` of the volume fits beside `reserved` bytes of other things.
  virtual bool holds(const Volume& volume, const Box& box, std::size_t reserved) const = 0;
  /// The volume where this backend can sample it in `box`, of which, and of a voxel around it, it
  /// reads; valid while `volume` and the backend live, and until another is placed or this one
  /// displaced.
  virtual VolumeView place(const Volume& volume, const Box& box) = 0;
  /// Gives up the memory of the volume that was placed.
  virtual void displace() {}

  /// Host memory that stage() copies from at full speed.
  virtual void* allocate_host(std::size_t bytes) = 0;
  virtual void release_host(void* memory) noexcept = 0;
  /// Begins a copy from allocate_host()'s memory that goes on beside whatever is computed; neither
  /// end may be touched before finish_staging().
  virtual void stage(void* to, const void* host, std::size_t bytes) = 0;
  /// What is called from now on sees all that was staged.
  virtual void finish_staging() = 0;
  /// Begins a copy into allocate_host()'s memory of what is there by all that was told before; it
  /// goes on beside what is told next. finish_fetch() of the number returned waits for it, and may
  /// be called from another thread, as may stage().
  virtual std::int64_t begin_fetch(void* host, const void* from, std::size_t bytes) = 0;
  virtual void finish_fetch(std::int64_t number) = 0;
  /// Whether the host may read and write this backend's memory itself.
  virtual bool is_host() const = 0;
  /// What work is ordered by (a cudaStream_t); null where each call ends with its work.
  virtual void* queue() const { return nullptr; }

  /// The precisions that models of `spec` can be computed in, the one that "auto" means first.
  virtual std::vector<Precision> precisions(const ModelSpec& spec) const = 0;

  /// Bytes of working memory per row of a training batch, parameters aside.
  virtual std::size_t bytes_per_row(const ModelSpec& spec) const = 0;

  /// Bytes of working memory that training batches of `rows` takes in all, parameters aside.
  virtual std::size_t working_bytes(const ModelSpec& spec, std::int64_t rows) const;

  /// Draws points.rows points uniformly in `box` of the volume, continuous, and their trilinear
  /// normalised values, number c those of component c. Row i comes from words first_row + i of
  /// `stream`.
  virtual void sample(const VolumeView& volume, const Box& box, const Stream& stream,
                      std::int64_t first_row, Rows points, Rows targets) = 0;
  /// sample() for each of these bricks, into its own rows.
  virtual void sample_bricks(std::span<const BrickRows> bricks, const Stream& stream, Rows points,
                             Rows targets);
  /// The model's values at points in [0, 1]^3; values.width is the number of its outputs.
  virtual void predict(const Model& model, ConstRows points, Rows values) = 0;
  /// The model's values on a lattice.
  virtual void decode(const Model& model, const Lattice& lattice, const Decoded& out) = 0;
  /// Bytes of this backend's memory that decoding and measuring `volume` slice by slice take at
  /// least, the model and a placed volume aside.
  virtual std::size_t evaluation_bytes(const Volume&) const { return 0; }
  /// Measures slices `slices` of a reconstruction of `volume`, which has one component, whose
  /// values in [0, 1] stand for [low, high].
  virtual std::unique_ptr<Meter> open_meter(const Volume& volume, double low, double high,
                                            Range slices) = 0;
  /// Adds low + range * value, the value held within [0, 1], times its weights to `out`, a lattice
  /// of weights.whole: values of a part of it as decode() gives them, [z][y][x]; null for zeros.
  virtual void blend(const float* values, const Weights& weights, float low, float range,
                     float* out) = 0;
  /// `count` values into out.voxels, as decode() does.
  virtual void quantise(const float* values, std::int64_t count, const Decoded& out) = 0;
  /// Adds the objective's scale times the gradient of the rows' summed loss, and that of the edges'
  /// penalty, to model.gradient(); returns the sums. `ready`, if any, is called for ranges that
  /// make up the whole gradient, the decoder's first, then the levels', finest first.
  virtual BatchSums gradient(Model& model, ConstRows points, ConstRows targets,
                             const Objective& objective, const Ready& ready = {}) = 0;
  /// To be called when model.gradient() was changed by others, as by a sum over ranks.
  virtual void gradient_changed(Model& model) = 0;
  /// To be called when model.parameters() was written by others; Model::upload() does.
  virtual void parameters_changed(Model& model) = 0;
  /// The squared norm of the gradient of model.share(), the same bits for any number of threads.
  virtual double squared_norm(const Model& model) = 0;
  /// The optimizer's `step`th step (from 1) on the parameters of model.share(), whose gradient's
  /// norm alone is looked at, and zeroes the whole gradient. False if a gradient of the share was
  /// not finite: the parameters are then unusable until restored.
  virtual bool update(Model& model, const Optimizer& optimizer, std::int64_t step) = 0;

  /// Moves the grids of an adaptive encoder: a step of Adam on its transforms, on those of
  /// model.share(), down the gradient of the density loss of the batch (math/density.h). Where
  /// ranks train together `sum` adds up their numbers, and all call this. Returns the loss; 0
  /// without grids that move.
  virtual double shape(Model& model, ConstRows points, ConstRows targets, const GeometryStep& step,
                       const SumNumbers& sum = {}) = 0;

  /// gradient() and update() in one, for a rank alone. Where `finite` comes back false the
  /// parameters are unusable until restored.
  virtual BatchSums step(Model& model, ConstRows points, ConstRows targets,
                         const Objective& objective, const Optimizer& optimizer, std::int64_t step);

  /// How many steps are best handed to train() at once.
  virtual int steps_per_call() const { return 1; }
  /// sample() and step() for each of `steps` in turn, by a rank alone; ends after the first whose
  /// sums are not finite. Returns the sums of each step taken. `points` and `targets` are room.
  virtual std::vector<BatchSums> train(Model& model, const VolumeView& volume, const Box& box,
                                       const Objective& objective,
                                       std::span<const TrainingStep> steps, Rows points,
                                       Rows targets);
  /// What was chosen by measuring for this model, one sentence; empty where nothing was.
  virtual std::string choices(const Model& model) const;

  /// Measured limits of this machine; takes about a second.
  virtual std::vector<Ceiling> measure_ceilings() = 0;
  /// Each stage of training steps of points.rows rows, timed alone, best of several.
  virtual std::vector<Stage> profile(Model& model, const VolumeView& volume, std::int64_t rows,
                                     const Loss& loss, const Optimizer& optimizer) = 0;
};

/// One step of a rank alone on a batch: the grids' too where it has one.
BatchSums take_step(Backend& backend, Model& model, ConstRows points, ConstRows targets,
                    const Objective& objective, const TrainingStep& step);

/// A place to compute: "cpu", or "cuda:N" where a device answers, as open_backend() takes it.
struct Device {
  std::string name;
  std::string description;
};

/// Every device of this machine, the CPU last.
std::vector<Device> list_devices();

/// How a device computes, beside which one it is. On the CPU `deterministic` changes nothing, and
/// `texture` is an Error.
struct DeviceSettings {
  /// Bit-identical from run to run on a CUDA device too.
  bool deterministic = false;
  /// 8- and 16-bit volumes through the texture unit, whose weights have 8 bits.
  bool texture = false;
  /// Bytes that may be allocated there; 0: as many as there are.
  std::size_t memory_limit = 0;
  /// Where measured choices are kept; empty: measured anew each time.
  std::string tuning_file;
};

/// Opens "auto", "cpu", "cuda" or "cuda:N". "auto" is the first of list_devices(). Throws Error
/// for a device that is not there, saying why and what is. `said` receives a sentence worth
/// telling the user when "auto" fell back to the CPU, else is left empty.
std::unique_ptr<Backend> open_backend(const std::string& device, std::string* said = nullptr,
                                      const DeviceSettings& settings = {});

/// What `wanted` ("auto", "fp32", ...) is for models of `spec` on `backend`. Throws Error naming
/// `what` for a precision that it does not have for them, listing those it has.
Precision resolve_precision(const std::string& wanted, const ModelSpec& spec,
                            const Backend& backend, const std::string& what = "--precision");

/// The CPU backend, on the instruction set that the processor has, or on the one named
/// ("baseline", "avx2", "avx512"); throws Error if the processor lacks it.
std::unique_ptr<Backend> open_cpu(const std::string& instruction_set = "");

/// The CUDA backend's side of the seam; src/absent/cuda.cpp stands in where it was not built.
/// Devices that can compute come first.
std::vector<Device> list_cuda_devices();
std::unique_ptr<Backend> open_cuda(int index, const DeviceSettings& settings);
/// Why there is no CUDA device here, one sentence; empty where there is one.
std::string why_no_cuda();

}  // namespace kanbench
