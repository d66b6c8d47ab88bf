#pragma once
// The decoder for every basis and every form of layer, in float32: each layer's input is expanded
// into its basis' values, feature by feature, and multiplied by the weights.

#include <cstddef>
#include <cstdint>
#include <vector>

#include "kanbench/backend.h"
#include "kanbench/model.h"
#include "kernels/expand.h"
#include "kernels/gemm.h"
#include "kernels/runtime.h"

namespace kanbench::cuda {

/// A decoder's working memory and its passes. A batch is taken in pieces of rows whose working
/// memory stays under a budget, so that memory does not grow with the batch. All sums are taken in
/// an order fixed by the number of rows. Calls may be recorded into a graph once a call with as
/// many rows has been made; recordings stay valid as long as the object lives.
class GeneralDecoder {
 public:
  /// Bytes that the working memory of one piece may take.
  static constexpr std::size_t kBudget = std::size_t{64} << 20;

  /// `precision` is fp32 or tf32. A piece has at least 32 rows, whatever the budget.
  GeneralDecoder(const ModelSpec& spec, const Layout& layout, Precision precision,
                 GemmChoice choice = GemmChoice::automatic, std::size_t budget = kBudget);

  /// Working memory of a row of a piece; a batch takes at most about `budget` in all.
  std::size_t bytes_per_row() const;

  /// The model's values, after the output activation; values.width is the number of its outputs.
  /// `parameters` is the model's whole block; `features` has the first layer's inputs,
  /// feature-major.
  void predict(const float* parameters, ConstRows features, Rows values, cudaStream_t stream);

  /// Adds the objective's scale times the gradient of the rows' summed loss to the decoder's part
  /// of `gradient`, writes the gradient of the features (unless dfeatures.data is null), and sets
  /// sums[0] to the summed loss and sums[1] to the summed squared error, means over the outputs,
  /// both on the device.
  void train(const float* parameters, float* gradient, ConstRows features, ConstRows targets,
             const Objective& objective, Rows dfeatures, double* sums, cudaStream_t stream);

 private:
  struct Room;

  bool has_phi(std::size_t layer) const;
  bool is_begun(std::size_t layer) const;
  /// The layer whose output the base branch of `layer` ends in.
  std::size_t base_layer(std::size_t layer) const {
    return layer + static_cast<std::size_t>(layers_[layer].base_skip);
  }
  Room arrange(std::int64_t rows);
  LayerRows open(const Room& room, std::size_t layer, ConstRows features) const;
  void run_layers(const float* parameters, const Room& room, ConstRows features, Rows last,
                  cudaStream_t stream);
  void run_layer(const float* parameters, std::size_t layer, const LayerRows& rows, Rows out,
                 Rows base_out, bool add, cudaStream_t stream);
  void run_layer_back(const float* parameters, float* gradient, std::size_t layer,
                      const LayerRows& rows, ConstRows dout, ConstRows base_dout, Rows dinput,
                      cudaStream_t stream);

  std::vector<Layer> layers_;
  std::vector<LayerOffsets> offsets_;
  OutputActivation output_;
  std::int64_t floats_per_row_ = 0, phi_width_ = 0, base_width_ = 0, widest_ = 0, piece_ = 0;
  int turns_ = 2;
  Gemm gemm_;
  // The last is in use; recorded graphs may still hold those before it.
  std::vector<DeviceArray<float>> rooms_;
  DeviceArray<double> partials_;
};

}  // namespace kanbench::cuda
