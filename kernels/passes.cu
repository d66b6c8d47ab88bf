// A model on the device: what is kept beside it, prediction and decoding.

#include <algorithm>
#include <cmath>

#include "kanbench/error.h"
#include "kernels/backend.h"
#include "kernels/device.h"
#include "kernels/fused_points.h"
#include "kernels/update.h"

namespace kanbench::cuda {
namespace {

// Rows whose features are held at a time where a kernel does not make them itself.
constexpr std::int64_t kPieceRows = 1 << 18;
// Partial sums of all blocks together.
constexpr std::int64_t kMostPartialBytes = std::int64_t{512} << 20;

GridInfo grid_of(const ModelSpec& spec, const Layout& layout) {
  const auto* grid = std::get_if<encoder::HashGrid>(&spec.encoder);
  return grid ? make_grid(layout, grid->n_features_per_level) : GridInfo{};
}

int even_chunks(int width) { return static_cast<int>(round_up(width, 16) / 8); }

KB_KERNEL(256)
place_voxels_kernel(Lattice lattice, std::int64_t first, Rows points) {
  const std::int64_t i = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i >= points.rows) return;
  const std::int64_t size[3] = {lattice.size.x, lattice.size.y, lattice.size.z};
  std::int64_t voxel = first + i;
  for (int d = 0; d < 3; ++d) {
    const std::int64_t count = lattice.box.high[d] - lattice.box.low[d];
    points.data[d * points.stride + i] =
        static_cast<float>((static_cast<double>(lattice.box.low[d] + voxel % count) + 0.5) *
                           (1.0 / static_cast<double>(size[d])));
    voxel /= count;
  }
}

// Sines of many times their input make of a rounded input another number: a SIREN loses a decibel
// to the ten bits of the shorter formats.
bool needs_all_bits(const ModelSpec& spec) {
  return std::any_of(spec.layers.begin(), spec.layers.end(), [](const Layer& layer) {
    const auto* sine = std::get_if<basis::Sine>(&layer.basis);
    return sine && std::abs(sine->omega) > 10;
  });
}

}  // namespace

std::vector<Precision> CudaBackend::precisions(const ModelSpec& spec) const {
  const Layout layout = make_layout(spec);
  std::vector<Precision> all;
  for (Precision precision : {Precision::fp16, Precision::bf16}) {
    const std::optional<FusedPlan> plan = plan_fused(spec, layout, precision);
    const auto shared = static_cast<std::int64_t>(properties_.sharedMemPerBlockOptin);
    if (plan && shape_fused(*plan, FusedMode::train, 0, shared).warps > 0) all.push_back(precision);
  }
  // The general decoder takes whatever the fused ones do not, in these two.
  all.push_back(Precision::tf32);
  all.insert(needs_all_bits(spec) ? all.begin() : all.end(), Precision::fp32);
  return all;
}

std::size_t CudaBackend::bytes_per_row(const ModelSpec& spec) const {
  const std::size_t features = static_cast<std::size_t>(round_up(width(spec.encoder), 16));
  // Points, targets, features and their gradient.
  return sizeof(float) * (3 + static_cast<std::size_t>(spec.outputs()) + 2 * features);
}

std::size_t CudaBackend::working_bytes(const ModelSpec& spec, std::int64_t rows) const {
  const Layout layout = make_layout(spec);
  const auto table = static_cast<std::size_t>(layout.decoder_begin);
  std::size_t bytes = static_cast<std::size_t>(rows) * bytes_per_row(spec);
  // The table's copy in 16 bits, and its sums in fixed point.
  bytes += 2 * table + (settings_.deterministic ? 8 * table : 0);
  const std::optional<FusedPlan> plan = plan_fused(spec, layout, Precision::fp16);
  if (!plan) return bytes + 2 * GeneralDecoder::kBudget;
  const FusedShape shape = shape_fused(
      *plan, FusedMode::train, 0, static_cast<std::int64_t>(properties_.sharedMemPerBlockOptin));
  if (shape.warps == 0) return bytes + 2 * GeneralDecoder::kBudget;
  const std::int64_t blocks = most_blocks(*plan, shape, FusedMode::train);
  return bytes + static_cast<std::size_t>(blocks * plan->partials(shape.warps) * 4);
}

