// The field of an ensemble: each brick that touches a lattice decodes its part, and the parts are
// added up with weights that make up one everywhere.

#include "kanbench/ensemble.h"

#include <algorithm>
#include <cmath>
#include <list>

#include "brick_weights.h"
#include "kanbench/buffer.h"
#include "kanbench/error.h"
#include "kanbench/model_file.h"

namespace kanbench {
namespace {

namespace fs = std::filesystem;

// Values that are decoded at once, points that are placed at once, zeros that are copied at once.
constexpr std::int64_t kPartValues = std::int64_t{16} << 20;
constexpr std::int64_t kPoints = std::int64_t{1} << 18;
constexpr std::int64_t kZeros = std::int64_t{1} << 16;

// Voxel centre i of `size` on an axis of `voxels`, in voxels.
double position(std::int64_t i, std::int64_t size, std::int64_t voxels) {
  return (static_cast<double>(i) + 0.5) * static_cast<double>(voxels) / static_cast<double>(size);
}

// The lattice's part on an axis where `brick` counts, within [low, high); empty where it does not.
Range part_on_axis(const AxisWeights& axis, std::int64_t brick, std::int64_t size, Range within) {
  const double scale = static_cast<double>(size) / static_cast<double>(axis.voxels());
  const auto near = [&](double position, std::int64_t more) {
    return std::clamp(static_cast<std::int64_t>(std::floor(position * scale)) + more, within.begin,
                      within.end);
  };
  Range part{near(axis.low(brick), -2), near(axis.high(brick), 3)};
  const auto counts = [&](std::int64_t i) {
    return axis.at(brick, position(i, size, axis.voxels())) > 0;
  };
  while (part.begin < part.end && !counts(part.begin)) ++part.begin;
  while (part.begin < part.end && !counts(part.end - 1)) --part.end;
  return part;
}

std::array<std::int64_t, 3> axes(const Shape& shape) { return {shape.x, shape.y, shape.z}; }

// The lattice of `held` alone on which a lattice of the whole lies: where its ends fall between
// voxels of that lattice on every axis.
bool lies_on_lattice(const Box& held, const Shape& volume, const Lattice& whole, Lattice& own) {
  const auto sizes = axes(whole.size), voxels = axes(volume);
  std::int64_t size[3];
  own.box = whole.box;
  for (std::size_t d = 0; d < 3; ++d) {
    const __int128 low = static_cast<__int128>(held.low[d]) * sizes[d],
                   high = static_cast<__int128>(held.high[d]) * sizes[d];
    if (low % voxels[d] != 0 || high % voxels[d] != 0) return false;
    const auto begin = static_cast<std::int64_t>(low / voxels[d]);
    size[d] = static_cast<std::int64_t>(high / voxels[d]) - begin;
    own.box.low[d] -= begin;
    own.box.high[d] -= begin;
  }
  own.size = {size[0], size[1], size[2]};
  return true;
}

}  // namespace

struct Ensemble::State {
  struct Loaded {
    std::size_t brick;
    std::size_t bytes;
    Model model;
  };

  Backend& backend;
  Manifest manifest;
  fs::path directory;
  std::string precision;
  std::vector<AxisWeights> weights;
  Buffer<float> zeros;
  // The one used last first.
  std::list<Loaded> loaded;
  std::size_t loaded_bytes = 0, budget = 0;

  fs::path path(std::size_t brick) const { return directory / manifest.bricks[brick].file; }

  ModelFile read(std::size_t brick) const {
    ModelFile file = read_model(path(brick));
    const Brick& of = manifest.bricks[brick];
    const Shape shape = manifest.local ? of.held.shape() : manifest.shape;
    if (!(file.shape == shape))
      throw Error(path(brick).string() + ": is of " + text(file.shape) +
                  " voxels, its manifest says " + text(shape) +
                  ": put the manifest's own models beside it");
    if (file.ranges != std::vector<ValueRange>{{of.low, of.high}})
      throw Error(path(brick).string() + ": has another range than its manifest says: put the " +
                  "manifest's own models beside it");
    return file;
  }

