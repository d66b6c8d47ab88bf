#include "kanbench/backend.h"

#include <algorithm>
#include <cmath>

#include "kanbench/error.h"

namespace kanbench {

void* allocate(Backend& backend, std::size_t bytes) { return backend.allocate(bytes); }
void release(Backend& backend, void* memory) noexcept { backend.release(memory); }

std::size_t Backend::working_bytes(const ModelSpec& spec, std::int64_t rows) const {
  return static_cast<std::size_t>(rows) * bytes_per_row(spec);
}

void Backend::sample_bricks(std::span<const BrickRows> bricks, const Stream& stream, Rows points,
                            Rows targets) {
  for (const BrickRows& part : bricks)
    sample(part.view, part.box, stream, part.first,
           {points.data + part.first, part.rows, 3, points.stride},
           {targets.data + part.first, part.rows, targets.width, targets.stride});
}

BatchSums Backend::step(Model& model, ConstRows points, ConstRows targets,
                        const Objective& objective, const Optimizer& optimizer, std::int64_t step) {
  BatchSums sums = gradient(model, points, targets, objective);
  sums.finite = update(model, optimizer, step) && std::isfinite(sums.loss);
  return sums;
}

BatchSums take_step(Backend& backend, Model& model, ConstRows points, ConstRows targets,
                    const Objective& objective, const TrainingStep& step) {
  if (step.geometry.rate == 0)
    return backend.step(model, points, targets, objective, step.optimizer, step.number);
  BatchSums sums = backend.gradient(model, points, targets, objective);
  backend.shape(model, points, targets, step.geometry);
  sums.finite &= backend.update(model, step.optimizer, step.number) && std::isfinite(sums.loss);
  return sums;
}

std::vector<BatchSums> Backend::train(Model& model, const VolumeView& volume, const Box& box,
                                      const Objective& objective,
                                      std::span<const TrainingStep> steps, Rows points,
                                      Rows targets) {
  const ConstRows read{points.data, points.rows, points.width, points.stride};
  const ConstRows wanted{targets.data, targets.rows, targets.width, targets.stride};
  std::vector<BatchSums> sums;
  for (const TrainingStep& step : steps) {
    sample(volume, box, step.stream, 0, points, targets);
    sums.push_back(take_step(*this, model, read, wanted, objective, step));
    if (!sums.back().finite) break;
  }
  return sums;
}

std::string Backend::choices(const Model&) const { return ""; }

namespace {

std::unique_ptr<Backend> open_cpu_with(const DeviceSettings& settings) {
  if (settings.texture)
    throw Error("--texture: the CPU has no texture unit: leave it out, or use a CUDA --device");
  std::unique_ptr<Backend> backend = open_cpu();
  backend->limit_memory(settings.memory_limit);
  return backend;
}

}  // namespace

Precision resolve_precision(const std::string& wanted, const ModelSpec& spec,
                            const Backend& backend, const std::string& what) {
  const std::vector<Precision> has = backend.precisions(spec);
  check(!has.empty(), "a backend without a precision");
  if (wanted == "auto") return has.front();
  const Precision precision = parse_precision(wanted, what);
  if (std::find(has.begin(), has.end(), precision) != has.end()) return precision;
  std::vector<std::string> names;
  for (const Precision one : has) names.emplace_back(name(one));
  throw Error(what + " " + wanted + ": " + backend.name() + " has " + join(names) +
              " for this model: use auto or " + join(names, " or ") + ", or another --device");
}

std::vector<Device> list_devices() {
  std::vector<Device> devices = list_cuda_devices();
  devices.push_back({"cpu", open_cpu()->name()});
  return devices;
}

namespace {

// The number of the first device that list_cuda_devices() names, which can compute if any can.
int first_cuda() { return std::stoi(list_cuda_devices().at(0).name.substr(5)); }

}  // namespace

std::unique_ptr<Backend> open_backend(const std::string& device, std::string* said,
                                      const DeviceSettings& settings) {
  if (device == "cpu") return open_cpu_with(settings);
  const std::string missing = why_no_cuda();
  if (device == "auto") {
    if (missing.empty()) return open_cuda(first_cuda(), settings);
    if (said) *said = missing + " Running on the CPU.";
    return open_cpu_with(settings);
  }
  const bool numbered = device.rfind("cuda:", 0) == 0 && device.size() > 5 && device.size() < 9 &&
                        device.find_first_not_of("0123456789", 5) == std::string::npos;
  if (device != "cuda" && !numbered)
    throw Error("--device: unknown device '" + device + "': use auto, cpu, cuda or cuda:N");
  if (!missing.empty()) throw Error("--device " + device + ": " + missing + " Use --device cpu.");
  const int index = numbered ? std::stoi(device.substr(5)) : first_cuda();
  const int count = static_cast<int>(list_cuda_devices().size());
  if (index >= count)
    throw Error("--device " + device + ": there " +
                (count == 1
                     ? "is 1 CUDA device here, cuda:0"
                     : "are " + std::to_string(count) + " CUDA devices here, numbered from 0"));
  return open_cuda(index, settings);
}

}  // namespace kanbench
