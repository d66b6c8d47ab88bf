// Stands in for the CUDA backend in builds without it.

#include "kanbench/backend.h"
#include "kanbench/error.h"

namespace kanbench {

std::vector<Device> list_cuda_devices() { return {}; }

std::string why_no_cuda() { return "This build has no CUDA backend."; }

std::unique_ptr<Backend> open_cuda(int, const DeviceSettings&) { throw Error(why_no_cuda()); }

}  // namespace kanbench
