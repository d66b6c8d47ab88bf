// libFuzzer's entry: any bytes are a volume in MetaImage or are refused in one line.

#include "fuzz_volume.h"
#include "io/metaimage.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  return kanbench::fuzz_volume(kanbench::read_metaimage, ".mha", data, size);
}
