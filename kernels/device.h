#pragma once
// What a kernel says that C++ cannot: each instruction once as PTX, once as its meaning. Compiled
// by nvcc the first half holds; compiled as C++, for tests/emulator, the second.

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>

#if defined(__CUDACC__)
#include "kernels/device_ptx.h"
#else
#include "kernels/device_meaning.h"
#endif
