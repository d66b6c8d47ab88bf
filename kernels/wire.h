#pragma once
// Floats as they are sent in half precision: times a power of two by which the sum over all ranks
// cannot overflow, which follows from the largest of them on any rank.

#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>

namespace kanbench::cuda {

/// Sets `largest` to the largest magnitude of `count` numbers, as a float's bits; what is not
/// finite is above all that is.
void find_magnitude(const float* numbers, std::int64_t count, std::uint32_t* largest,
                    cudaStream_t stream);

/// Writes the numbers as halves, scaled for a sum over `ranks` of them where the largest magnitude
/// of all is `largest`.
void pack_wire(const float* numbers, std::int64_t count, const std::uint32_t* largest, int ranks,
               __half* wire, cudaStream_t stream);

/// The way back; all NaN where the largest was not finite.
void unpack_wire(const __half* wire, std::int64_t count, const std::uint32_t* largest, int ranks,
                 float* numbers, cudaStream_t stream);

}  // namespace kanbench::cuda
