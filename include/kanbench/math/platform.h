#pragma once
// Where the two processors and their compilers differ; the only file with conditional compilation.

#if defined(__CUDACC__)
/// Marks arithmetic that both processors run. On the host it is always inlined, so that a unit
/// compiled for a wider instruction set never lends its copy to the rest of the program.
#define KB_HD __host__ __device__ inline __attribute__((always_inline))
#else
#define KB_HD inline __attribute__((always_inline))
#endif

/// Behind a lambda's parameters: inlined wherever it is called, as numbers in wide registers must
/// be.
#define KB_INLINE __attribute__((always_inline))

namespace kanbench {

/// Tells the processor that the thread is spinning.
inline void pause_processor() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

/// Whether this processor runs code built for the instruction set `name`.
inline bool processor_has(const char* name) {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (name[0] == 'b') return true;
  if (name[3] == '2')
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
           __builtin_cpu_supports("bmi2");
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
#else
  return name[0] == 'b';
#endif
}

}  // namespace kanbench
