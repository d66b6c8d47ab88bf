#pragma once
// cuBLAS, looked for when the program runs: it starts and computes without that library too.

#include <memory>
#include <string>

#include "kanbench/precision.h"
#include "kernels/runtime.h"

namespace kanbench::cuda {

struct Product;

/// Why cuBLAS is not used, one sentence; empty where it was found.
std::string why_no_cublas();

/// A handle with a workspace of its own, so that its choices repeat and graphs can hold its calls.
class Cublas {
 public:
  /// Throws SystemError where the library is missing or refuses.
  explicit Cublas(Precision precision);
  ~Cublas();

  /// Whether the product's sizes and strides are within the 32 bits that the library takes.
  static bool takes(const Product& product);
  void multiply(const Product& product, cudaStream_t stream);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace kanbench::cuda
