// Settings, their environment variable, errors and faults put in on purpose.

#include "state.h"

#include <cstdio>
#include <cstdlib>
#include <string>

#include "allocations.h"
#include "streams.h"

namespace emulator {
namespace {

bool loses_device(cudaError_t error) {
  return error == cudaErrorIllegalAddress || error == cudaErrorLaunchTimeout ||
         error == cudaErrorECCUncorrectable ||
         (error >= cudaErrorHardwareStackError && error <= cudaErrorLaunchFailure);
}

// "64M"
std::size_t bytes_of(const std::string& text) {
  char* end = nullptr;
  const std::size_t number = std::strtoull(text.c_str(), &end, 10);
  return number << (*end == 'G' ? 30 : *end == 'M' ? 20 : *end == 'K' ? 10 : 0);
}

void apply(State& s, const std::string& name, const std::string& value) {
  const long number = std::strtol(value.c_str(), nullptr, 10);
  if (name == "memory")
    s.memory = bytes_of(value);
  else if (name == "devices")
    s.devices = static_cast<int>(number);
  else if (name == "device")
    s.first_bus = static_cast<int>(number);
  else if (name == "error")
    s.no_devices = static_cast<cudaError_t>(number);
  else if (name == "driver") {
    s.driver = static_cast<int>(number);
    if (s.driver < CUDART_VERSION) s.no_devices = cudaErrorInsufficientDriver;
  } else if (name == "capability")
    s.capability = static_cast<int>(number);
  else if (name == "schedule")
    s.seed = static_cast<std::uint64_t>(number);
  else if (name == "lazy")
    s.lazy = number != 0;
  else if (name == "fail") {
    s.fail_at = number;
    s.injected = static_cast<cudaError_t>(std::stol(value.substr(value.find(':') + 1)));
  } else {
    std::fprintf(stderr, "KANBENCH_EMULATOR: unknown setting '%s'\n", name.c_str());
    std::_Exit(1);
  }
}

void read_environment(State& s) {
  const char* variable = std::getenv("KANBENCH_EMULATOR");
  std::string rest = variable ? variable : "";
  while (!rest.empty()) {
    const std::string item = rest.substr(0, rest.find(','));
    rest.erase(0, item.size() + 1);
    const std::size_t equals = item.find('=');
    apply(s, item.substr(0, equals), equals == item.npos ? "1" : item.substr(equals + 1));
  }
}

}  // namespace

State::State() {
  read_environment(*this);
  streams = Random{seed};
}

State::~State() {
  if (!pending) return;
  try {
    std::rethrow_exception(pending);
  } catch (const std::exception& fault) {
    std::fprintf(stderr, "emulator: %s\n", fault.what());
  }
  std::_Exit(99);
}

State& state() {
  static State state;
  return state;
}

std::size_t most_shared() {
  const int c = state().capability;
  return c >= 90 ? 232448 : c == 80 ? 166912 : 101376;
}

Random next_random() {
  Random mixed{state().seed * 0x2545f4914f6cdd1du + state().launches++};
  return Random{mixed.next()};
}

Call::Call(Throws throws) : lock_(state().mutex) {
  State& s = state();
  ++s.calls;
  if (throws == Throws::throws && s.pending)
    std::rethrow_exception(std::exchange(s.pending, nullptr));
  if (s.devices == 0 || s.no_devices != cudaSuccess)
    error = s.no_devices != cudaSuccess ? s.no_devices : cudaErrorNoDevice;
  if (s.sticky != cudaSuccess) error = s.sticky;
  if (s.fail_at > 0 && --s.fail_at == 0) {
    error = s.injected;
    if (loses_device(error)) s.sticky = error;
  }
  if (error != cudaSuccess) answer(error);
}

cudaError_t answer(cudaError_t error) {
  if (error != cudaSuccess && error != cudaErrorNotReady) state().last = error;
  return error;
}

void set_schedule(std::uint64_t seed) {
  state().seed = seed;
  state().launches = 0;
  state().streams = Random{seed};
}
void set_lazy(bool lazy) {
  finish_all();
  state().lazy = lazy;
}
void set_memory(std::size_t bytes) { state().memory = bytes; }
void set_first_device(int number) { state().first_bus = number; }
void set_capability(int capability) { state().capability = capability; }
void set_devices(int count, cudaError_t error) {
  state().devices = count;
  state().no_devices = error;
}
void fail_next(long n, cudaError_t error) {
  state().fail_at = n;
  state().injected = error;
}
long calls() { return state().calls; }
std::size_t used_bytes() { return state().used; }
std::size_t allocations() { return state().allocations; }

void reset() {
  State& s = state();
  drop_all();
  s.pending = nullptr;
  s.sticky = s.last = s.no_devices = s.injected = cudaSuccess;
  s.fail_at = 0;
  s.driver = CUDART_VERSION;
  s.devices = 1;
  s.device = 0;
  s.capability = 90;
  s.memory = std::size_t{4} << 30;
  s.lazy = false;
  set_schedule(0);
}

}  // namespace emulator

using emulator::state;

cudaError_t cudaGetLastError() {
  const cudaError_t last = state().last;
  state().last = state().sticky;
  return last;
}
cudaError_t cudaPeekAtLastError() { return state().last; }
