// libFuzzer's entry: any bytes are a volume in classic NetCDF or are refused in one line. NetCDF-4
// is left out: what damage does to libhdf5 is its own.

#include <cstring>

#include "fuzz_volume.h"
#include "io/netcdf.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 4 || std::memcmp(data, "CDF", 3) != 0) return 0;
  return kanbench::fuzz_volume(kanbench::read_netcdf, ".nc", data, size);
}
