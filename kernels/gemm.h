#pragma once
// Products of matrices in float32 for the general decoder: cuBLAS where it is found and the layer
// is large enough for it, else tiles of our own. Same inputs, same bits.

#include <cstdint>
#include <memory>

#include "kanbench/precision.h"
#include "kernels/cublas.h"
#include "kernels/runtime.h"

namespace kanbench::cuda {

/// Element (i, j) at data[i * stride + j], or of a transposed one at data[j * stride + i].
struct Matrix {
  const float* data = nullptr;
  std::int64_t stride = 0;
  bool transposed = false;
};

/// c[m][n] = a[m][k] b[k][n], added to what c holds where `add` is set. Not both of a and b are
/// transposed. Row i of c begins at c + i * c_stride.
struct Product {
  std::int64_t m = 0, n = 0, k = 0;
  Matrix a, b;
  float* c = nullptr;
  std::int64_t c_stride = 0;
  bool add = false;
};

/// Whose kernels multiply: cuBLAS for large layers where it is found, ours always, or cuBLAS always
/// (a SystemError where it is not found).
enum class GemmChoice { automatic, own, cublas };

class Gemm {
 public:
  /// `precision` is fp32 or tf32: the latter rounds both factors to 10 bits of mantissa, except in
  /// products with a side so short that tensor cores have no use.
  explicit Gemm(Precision precision, GemmChoice choice = GemmChoice::automatic);

  /// Allocates nothing when a product of the same sizes was taken before.
  void multiply(const Product& product, cudaStream_t stream);

 private:
  bool suits_cublas(const Product& product) const;
  void multiply_own(const Product& product, cudaStream_t stream);

  Precision precision_;
  GemmChoice choice_;
  std::unique_ptr<Cublas> cublas_;
  DeviceArray<float> parts_;
};

}  // namespace kanbench::cuda
