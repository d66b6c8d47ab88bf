#pragma once
// ZFP (Lindstrom, "Fixed-rate compressed floating-point arrays", TVCG 2014) in its fixed-accuracy
// mode, for stored parameters and for volumes. src/absent/zfp.cpp stands in where libzfp was not
// found.

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "kanbench/volume.h"

namespace kanbench {

/// A 2-D array [rows][columns] (columns 0 or 1: 1-D) as a ZFP stream; no value is off by more than
/// `tolerance` > 0. Empty where ZFP cannot hold the tolerance, near float32's own precision. Throws
/// Error where this build has no ZFP.
std::vector<std::byte> zfp_compress(std::span<const float> values, std::int64_t rows,
                                    std::int64_t columns, double tolerance);

/// Back again, `values` of the size that was compressed. Throws Error naming `source` for a stream
/// that does not decode to it.
void zfp_decompress(std::span<const std::byte> stream, std::int64_t rows, std::int64_t columns,
                    double tolerance, std::span<float> values, const std::string& source);

/// A volume of floats, or where `wide` of doubles, as a ZFP stream with ZFP's own header; no value
/// is off by more than `tolerance` > 0, as far as the type's precision goes. Throws Error where
/// this build has no ZFP.
std::vector<std::byte> zfp_compress_volume(const void* voxels, const Shape& shape, bool wide,
                                           double tolerance);
/// Back again, into as many voxels.
void zfp_decompress_volume(std::span<const std::byte> stream, const Shape& shape, bool wide,
                           void* voxels);

/// Whether this build has ZFP.
bool has_zfp();

/// Throws Error, with what to do, unless this build has ZFP.
void require_zfp();

}  // namespace kanbench
