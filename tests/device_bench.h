#pragma once
// Small models and a volume to train on a CUDA device with.

#include <cmath>
#include <memory>
#include <vector>

#include "kanbench/backend.h"
#include "kanbench/model.h"

namespace kanbench::test {

inline constexpr std::int64_t kRows = 96;

/// Two hidden layers behind three levels.
inline ModelSpec make_model(bool kan, int neurons = 16, int features = 2) {
  ModelSpec spec;
  spec.network_type = kan ? "fastkan" : "mlp";
  spec.encoder = encoder::HashGrid{3, features, 8, 4, 1.6};
  int in = width(spec.encoder);
  for (int i = 0; i < 3; ++i) {
    Layer layer{in, i < 2 ? neurons : 1};
    if (kan) {
      layer.basis = basis::Rbf{};
      layer.base = layer.bias = true;
      layer.norm = i > 0;
    } else if (i > 0) {
      layer.basis = basis::Relu{};
    }
    spec.layers.push_back(layer);
    in = layer.out;
  }
  return spec;
}

/// Waves in float32.
inline Volume make_volume(Shape shape) {
  auto voxels = std::make_shared<std::vector<float>>(static_cast<std::size_t>(shape.count()));
  std::size_t at = 0;
  for (std::int64_t z = 0; z < shape.z; ++z)
    for (std::int64_t y = 0; y < shape.y; ++y)
      for (std::int64_t x = 0; x < shape.x; ++x)
        (*voxels)[at++] = static_cast<float>(std::sin(0.5 * static_cast<double>(x)) +
                                             std::cos(0.3 * static_cast<double>(y)) +
                                             0.1 * static_cast<double>(z));
  return {"waves", shape, Dtype::float32, {voxels, voxels->data()}, "waves"};
}

// A model, its volume on the device, and what training needs beside it.
struct Bench {
  std::unique_ptr<Backend> backend;
  Volume volume = make_volume({9, 8, 7});
  VolumeView view;
  Model model;
  Buffer<float> points, targets;
  std::int64_t done = 0;

  explicit Bench(const ModelSpec& spec, Precision precision, const DeviceSettings& settings = {})
      : backend(open_cuda(0, settings)),
        view(backend->place(volume, whole(volume.shape))),
        model(*backend, spec, precision),
        points(*backend, 3 * kRows),
        targets(*backend, kRows) {
    model.upload(draw_parameters(spec, {0.3, 0.1, 1.0}, 5));
    model.train();
  }
  std::vector<TrainingStep> steps(int count) {
    std::vector<TrainingStep> all;
    for (int i = 0; i < count; ++i, ++done) {
      Adam adam;
      adam.encoder_rate = adam.decoder_rate = 1e-2f / static_cast<float>(1 + done);
      all.push_back(
          {make_stream(3, 0, Purpose::samples, static_cast<std::uint64_t>(done)), adam, done + 1});
    }
    return all;
  }
  Rows point_rows() { return {points.data(), kRows, 3, kRows}; }
  Rows target_rows() { return {targets.data(), kRows, 1, kRows}; }
  std::vector<BatchSums> train(int count) {
    return backend->train(model, view, whole(volume.shape), {loss::L1{}, 1.0 / kRows}, steps(count),
                          point_rows(), target_rows());
  }
};

}  // namespace kanbench::test
