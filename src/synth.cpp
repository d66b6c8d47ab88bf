// Analytic volumes, computed and written slice by slice.
#include "kanbench/synth.h"

#include <algorithm>
#include <array>
#include <limits>
#include <type_traits>
#include <vector>

#include "kanbench/error.h"
#include "kanbench/file.h"
#include "kanbench/io.h"
#include "kanbench/parallel.h"
#include "synth_field.h"

namespace kanbench {
namespace {

using Make = SynthField (*)(const Shape&, std::uint64_t);

constexpr std::array<Synth, 7> table{{
    {"nucleon",
     "probability of a second nucleon in oxygen-16 about one at (2, 0, 0) fm, closed-shell "
     "oscillator with b = 1.76 fm and a hole of 0.7 fm, on +-5 fm; scaled by its maximum on the "
     "lattice"},
    {"marschner_lobb",
     "(1 - sin(pi z/2) + a (1 + cos(2 pi f cos(pi r/2)))) / (2 (1 + a)), r^2 = x^2 + y^2, f = 6, "
     "a = 1/4, on [-1, 1]^3; its bounds are 0 and 1"},
    {"gyroid",
     "sin X cos Y + sin Y cos Z + sin Z cos X over four periods an axis; its bounds are -1.5 and "
     "1.5"},
    {"hydrogen",
     "3d orbital |psi_320|^2 ~ (3 z^2 - r^2)^2 exp(-2r/3) on +-24 Bohr radii; its maximum, at "
     "z = +-6, is 5184 exp(-4)"},
    {"turbulence",
     "64 random Fourier modes with energy k^(-5/3), 1 to 32 waves across; range of a 64^3 lattice "
     "widened by a tenth at either end"},
    {"constant", "the middle of the type's range; a constant volume cannot be normalised"},
    {"abc_flow",
     "velocity (A sin z + C cos y, B sin x + A cos z, C sin y + B cos x) over a period an axis, "
     "A^2 = 3, B^2 = 2, C = 1; its bounds are -(A + B) and A + B",
     3},
}};
// Of the fields of one number.
constexpr std::array<Make, table.size() - 1> makers{nucleon_field,    marschner_lobb_field,
                                                    gyroid_field,     hydrogen_field,
                                                    turbulence_field, constant_field};

std::size_t find_synth(const std::string& name) {
  std::vector<std::string> known;
  for (std::size_t i = 0; i < table.size(); ++i) {
    if (name == table[i].name) return i;
    known.emplace_back(table[i].name);
  }
  throw Error("unknown analytic volume '" + name + "'" + nearest(name, known) +
              " (there are: " + join(known) + ")");
}

// 0 ... 1 onto 0 ... the type's highest value, rounded to nearest.
template <class T>
T to_voxel(double value) {
  if constexpr (std::is_floating_point_v<T>) {
    return static_cast<T>(value);
  } else if constexpr (sizeof(T) < 4) {
    // Through a 32-bit integer, which vectorises.
    return static_cast<T>(static_cast<std::int32_t>(value * std::numeric_limits<T>::max() + 0.5));
  } else if constexpr (sizeof(T) == 4) {
    return static_cast<T>(static_cast<std::int64_t>(value * std::numeric_limits<T>::max() + 0.5));
  } else {
    // The highest value is not a double: its successor is, and only 1 reaches that.
    constexpr T highest = std::numeric_limits<T>::max();
    return value < 1 ? static_cast<T>(value * static_cast<double>(highest)) : highest;
  }
}

// Calls visit_row(y, row) for every row of slice z, its values not yet scaled, in parallel.
template <class Visit>
void for_rows(const SynthField& field, const Shape& shape, std::int64_t z, Visit visit_row) {
  constexpr std::int64_t rows_per_task = 8;
  parallel((shape.y + rows_per_task - 1) / rows_per_task, [&](std::int64_t task) {
    std::vector<double> row(static_cast<std::size_t>(shape.x));
    const std::int64_t last = std::min((task + 1) * rows_per_task, shape.y);
    for (std::int64_t y = task * rows_per_task; y < last; ++y) {
      field.row(y, z, row.data());
      visit_row(y, row.data());
    }
  });
}

double highest_of(const SynthField& field, const Shape& shape) {
  std::vector<double> highest(static_cast<std::size_t>(shape.y), field.low);
  for (std::int64_t z = 0; z < shape.z; ++z) {
    for_rows(field, shape, z, [&](std::int64_t y, const double* row) {
      double& most = highest[static_cast<std::size_t>(y)];
      most = std::max(most, *std::max_element(row, row + shape.x));
    });
  }
  return *std::max_element(highest.begin(), highest.end());
}

template <class T>
void write_slices_of(const SynthField& field, const Shape& shape, VolumeWriter& writer) {
  std::vector<T> slice(static_cast<std::size_t>(shape.x * shape.y));
  const double range = field.high - field.low;
  for (std::int64_t z = 0; z < shape.z; ++z) {
    for_rows(field, shape, z, [&](std::int64_t y, const double* __restrict row) {
      T* __restrict out = slice.data() + y * shape.x;
      for (std::int64_t x = 0; x < shape.x; ++x) {
        const double value = (row[x] - field.low) / range;
        out[x] = to_voxel<T>(std::min(std::max(value, 0.0), 1.0));
      }
    });
    writer.write(z * shape.x * shape.y, shape.x * shape.y, slice.data());
  }
}

// Integers in the range that all components have in common; floats as they are.
template <class T>
void write_vectors_of(std::span<const SynthField> fields, const Shape& shape,
                      VolumeWriter& writer) {
  const std::int64_t voxels = shape.x * shape.y;
  std::vector<T> slices(static_cast<std::size_t>(voxels) * fields.size());
  std::vector<const void*> planes;
  for (std::size_t c = 0; c < fields.size(); ++c)
    planes.push_back(slices.data() + c * static_cast<std::size_t>(voxels));
  for (std::int64_t z = 0; z < shape.z; ++z) {
    for (std::size_t c = 0; c < fields.size(); ++c) {
      const SynthField& field = fields[c];
      const double range = field.high - field.low;
      T* plane = slices.data() + c * static_cast<std::size_t>(voxels);
      for_rows(field, shape, z, [&](std::int64_t y, const double* row) {
        for (std::int64_t x = 0; x < shape.x; ++x)
          plane[y * shape.x + x] =
              to_voxel<T>(std::is_floating_point_v<T> ? row[x] : (row[x] - field.low) / range);
      });
    }
    writer.write(z * voxels, voxels, planes);
  }
}

std::vector<SynthField> make_fields(std::size_t which, const Shape& shape, std::uint64_t seed) {
  if (which < makers.size()) return {makers[which](shape, seed)};
  const std::array<SynthField, 3> flow = abc_flow(shape);
  return {flow.begin(), flow.end()};
}

}  // namespace

std::span<const Synth> synths() { return table; }

std::filesystem::path write_synth(const std::string& name, const std::filesystem::path& directory,
                                  const Shape& shape, Dtype dtype, std::uint64_t seed) {
  const std::size_t which = find_synth(name);
  const int components = table[which].components;
  if (std::min({shape.x, shape.y, shape.z}) < 1) {
    throw Error("size " + text(shape) + ": every axis needs at least one voxel");
  }
  require_writable(directory, "output directory");
  std::vector<SynthField> fields = make_fields(which, shape, seed);
  SynthField& field = fields[0];
  if (field.measure_high) field.high = highest_of(field, shape);
  // A lattice so coarse that the field vanishes on all of it: any scale will do.
  if (!(field.high > field.low)) field.high = field.low + 1;
  const auto spacing = [&](std::int64_t n) { return field.extent / static_cast<double>(n); };
  const std::filesystem::path path = directory / raw_file_name({name, shape, dtype, components});
  const std::unique_ptr<Communicator> alone = open_single();
  const VolumeHeader header{
      shape, dtype, components, {spacing(shape.x), spacing(shape.y), spacing(shape.z)}, {}};
  VolumeWriter writer(*alone, path, header);
  visit(dtype, [&]<class Voxel>(Voxel) {
    if (components == 1)
      write_slices_of<Voxel>(field, shape, writer);
    else
      write_vectors_of<Voxel>(fields, shape, writer);
  });
  writer.commit();
  return path;
}

}  // namespace kanbench
