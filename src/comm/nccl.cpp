// Ranks that sum what lies on their CUDA devices through NCCL, on a stream of its own beside what
// the backend computes. What lies in host memory goes by way of another communicator where there
// is one, else through a little device memory.

#include <cuda_runtime.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <optional>
#include <utility>
#include <vector>

#include "comm/nccl_connection.h"
#include "kanbench/backend.h"
#include "kanbench/communicator.h"
#include "kanbench/error.h"
#include "kernels/runtime.h"
#include "kernels/wire.h"

namespace kanbench {
namespace {

using cuda::checked;
using nccl::Operation;
using nccl::Result;
using nccl::Type;

/// Device memory through which host memory goes.
constexpr std::int64_t kRoomBytes = std::int64_t{1} << 20;

/// Which device a rank is on, the same for two ranks only if they share it.
struct DeviceIdentity {
  char machine[40] = {}, bus[24] = {};
  bool operator==(const DeviceIdentity& other) const {
    return std::strcmp(machine, other.machine) == 0 && std::strcmp(bus, other.bus) == 0;
  }
};

// The device that a backend's memory is on.
int device_of(Backend& backend) {
  void* memory = backend.allocate(16);
  cudaPointerAttributes attributes{};
  const cudaError_t status = cudaPointerGetAttributes(&attributes, memory);
  backend.release(memory);
  checked(status);
  return attributes.device;
}

DeviceIdentity identify(int device) {
  DeviceIdentity identity;
  // A machine has one even where several containers on it have hosts' names of their own.
  std::ifstream("/proc/sys/kernel/random/boot_id")
      .getline(identity.machine, sizeof identity.machine);
  if (!identity.machine[0]) gethostname(identity.machine, sizeof identity.machine - 1);
  checked(cudaDeviceGetPCIBusId(identity.bus, sizeof identity.bus, device));
  return identity;
}

class NcclCommunicator : public Communicator {
 public:
  NcclCommunicator(const Launch& launch, std::unique_ptr<Communicator> host, double timeout)
      : launch_(launch),
        host_(std::move(host)),
        rank_(host_ ? host_->rank() : launch.rank),
        size_(host_ ? host_->size() : launch.size),
        connection_(rank_, size_, timeout) {}
  ~NcclCommunicator() override;

  std::string name() const override { return "nccl " + nccl::library().version; }
  int rank() const override { return rank_; }
  int size() const override { return size_; }
  int local_rank() const override { return host_ ? host_->local_rank() : launch_.local_rank; }
  int local_size() const override { return host_ ? host_->local_size() : launch_.local_size; }
  void attach(Backend& backend) override;

  void sum(double* values, std::int64_t count) override;
  void maximum(double* values, std::int64_t count) override;
  void broadcast(void* data, std::size_t bytes, int root) override;
  void all_gather(const void* mine, std::size_t bytes, void* all) override;
  void barrier() override;

  void begin_sum(float* block, Range part, Wire wire) override;
  void begin_scatter_sum(float* block, Range part, std::span<const Range> shares,
                         Wire wire) override;
  void begin_gather(float* block, std::span<const Range> shares) override;
  void finish() override;

  std::unique_ptr<ParallelFile> create_file(const std::filesystem::path& path,
                                            std::int64_t bytes) override {
    return host_ ? host_->create_file(path, bytes) : Communicator::create_file(path, bytes);
  }

 private:
  const nccl::Functions& functions() const { return nccl::library().functions; }
  void require_devices_apart(int device);
  nccl::UniqueId exchange_id();
  void follow_backend();
  void settle();
  /// Calls `operations`, which NCCL takes as one.
  template <class Operations>
  void group(Operations&& operations);
  void all_reduce(void* data, std::int64_t count, Type type, Operation operation);
  void combine(double* values, std::int64_t count, Operation operation);
  template <class Sum>
  void sum_halves(float* numbers, std::int64_t count, const Range& wanted, Sum&& sum);

