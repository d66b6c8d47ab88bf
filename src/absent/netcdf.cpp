// Stands in for src/io/netcdf.cpp where libnetcdf is missing.
#include "io/netcdf.h"

#include "kanbench/error.h"

namespace kanbench {

StoredVolume read_netcdf(const std::filesystem::path& path, const std::string&) {
  throw Error(
      path.string() +
      ": this build has no NetCDF: install libnetcdf (Debian: libnetcdf-dev) and build again");
}

}  // namespace kanbench