  const Model& model(std::size_t brick) {
    const auto found = std::find_if(loaded.begin(), loaded.end(),
                                    [&](const Loaded& one) { return one.brick == brick; });
    if (found != loaded.end()) {
      loaded.splice(loaded.begin(), loaded, found);
      return loaded.front().model;
    }
    const ModelFile file = read(brick);
    // Twice: what the backend packs lies beside the parameters.
    const std::size_t bytes = 2 * file.parameters.size() * sizeof(float);
    if (budget == 0) budget = std::max<std::size_t>(1, backend.free_bytes() / 4);
    while (!loaded.empty() && loaded_bytes + bytes > budget) {
      loaded_bytes -= loaded.back().bytes;
      loaded.pop_back();
    }
    loaded.push_front(
        {brick, bytes,
         Model(backend, file.spec, resolve_precision(precision, file.spec, backend))});
    loaded_bytes += bytes;
    loaded.front().model.upload(file.parameters);
    return loaded.front().model;
  }

  void zero(float* values, std::int64_t count) {
    if (zeros.size() == 0) zeros = Buffer<float>(backend, kZeros);
    for (std::int64_t i = 0; i < count; i += kZeros)
      backend.copy(values + i, zeros.data(),
                   static_cast<std::size_t>(std::min(kZeros, count - i)) * sizeof(float));
  }

  // The brick's own values on a part of the lattice.
  void decode_part(std::size_t brick, const Lattice& part, float* values) {
    const Model& decoder = model(brick);
    const Decoded out{values};
    Lattice own = part;
    if (!manifest.local || lies_on_lattice(manifest.bricks[brick].held, manifest.shape, part, own))
      return backend.decode(decoder, own, out);
    predict_part(decoder, manifest.bricks[brick].held, part, values);
  }

  void predict_part(const Model& decoder, const Box& held, const Lattice& part, float* values) {
    const Shape n = part.box.shape();
    const auto sizes = axes(part.size), voxels = axes(manifest.shape);
    std::vector<float> along[3];
    for (std::size_t d = 0; d < 3; ++d)
      for (std::int64_t i = part.box.low[d]; i < part.box.high[d]; ++i)
        along[d].push_back(static_cast<float>(
            (position(i, sizes[d], voxels[d]) - static_cast<double>(held.low[d])) /
            static_cast<double>(held.high[d] - held.low[d])));
    const std::int64_t most = std::min(kPoints, n.count());
    Buffer<float> points(backend, 3 * most);
    std::vector<float> placed(static_cast<std::size_t>(3 * most));
    for (std::int64_t first = 0; first < n.count(); first += most) {
      const std::int64_t rows = std::min(most, n.count() - first);
      for (std::int64_t i = 0; i < rows; ++i) {
        const std::int64_t at = first + i;
        const std::int64_t place[3] = {at % n.x, at / n.x % n.y, at / n.x / n.y};
        for (std::size_t d = 0; d < 3; ++d)
          placed[static_cast<std::size_t>(static_cast<std::int64_t>(d) * rows + i)] =
              along[d][static_cast<std::size_t>(place[d])];
      }
      backend.upload(points.data(), placed.data(),
                     static_cast<std::size_t>(3 * rows) * sizeof(float));
      backend.predict(decoder, {points.data(), rows, 3, rows}, {values + first, rows, 1, rows});
    }
  }

  // Adds what `brick` says of `part`, in pieces of whole slices.
  void add_brick(std::size_t brick, const Lattice& lattice, const Box& part, float* out) {
    const Brick& of = manifest.bricks[brick];
    const std::array<std::int64_t, 3> at = place_of(brick);
    const auto sizes = axes(lattice.size);
    const double range = manifest.high - manifest.low;
    const auto low = static_cast<float>((of.low - manifest.low) / range);
    const auto height = static_cast<float>((of.high - of.low) / range);
    const Shape n = part.shape();
    const std::int64_t depth = std::clamp<std::int64_t>(kPartValues / (n.x * n.y), 1, n.z);
    Buffer<float> values(backend, of.file.empty() ? 0 : n.x * n.y * depth);
    Buffer<float> along(backend, n.x + n.y + depth);
    for (std::int64_t z = part.low[2]; z < part.high[2]; z += depth) {
      Box piece = part;
      piece.low[2] = z;
      piece.high[2] = std::min(part.high[2], z + depth);
      std::vector<float> shares;
      for (std::size_t d = 0; d < 3; ++d)
        for (std::int64_t i = piece.low[d]; i < piece.high[d]; ++i)
          shares.push_back(weights[d].at(at[d], position(i, sizes[d], weights[d].voxels())));
      backend.upload(along.data(), shares.data(), shares.size() * sizeof(float));
      if (!of.file.empty()) decode_part(brick, {lattice.size, piece}, values.data());
      backend.blend(of.file.empty() ? nullptr : values.data(), {along.data(), piece, lattice.box},
                    low, height, out);
    }
  }

