#pragma once
// The header of a classic NetCDF file, walked before libnetcdf sees it, which takes names of any
// length for short ones and reads what is cut off as zeros.
// https://docs.unidata.ucar.edu/netcdf-c/current/file_format_specifications.html

#include <cstddef>
#include <span>
#include <string>

namespace kanbench {

/// Throws Error naming `source` where a file that begins as classic NetCDF (CDF-1, 2 or 5) has a
/// header that is none, or one that asks for more bytes than there are. Other files pass.
void check_classic_netcdf(std::span<const std::byte> file, const std::string& source);

}  // namespace kanbench
