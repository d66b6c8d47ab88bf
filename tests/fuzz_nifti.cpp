// libFuzzer's entry: any bytes are a volume in NIfTI or are refused in one line.

#include "fuzz_volume.h"
#include "io/nifti.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  return kanbench::fuzz_volume(kanbench::read_nifti, ".nii", data, size);
}
