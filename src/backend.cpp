#include "kanbench/backend.h"

#include <cmath>

#include "kanbench/error.h"

namespace kanbench {

void* allocate(Backend& backend, std::size_t bytes) { return backend.allocate(bytes); }
void release(Backend& backend, void* memory) noexcept { backend.release(memory); }

BatchSums Backend::step(Model& model, ConstRows points, ConstRows targets, const Loss& loss,
                        double scale, const Adam& adam, std::int64_t step) {
  BatchSums sums = gradient(model, points, targets, loss, scale);
  sums.finite = update(model, adam, step) && std::isfinite(sums.loss);
  return sums;
}

std::vector<Device> list_devices() {
  std::vector<Device> devices = list_cuda_devices();
  devices.push_back({"cpu", open_cpu()->name()});
  return devices;
}

std::unique_ptr<Backend> open_backend(const std::string& device, std::string* said) {
  if (device == "cpu") return open_cpu();
  const std::string missing = why_no_cuda();
  if (device == "auto") {
    if (missing.empty()) return open_cuda(0);
    if (said) *said = missing + " Running on the CPU.";
    return open_cpu();
  }
  const bool numbered = device.rfind("cuda:", 0) == 0 && device.size() > 5 && device.size() < 9 &&
                        device.find_first_not_of("0123456789", 5) == std::string::npos;
  if (device != "cuda" && !numbered)
    throw Error("--device: unknown device '" + device + "': use auto, cpu, cuda or cuda:N");
  if (!missing.empty()) throw Error("--device " + device + ": " + missing + " Use --device cpu.");
  const int index = numbered ? std::stoi(device.substr(5)) : 0;
  const int count = static_cast<int>(list_cuda_devices().size());
  if (index >= count)
    throw Error("--device " + device + ": there are " + std::to_string(count) +
                " CUDA devices here, numbered from 0");
  return open_cuda(index);
}

}  // namespace kanbench
