// cuBLAS as plain loops.

#include "cublas_v2.h"
#include "state.h"
#include "streams.h"

using namespace emulator;

struct cublasContext {
  cudaStream_t stream = nullptr;
  bool tf32 = false;
};

namespace emulator {
namespace {

struct Factor {
  const float* data;
  int stride;
  bool transposed, tf32;
  float at(int row, int column) const {
    const std::size_t stride_of_columns = static_cast<std::size_t>(stride);
    const float value = transposed ? data[column + row * stride_of_columns]
                                   : data[row + column * stride_of_columns];
    return tf32 ? tf32_value(tf32_bits(value)) : value;
  }
};

struct Product {
  int m, n, k;
  float alpha, beta;
  Factor a, b;
  float* c;
  int stride;
  // Where beta is zero c is not read.
  void compute() const {
    for (int j = 0; j < n; ++j)
      for (int i = 0; i < m; ++i) {
        float sum = 0;
        for (int l = 0; l < k; ++l) sum += a.at(i, l) * b.at(l, j);
        float& out = c[i + static_cast<std::size_t>(j) * static_cast<std::size_t>(stride)];
        out = beta == 0 ? alpha * sum : alpha * sum + beta * out;
      }
  }
};

}  // namespace
}  // namespace emulator

cublasStatus_t cublasCreate_v2(cublasHandle_t* handle) {
  const Call call;
  if (call.error != cudaSuccess) return CUBLAS_STATUS_NOT_INITIALIZED;
  *handle = new cublasContext;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasDestroy_v2(cublasHandle_t handle) {
  delete handle;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasSetStream_v2(cublasHandle_t handle, cudaStream_t stream) {
  handle->stream = stream;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasSetMathMode(cublasHandle_t handle, cublasMath_t mode) {
  handle->tf32 = mode == CUBLAS_TF32_TENSOR_OP_MATH;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasSetWorkspace_v2(cublasHandle_t, void*, size_t) {
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSgemm_v2(cublasHandle_t handle, cublasOperation_t of_a, cublasOperation_t of_b,
                              int m, int n, int k, const float* alpha, const float* a, int lda,
                              const float* b, int ldb, const float* beta, float* c, int ldc) {
  const Call call;
  if (call.error != cudaSuccess) return CUBLAS_STATUS_EXECUTION_FAILED;
  const bool a_turned = of_a != CUBLAS_OP_N, b_turned = of_b != CUBLAS_OP_N;
  if (m < 0 || n < 0 || k < 0 || lda < std::max(1, a_turned ? k : m) ||
      ldb < std::max(1, b_turned ? n : k) || ldc < std::max(1, m))
    return CUBLAS_STATUS_INVALID_VALUE;
  const Product product{
      m, n,  k, *alpha, *beta, {a, lda, a_turned, handle->tf32}, {b, ldb, b_turned, handle->tf32},
      c, ldc};
  const cudaError_t error = enqueue(handle->stream, [product] { product.compute(); });
  return error == cudaSuccess ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_EXECUTION_FAILED;
}
