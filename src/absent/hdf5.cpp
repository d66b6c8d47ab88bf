// Stands in for src/io/hdf5.cpp where libhdf5 is missing.
#include "io/hdf5.h"

#include "kanbench/error.h"

namespace kanbench {

StoredVolume read_hdf5(const std::filesystem::path& path, const std::string&) {
  throw Error(path.string() +
              ": this build has no HDF5: install libhdf5 (Debian: libhdf5-dev) and build again");
}

}  // namespace kanbench
