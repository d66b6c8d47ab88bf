#pragma once
// What backends are tested with: shapes of models, batches, and the backends themselves.

#include <gtest/gtest.h>

#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "kanbench/backend.h"
#include "kanbench/error.h"
#include "kanbench/math/random.h"

namespace kanbench::test {

struct Case {
  std::string label;
  ModelSpec spec;
  /// How much more rounding counts than in an MLP or among Gaussians: steep functions behind each
  /// other make it larger.
  double slack = 1;
};

inline ModelSpec chain(const Encoder& encoder, std::vector<int> widths, const Basis& first,
                       const Basis& rest, bool norm, bool base) {
  ModelSpec spec;
  spec.network_type = size(rest) > 1 ? "fastkan" : "mlp";
  spec.encoder = encoder;
  int in = width(encoder);
  for (std::size_t i = 0; i < widths.size(); ++i) {
    spec.layers.push_back({in, widths[i], i ? rest : first, base, base, norm});
    in = widths[i];
  }
  return spec;
}

// Values of a size at which every part of a model matters.
inline std::vector<float> block_of(const ModelSpec& spec, std::uint64_t seed) {
  std::vector<float> block = draw_parameters(spec, {0.5, 0.1, 1.0, {}}, seed);
  const Layout layout = make_layout(spec);
  const Stream stream{seed, 1};
  for (const Slice& slice : layout.slices)
    if (slice.name.find("layernorm") != std::string::npos)
      for (std::int64_t i = 0; i < slice.size(); ++i)
        block[slice.offset + i] += 0.3f * (unit_float(stream.words(slice.offset + i).v[0]) - 0.5f);
  return block;
}

struct Batch {
  std::vector<float> points, targets;
  std::int64_t rows;
  Batch(std::int64_t n, std::uint64_t seed) : points(3 * n), targets(n), rows(n) {
    const Stream stream{seed, 7};
    for (std::int64_t i = 0; i < n; ++i) {
      const Words4 words = stream.words(i);
      for (int d = 0; d < 3; ++d) points[d * n + i] = unit_float(words.v[d]);
      targets[i] = unit_float(words.v[3]);
    }
  }
  void point(std::int64_t i, double* p) const {
    for (int d = 0; d < 3; ++d) p[d] = points[d * rows + i];
  }
};

// A batch in a backend's memory.
struct Placed {
  Buffer<float> points, targets;
  std::int64_t rows;
  Placed(Backend& backend, const Batch& batch)
      : points(backend, 3 * batch.rows), targets(backend, batch.rows), rows(batch.rows) {
    backend.upload(points.data(), batch.points.data(), points.bytes());
    backend.upload(targets.data(), batch.targets.data(), targets.bytes());
  }
  ConstRows point_rows() const { return {points.data(), rows, 3, rows}; }
  ConstRows target_rows() const { return {targets.data(), rows, 1, rows}; }
};

inline std::vector<float> download(const Buffer<float>& buffer, Backend& backend) {
  std::vector<float> numbers(static_cast<std::size_t>(buffer.size()));
  backend.download(numbers.data(), buffer.data(), buffer.bytes());
  return numbers;
}

// Emulated, a device is slow, and the CPU has been tested without it.
inline std::vector<std::unique_ptr<Backend>> all_backends() {
  std::vector<std::unique_ptr<Backend>> all;
  for (std::size_t i = 0; i < list_cuda_devices().size(); ++i)
    all.push_back(open_cuda(static_cast<int>(i), {}));
  if (KANBENCH_EMULATED) return all;
  if (all.empty()) std::cout << "no CUDA device: " << why_no_cuda() << "\n";
  for (const char* set : {"baseline", "avx2", "avx512"}) try {
      all.push_back(open_cpu(set));
    } catch (const Error&) {
      // This processor lacks the set; the widest it has is tested.
    }
  return all;
}

}  // namespace kanbench::test