DeviceModel& CudaBackend::prepare(const Model& model) {
  // The cache belongs to the backend; making it at first use does not change the model.
  auto& slot = const_cast<Model&>(model).cache;
  if (slot) return *static_cast<DeviceModel*>(slot.get());
  const auto made = std::make_shared<DeviceModel>();
  DeviceModel& d = *made;
  const ModelSpec& spec = model.spec();
  d.grid = grid_of(spec, model.layout());
  d.by_level = !is_grid(spec.encoder);
  d.moving = moving_grids(spec, model.layout());
  d.plan = plan_fused(spec, model.layout(), model.precision());
  const auto shared = static_cast<std::int64_t>(properties_.sharedMemPerBlockOptin);
  if (d.plan) {
    const int chunks = even_chunks(width(spec.encoder));
    d.train = shape_fused(*d.plan, FusedMode::train, 0, shared);
    d.predict_features = shape_fused(*d.plan, FusedMode::predict, 0, shared);
    if (!d.by_level && encodes_itself(d.grid.features)) {
      d.predict = shape_fused(*d.plan, FusedMode::predict, chunks, shared);
      if (has_fused(*d.plan, FusedMode::train_whole))
        d.whole = shape_fused(*d.plan, FusedMode::train_whole, chunks, shared);
    }
    if (d.train.warps == 0 || d.predict_features.warps == 0) d.plan.reset();
  }
  if (!d.plan)
    d.general = std::make_unique<GeneralDecoder>(
        spec, model.layout(),
        model.precision() == Precision::fp32 ? Precision::fp32 : Precision::tf32);
  StepState state;
  upload(d.state.reserve(1), &state, sizeof state);
  slot = made;
  return d;
}

void CudaBackend::parameters_changed(Model& model) {
  if (model.cache) static_cast<DeviceModel*>(model.cache.get())->packed = false;
}

void CudaBackend::refresh(const Model& model, DeviceModel& d) {
  if (d.packed || !d.plan) return;
  const FusedPlan& plan = *d.plan;
  pack_fused(plan, model.parameters().data(),
             d.weights.reserve(plan.weights * plan.element_bytes()),
             d.vectors.reserve(plan.vectors), stream_);
  const std::int64_t table = model.layout().decoder_begin;
  if (plan.precision != Precision::tf32 && table > 0)
    copy_table(model.parameters().data(), table, plan.precision, d.table.reserve(2 * table),
               stream_);
  d.packed = true;
}

const void* CudaBackend::table_of(const Model& model, const DeviceModel& d) const {
  const bool copied = d.plan && d.plan->precision != Precision::tf32;
  return copied ? static_cast<const void*>(d.table.data()) : model.parameters().data();
}

void CudaBackend::encode_by_level(const Model& model, DeviceModel& d, Precision table,
                                  ConstRows points, const FeatureRows& out) {
  encode_levels(model.layout(), table, table_of(model, d), points, out, stream_);
  if (d.moving.count == 0) return;
  float* places = d.places.reserve(std::int64_t{d.moving.count} * kPlaceFloats);
  place_grids(d.moving, model.parameters().data(), places, stream_);
  const int width = kanbench::width(model.spec().encoder);
  const bool last = d.moving.first + d.moving.count * d.moving.features == width;
  const int padded = last && out.chunked ? static_cast<int>(round_up(width, 16)) : width;
  gather_grids(d.moving, table, table_of(model, d), places, points, out, width, padded, stream_);
}

FeatureRows CudaBackend::encode_batch(const Model& model, DeviceModel& d, ConstRows points) {
  FeatureRows rows;
  rows.stride = points.rows;
  const std::int64_t width = kanbench::width(model.spec().encoder);
  if (d.plan) {
    rows.element = d.plan->precision;
    rows.chunked = true;
    rows.data = d.features.reserve(round_up(width, 16) * points.rows * d.plan->element_bytes());
  } else {
    rows.data = d.features.reserve(width * points.rows * 4);
  }
  const Precision table =
      d.plan && d.plan->precision != Precision::tf32 ? d.plan->precision : Precision::fp32;
  if (d.by_level)
    encode_by_level(model, d, table, points, rows);
  else
    encode(d.grid, table, table_of(model, d), points, rows, stream_);
  return rows;
}

FusedArguments CudaBackend::fused_arguments(const Model& model, const DeviceModel& d) const {
  FusedArguments a;
  a.weights = d.weights.data();
  a.vectors = d.vectors.data();
  a.grid = d.grid;
  a.table = table_of(model, d);
  return a;
}