  std::array<std::int64_t, 3> place_of(std::size_t brick) const {
    const auto i = static_cast<std::int64_t>(brick);
    return {i % manifest.grid.x, i / manifest.grid.x % manifest.grid.y,
            i / manifest.grid.x / manifest.grid.y};
  }

  void blend_all(const Lattice& lattice, float* out) {
    zero(out, lattice.box.shape().count());
    const auto sizes = axes(lattice.size);
    // Per axis the part of each brick: most of a large grid are empty, which a lattice in slabs
    // finds out per axis, not per brick.
    std::vector<std::pair<std::int64_t, Range>> parts[3];
    for (std::size_t d = 0; d < 3; ++d)
      for (std::int64_t i = 0; i < weights[d].bricks(); ++i) {
        const Range part =
            part_on_axis(weights[d], i, sizes[d], {lattice.box.low[d], lattice.box.high[d]});
        if (part.size() > 0) parts[d].emplace_back(i, part);
      }
    for (const auto& [k, z] : parts[2])
      for (const auto& [j, y] : parts[1])
        for (const auto& [i, x] : parts[0])
          add_brick(static_cast<std::size_t>((k * manifest.grid.y + j) * manifest.grid.x + i),
                    lattice, {{x.begin, y.begin, z.begin}, {x.end, y.end, z.end}}, out);
  }

  // Slice groups whose values need no more room than a part.
  void decode(const Lattice& lattice, const Decoded& out) {
    const Shape n = lattice.box.shape();
    const std::int64_t slice = n.x * n.y;
    if (out.values) {
      blend_all(lattice, out.values);
      if (out.voxels) backend.quantise(out.values, n.count(), out);
      return;
    }
    const std::int64_t depth = std::clamp<std::int64_t>(kPartValues / slice, 1, n.z);
    Buffer<float> values(backend, slice * depth);
    for (std::int64_t z = 0; z < n.z; z += depth) {
      Lattice part = lattice;
      part.box.low[2] = lattice.box.low[2] + z;
      part.box.high[2] = std::min(lattice.box.high[2], part.box.low[2] + depth);
      blend_all(part, values.data());
      Decoded voxels = out;
      voxels.voxels = static_cast<std::byte*>(out.voxels) +
                      static_cast<std::size_t>(z * slice) * size_of(out.dtype);
      backend.quantise(values.data(), part.box.shape().count(), voxels);
    }
  }
};

Ensemble::Ensemble(Backend& backend, Manifest manifest, fs::path directory, std::string precision)
    : state_(new State{
          backend, std::move(manifest), std::move(directory), std::move(precision), {}, {}, {}}) {
  for (std::size_t d = 0; d < 3; ++d) state_->weights.push_back(axis_weights(state_->manifest, d));
  for (std::size_t i = 0; i < state_->manifest.bricks.size(); ++i) {
    const std::string& file = state_->manifest.bricks[i].file;
    std::error_code ignored;
    if (!file.empty() && !fs::is_regular_file(state_->directory / file, ignored))
      throw Error((state_->directory / file).string() +
                  ": no such file: an ensemble's models lie beside its manifest");
  }
}

Ensemble::~Ensemble() = default;

Backend& Ensemble::backend() const { return state_->backend; }

void Ensemble::decode(const Lattice& lattice, const Decoded& out) const {
  state_->decode(lattice, out);
}

const Manifest& Ensemble::manifest() const { return state_->manifest; }

std::int64_t Ensemble::bytes() const {
  auto all = static_cast<std::int64_t>(to_json(state_->manifest).size());
  for (std::size_t i = 0; i < state_->manifest.bricks.size(); ++i)
    if (!state_->manifest.bricks[i].file.empty())
      all += static_cast<std::int64_t>(fs::file_size(state_->path(i)));
  return all;
}

std::int64_t Ensemble::parameters() const {
  std::int64_t all = 0;
  for (std::size_t i = 0; i < state_->manifest.bricks.size(); ++i)
    if (!state_->manifest.bricks[i].file.empty())
      all += make_layout(state_->read(i).spec).parameters;
  return all;
}

}  // namespace kanbench
