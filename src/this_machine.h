#pragma once
// Where and when something is measured.

#include <cstdint>
#include <string>

namespace kanbench {

/// ISO 8601, in UTC.
std::string utc_now();
std::string this_host();
/// Most memory that this process had resident.
std::int64_t peak_host_bytes();

}  // namespace kanbench
