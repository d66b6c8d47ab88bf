#pragma once
// Where the two processors and their compilers differ; the only file with conditional compilation.

#if defined(__CUDACC__)
/// Marks arithmetic that both processors run. On the host it is always inlined, so that a unit
/// compiled for a wider instruction set never lends its copy to the rest of the program.
#define KB_HD __host__ __device__ inline __attribute__((always_inline))
#else
#define KB_HD inline __attribute__((always_inline))
#endif
