#pragma once
// What a device can do at most, measured: the limits that kernels are held against.

#include <cuda_runtime.h>

#include <cstdint>
#include <vector>

#include "kanbench/backend.h"

namespace kanbench::cuda {

/// How much work each measurement does at most; it begins with a few thousandths of that and takes
/// four times as much until it lasts long enough to be timed.
struct MeasureSizes {
  /// Bytes copied from one half of a buffer to the other; less where the device has not the room.
  std::int64_t copy_bytes = std::int64_t{1} << 30;
  /// Tables that are read and added to at random, in bytes, powers of two from 1024.
  std::vector<std::int64_t> tables = {std::int64_t{1} << 20, std::int64_t{4} << 20,
                                      std::int64_t{16} << 20, std::int64_t{64} << 20};
  /// Blocks a multiprocessor, fewer where it does not hold them at once.
  int blocks = 8;
  /// Accesses of each thread, and instructions of arithmetic.
  int accesses = 1024, instructions = 1 << 17;
  /// Long enough to be timed; the best of so many is taken then.
  double seconds = 1e-3;
  int repeats = 3;
};

/// Measures `device`, which must be the current one:
///   bandwidth        bytes read and written by copying
///   flops            multiply-adds of fp32, two each
///   gather N MB      32-byte sectors read at random of a table of that size
///   red WIDTH N MB   additions to random places of such a table, one of `WIDTH` each
///   exp              2^x
///   mma half, tf32   operations of m16n8k16, m16n8k8 with fp32 sums
std::vector<Ceiling> measure_device(int device, cudaStream_t stream,
                                    const MeasureSizes& sizes = {});

}  // namespace kanbench::cuda
