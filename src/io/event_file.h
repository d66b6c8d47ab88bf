#pragma once
// TensorBoard's event files: records of a length, a checksum, a protobuf message and another
// checksum (tensorflow/core/lib/io/record_writer.h, core/util/event.proto).

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

#include "kanbench/metrics_log.h"

namespace kanbench {

/// CRC-32C (Castagnoli), as RFC 3720 has it.
std::uint32_t crc32c(std::string_view bytes);

/// One record around a message.
std::string event_record(std::string_view message);

/// The message that a file begins with, and the one that says numbers at a step; `time` in seconds
/// since 1970.
std::string version_event(double time);
std::string scalars_event(double time, std::int64_t step, std::span<const Scalar> scalars);

}  // namespace kanbench