int CudaBackend::most_blocks(const FusedPlan& plan, const FusedShape& shape, FusedMode mode) const {
  const std::int64_t resident =
      std::int64_t{properties_.multiProcessorCount} * fused_blocks(plan, shape, mode);
  if (mode == FusedMode::predict) return static_cast<int>(std::max<std::int64_t>(1, resident));
  const std::int64_t room = kMostPartialBytes / (plan.partials(shape.warps) * 4);
  return static_cast<int>(std::max<std::int64_t>(1, std::min(resident, room)));
}

void CudaBackend::predict_general(const Model& model, DeviceModel& d, ConstRows points,
                                  Rows values) {
  const FeatureRows features = encode_batch(model, d, points);
  const ConstRows read{static_cast<const float*>(features.data), points.rows,
                       kanbench::width(model.spec().encoder), features.stride};
  d.general->predict(model.parameters().data(), read, values, stream_);
}

void CudaBackend::predict(const Model& model, ConstRows points, Rows values) {
  check(points.width == 3, "points that are not in three dimensions");
  check(values.width == model.spec().outputs(), "room for another number of outputs");
  DeviceModel& d = prepare(model);
  refresh(model, d);
  if (d.plan && d.predict.warps > 0) {
    FusedArguments a = fused_arguments(model, d);
    a.rows = points.rows;
    a.output.points = points;
    a.output.values = values.data;
    launch_fused(*d.plan, d.predict, FusedMode::predict, a,
                 most_blocks(*d.plan, d.predict, FusedMode::predict), stream_);
    return;
  }
  for (std::int64_t first = 0; first < points.rows; first += kPieceRows) {
    const std::int64_t rows = std::min(kPieceRows, points.rows - first);
    const ConstRows piece{points.data + first, rows, 3, points.stride};
    const Rows out{values.data + first, rows, values.width, values.stride};
    if (d.general) {
      predict_general(model, d, piece, out);
      continue;
    }
    const FeatureRows features = encode_batch(model, d, piece);
    FusedArguments a = fused_arguments(model, d);
    a.rows = rows;
    a.features = features.data;
    a.stride = features.stride;
    a.output.values = out.data;
    launch_fused(*d.plan, d.predict_features, FusedMode::predict, a,
                 most_blocks(*d.plan, d.predict_features, FusedMode::predict), stream_);
  }
}

void CudaBackend::decode_pieces(const Model& model, const Lattice& lattice, const Decoded& out) {
  const std::int64_t voxels = lattice.box.shape().count();
  const int outputs = model.spec().outputs();
  check(!out.voxels || outputs == 1, "voxels of several outputs");
  DeviceArray<float> points, values;
  const std::int64_t most = std::min(kPieceRows, voxels);
  points.reserve(3 * most);
  if (!out.values) values.reserve(most);
  for (std::int64_t first = 0; first < voxels; first += kPieceRows) {
    const std::int64_t rows = std::min(kPieceRows, voxels - first);
    launch(place_voxels_kernel,
           Grid{dim3(static_cast<unsigned>(ceil_divide(rows, 256))), dim3(256), 0, stream_},
           lattice, first, Rows{points.data(), rows, 3, rows});
    float* to = out.values ? out.values + first : values.data();
    predict(model, ConstRows{points.data(), rows, 3, rows}, Rows{to, rows, outputs, voxels});
    if (out.voxels)
      cuda::quantise(to, rows, out.dtype, out.low, out.high,
                     static_cast<std::byte*>(out.voxels) +
                         static_cast<std::size_t>(first) * size_of(out.dtype),
                     stream_);
  }
  checked(cudaStreamSynchronize(stream_));
}

void CudaBackend::decode(const Model& model, const Lattice& lattice, const Decoded& out) {
  if (lattice.box.shape().count() == 0) return;
  DeviceModel& d = prepare(model);
  if (!d.plan || d.predict.warps == 0) return decode_pieces(model, lattice, out);
  refresh(model, d);
  FusedArguments a = fused_arguments(model, d);
  a.output.lattice_size = lattice.size;
  a.output.box = lattice.box;
  a.output.decoded = out;
  launch_fused(*d.plan, d.predict, FusedMode::predict, a,
               most_blocks(*d.plan, d.predict, FusedMode::predict), stream_);
}

}  // namespace kanbench::cuda