  Launch launch_;
  std::unique_ptr<Communicator> host_;
  int rank_, size_;
  nccl::Connection connection_;
  Backend* backend_ = nullptr;
  cudaStream_t stream_ = nullptr;
  cudaEvent_t before_ = nullptr, after_ = nullptr;
  cuda::DeviceArray<std::byte> room_;
  cuda::DeviceArray<__half> wire_;
  cuda::DeviceArray<std::uint32_t> largest_;
};

NcclCommunicator::~NcclCommunicator() {
  if (connection_.busy) connection_.abandon();
  if (!stream_) return;
  cudaStreamSynchronize(stream_);
  cudaEventDestroy(before_);
  cudaEventDestroy(after_);
  cudaStreamDestroy(stream_);
}

void NcclCommunicator::attach(Backend& backend) {
  check(!backend_, "a communicator that is attached already");
  int device = 0;
  const auto look = [&] {
    if (backend.is_host())
      throw Error("--communicator nccl: " + backend.name() +
                  " is no CUDA device: use --device cuda, or --communicator mpi");
    device = device_of(backend);
  };
  if (host_)
    together(*host_, look);
  else
    look();
  checked(cudaSetDevice(device));
  if (host_) require_devices_apart(device);
  // What is sent should not wait for what is computed.
  checked(cudaStreamCreateWithPriority(&stream_, cudaStreamNonBlocking, -1));
  checked(cudaEventCreateWithFlags(&before_, cudaEventDisableTiming));
  checked(cudaEventCreateWithFlags(&after_, cudaEventDisableTiming));
  room_.reserve(kRoomBytes);
  largest_.reserve(1);
  connection_.open(exchange_id(), [device] { checked(cudaSetDevice(device)); });
  backend_ = &backend;
}

void NcclCommunicator::require_devices_apart(int device) {
  DeviceIdentity mine;
  together(*host_, [&] { mine = identify(device); });
  std::vector<DeviceIdentity> all(static_cast<std::size_t>(size_));
  host_->all_gather(&mine, sizeof mine, all.data());
  for (std::size_t b = 1; b < all.size(); ++b)
    for (std::size_t a = 0; a < b; ++a)
      if (all[a] == all[b])
        throw Error("--communicator nccl: ranks " + std::to_string(a) + " and " +
                    std::to_string(b) + " are on one GPU (" + all[a].bus +
                    "), where NCCL needs one each: start fewer ranks a machine, or use "
                    "--communicator mpi");
}

nccl::UniqueId NcclCommunicator::exchange_id() {
  nccl::UniqueId id{};
  const auto make = [&] {
    if (rank_ == 0 || !host_) connection_.checked(functions().get_unique_id(&id), "making an id");
  };
  if (host_) {
    together(*host_, make);
    host_->broadcast(&id, sizeof id, 0);
    return id;
  }
  // A user who sets it knows what for.
  if (size_ > 1 && !std::getenv("NCCL_COMM_ID")) {
    const char* agent = std::getenv("TORCHELASTIC_USE_AGENT_STORE");
    const std::string place =
        nccl::meeting_point(launch_, agent && std::strcmp(agent, "True") == 0);
    if (rank_ == 0) nccl::require_free_port(place);
    setenv("NCCL_COMM_ID", place.c_str(), 1);
  }
  make();
  return id;
}

// What is told to NCCL from here on sees what the backend was told before.
void NcclCommunicator::follow_backend() {
  connection_.handle();
  checked(cudaEventRecord(before_, static_cast<cudaStream_t>(backend_->queue())));
  checked(cudaStreamWaitEvent(stream_, before_, 0));
  connection_.busy = true;
}

// Waits for all that NCCL was told.
void NcclCommunicator::settle() {
  checked(cudaEventRecord(after_, stream_));
  connection_.wait([&] {
    const cudaError_t status = cudaEventQuery(after_);
    if (status != cudaErrorNotReady) checked(status);
    return status == cudaSuccess;
  });
}

template <class Operations>
void NcclCommunicator::group(Operations&& operations) {
  connection_.checked(functions().group_start(), "a group");
  operations();
  connection_.checked(functions().group_end(), "a group");
}

void NcclCommunicator::all_reduce(void* data, std::int64_t count, Type type, Operation operation) {
  connection_.busy = true;
  connection_.checked(functions().all_reduce(data, data, static_cast<std::size_t>(count), type,
                                             operation, connection_.handle(), stream_),
                      "a sum");
}

void NcclCommunicator::combine(double* values, std::int64_t count, Operation operation) {
  constexpr auto kMost = kRoomBytes / static_cast<std::int64_t>(sizeof(double));
  for (std::int64_t at = 0; at < count; at += kMost) {
    const std::int64_t part = std::min(kMost, count - at);
    const std::size_t bytes = static_cast<std::size_t>(part) * sizeof(double);
    checked(cudaMemcpyAsync(room_.data(), values + at, bytes, cudaMemcpyHostToDevice, stream_));
    all_reduce(room_.data(), part, Type::float64, operation);
    settle();
    checked(cudaMemcpyAsync(values + at, room_.data(), bytes, cudaMemcpyDeviceToHost, stream_));
    checked(cudaStreamSynchronize(stream_));
  }
}

void NcclCommunicator::sum(double* values, std::int64_t count) {
  host_ ? host_->sum(values, count) : combine(values, count, Operation::sum);
}

void NcclCommunicator::maximum(double* values, std::int64_t count) {
  host_ ? host_->maximum(values, count) : combine(values, count, Operation::maximum);
}

void NcclCommunicator::barrier() {
  double nothing = 0;
  host_ ? host_->barrier() : combine(&nothing, 1, Operation::sum);
}

void NcclCommunicator::broadcast(void* data, std::size_t bytes, int root) {
  if (host_) return host_->broadcast(data, bytes, root);
  auto* at = static_cast<std::byte*>(data);
  for (std::size_t part; bytes > 0; at += part, bytes -= part) {
    part = std::min(bytes, static_cast<std::size_t>(kRoomBytes));
    if (rank_ == root)
      checked(cudaMemcpyAsync(room_.data(), at, part, cudaMemcpyHostToDevice, stream_));
    connection_.busy = true;
    connection_.checked(functions().broadcast(room_.data(), room_.data(), part, Type::uint8, root,
                                              connection_.handle(), stream_),
                        "a broadcast");
    settle();
    if (rank_ == root) continue;
    checked(cudaMemcpyAsync(at, room_.data(), part, cudaMemcpyDeviceToHost, stream_));
    checked(cudaStreamSynchronize(stream_));
  }
}

void NcclCommunicator::all_gather(const void* mine, std::size_t bytes, void* all) {
  if (host_) return host_->all_gather(mine, bytes, all);
  auto* const to = static_cast<std::byte*>(all);
  const std::size_t most = static_cast<std::size_t>(kRoomBytes / (size_ + 1));
  for (std::size_t at = 0, part; at < bytes; at += part) {
    part = std::min(bytes - at, most);
    std::byte* const gathered = room_.data() + part;
    checked(cudaMemcpyAsync(room_.data(), static_cast<const std::byte*>(mine) + at, part,
                            cudaMemcpyHostToDevice, stream_));
    connection_.busy = true;
    connection_.checked(functions().all_gather(room_.data(), gathered, part, Type::uint8,
                                               connection_.handle(), stream_),
                        "a gathering");
    settle();
    for (int r = 0; r < size_; ++r) {
      const std::size_t rank = static_cast<std::size_t>(r);
      checked(cudaMemcpyAsync(to + rank * bytes + at, gathered + rank * part, part,
                              cudaMemcpyDeviceToHost, stream_));
    }
    checked(cudaStreamSynchronize(stream_));
  }
}

// The numbers as halves, `sum` of them, and back those in `wanted`.
template <class Sum>
void NcclCommunicator::sum_halves(float* numbers, std::int64_t count, const Range& wanted,
                                  Sum&& sum) {
  if (wire_.size() < count) {
    // Memory that grows waits for the device, and would do so for a rank that is gone.
    settle();
    wire_.reserve(count);
  }
  std::uint32_t* const largest = largest_.data();
  cuda::find_magnitude(numbers, count, largest, stream_);
  all_reduce(largest, 1, Type::uint32, Operation::maximum);
  cuda::pack_wire(numbers, count, largest, size_, wire_.data(), stream_);
  sum(wire_.data());
  cuda::unpack_wire(wire_.data() + wanted.begin, wanted.size(), largest, size_,
                    numbers + wanted.begin, stream_);
}

void NcclCommunicator::begin_sum(float* block, Range part, Wire wire) {
  follow_backend();
  float* const numbers = block + part.begin;
  const std::int64_t count = part.size();
  if (wire == Wire::fp32) return all_reduce(numbers, count, Type::float32, Operation::sum);
  sum_halves(numbers, count, {0, count},
             [&](__half* halves) { all_reduce(halves, count, Type::float16, Operation::sum); });
}

void NcclCommunicator::begin_scatter_sum(float* block, Range part, std::span<const Range> shares,
                                         Wire wire) {
  follow_backend();
  const auto mine = [&](int rank) {
    const Range own = overlap(part, shares[static_cast<std::size_t>(rank)]);
    return Range{own.begin - part.begin, own.end - part.begin};
  };
  const auto reduce = [&]<class Number>(Number* numbers, Type type) {
    group([&] {
      for (int r = 0; r < size_; ++r) {
        const Range own = mine(r);
        if (own.size() == 0) continue;
        connection_.checked(functions().reduce(numbers + own.begin, numbers + own.begin,
                                               static_cast<std::size_t>(own.size()), type,
                                               Operation::sum, r, connection_.handle(), stream_),
                            "a sum");
      }
    });
  };
  float* const numbers = block + part.begin;
  if (wire == Wire::fp32) return reduce(numbers, Type::float32);
  sum_halves(numbers, part.size(), mine(rank_),
             [&](__half* halves) { reduce(halves, Type::float16); });
}

void NcclCommunicator::begin_gather(float* block, std::span<const Range> shares) {
  follow_backend();
  group([&] {
    for (int r = 0; r < size_; ++r) {
      const Range& share = shares[static_cast<std::size_t>(r)];
      if (share.size() == 0) continue;
      connection_.checked(functions().broadcast(block + share.begin, block + share.begin,
                                                static_cast<std::size_t>(share.size()),
                                                Type::float32, r, connection_.handle(), stream_),
                          "a gathering");
    }
  });
}

void NcclCommunicator::finish() {
  if (!connection_.busy) return;
  settle();
  checked(cudaStreamWaitEvent(static_cast<cudaStream_t>(backend_->queue()), after_, 0));
}

}  // namespace

std::string why_no_nccl() {
  const std::string no_device = why_no_cuda();
  return no_device.empty() ? nccl::library().absence : no_device;
}

std::unique_ptr<Communicator> open_nccl(const Launch& launch, std::unique_ptr<Communicator> host,
                                        double timeout) {
  const std::string absence = why_no_nccl();
  if (!absence.empty()) throw Error("--communicator nccl: " + absence);
  const int size = host ? host->size() : launch.size;
  if (!host && size > 1 && !std::getenv("NCCL_COMM_ID")) nccl::meeting_point(launch, false);
  return std::make_unique<NcclCommunicator>(launch, std::move(host), timeout);
}

}  // namespace kanbench
