#include "comm/mpi_communicator.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <utility>
#include <vector>

#include "comm/mpi_exchange.h"
#include "comm/mpi_worker.h"
#include "comm/parallel_file.h"
#include "io/partial_file.h"
#include "kanbench/backend.h"
#include "kanbench/error.h"

namespace kanbench {
namespace {

/// Bytes that MPI is handed at once.
constexpr std::size_t kBytesAtOnce = std::size_t{1} << 30;
/// Bytes of all ranks' numbers that are on one rank at once.
constexpr std::size_t kGathered = std::size_t{1} << 23;

class MpiCommunicator : public Communicator {
 public:
  MpiCommunicator(std::function<std::unique_ptr<Mpi>()> open, double timeout)
      : worker_(std::move(open), timeout) {}
  ~MpiCommunicator() override;

  std::string name() const override { return "mpi"; }
  int rank() const override { return worker_.rank(); }
  int size() const override { return worker_.size(); }
  int local_rank() const override;
  int local_size() const override { return static_cast<int>(worker_.peers().size()); }
  void attach(Backend& backend) override;

  void sum(double* values, std::int64_t count) override {
    combine(values, count, [](double a, double b) { return a + b; });
  }
  void maximum(double* values, std::int64_t count) override {
    combine(values, count, [](double a, double b) { return std::isnan(a) || a > b ? a : b; });
  }
  void broadcast(void* data, std::size_t bytes, int root) override;
  void all_gather(const void* mine, std::size_t bytes, void* all) override;
  void barrier() override {
    worker_.run([](MpiTurn& turn) {
      turn.mpi.begin_barrier();
      turn.settle();
    });
  }

  void begin_sum(float* block, Range part, Wire wire) override;
  void begin_scatter_sum(float* block, Range part, std::span<const Range> shares,
                         Wire wire) override;
  void begin_gather(float* block, std::span<const Range> shares) override;
  void finish() override;

  std::unique_ptr<ParallelFile> create_file(const std::filesystem::path& path,
                                            std::int64_t bytes) override;

 private:
  /// Host memory that blocks pass through.
  struct Room {
    void* memory = nullptr;
    std::size_t bytes = 0;
    bool taken = false;
  };

  template <class Join>
  void combine(double* values, std::int64_t count, Join&& join);
  float* take_room(std::int64_t floats);
  std::int64_t begin_waiting();
  void begin_pieces(float* block, Range part, std::vector<Range> pieces, Wire wire,
                    bool everywhere);

  Backend* backend_ = nullptr;
  bool direct_ = false;
  MpiSum sum_;
  std::vector<Room> rooms_;
  std::int64_t last_ = 0;
  // Ends first: what it does uses the rest.
  MpiWorker worker_;
};

MpiCommunicator::~MpiCommunicator() {
  // What is under way uses the rooms, and may never be done where this rank ends by a failure.
  if (std::uncaught_exceptions() > 0) return;
  try {
    if (last_ > 0) worker_.wait(last_);
  } catch (...) {
    return;
  }
  for (const Room& room : rooms_) backend_->release_host(room.memory);
}

int MpiCommunicator::local_rank() const {
  const auto& peers = worker_.peers();
  const auto mine = std::find_if(peers.begin(), peers.end(),
                                 [&](const MpiPeer& peer) { return peer.rank == rank(); });
  return static_cast<int>(mine - peers.begin());
}

void MpiCommunicator::attach(Backend& backend) {
  check(!backend_, "a communicator that is attached already");
  backend_ = &backend;
  const char* staged = std::getenv("KANBENCH_MPI_STAGED");
  double refused =
      (staged && std::strcmp(staged, "1") == 0) || backend.is_host() || !worker_.reads_devices()
          ? 1
          : 0;
  maximum(&refused, 1);
  direct_ = refused == 0;
}

template <class Join>
void MpiCommunicator::combine(double* values, std::int64_t count, Join&& join) {
  const auto ranks = static_cast<std::size_t>(size());
  const std::int64_t most =
      std::max<std::int64_t>(1, static_cast<std::int64_t>(kGathered / sizeof(double) / ranks));
  std::vector<double> all;
  for (std::int64_t at = 0; at < count; at += most) {
    const auto part = static_cast<std::size_t>(std::min(most, count - at));
    all.resize(part * ranks);
    all_gather(values + at, part * sizeof(double), all.data());
    for (std::size_t i = 0; i < part; ++i) {
      double joined = all[i];
      for (std::size_t r = 1; r < ranks; ++r) joined = join(joined, all[r * part + i]);
      values[at + static_cast<std::int64_t>(i)] = joined;
    }
  }
}

void MpiCommunicator::broadcast(void* data, std::size_t bytes, int root) {
  if (bytes == 0) return;
  worker_.run([=](MpiTurn& turn) {
    for (std::size_t at = 0; at < bytes; at += kBytesAtOnce) {
      turn.mpi.begin_broadcast(static_cast<char*>(data) + at, std::min(kBytesAtOnce, bytes - at),
                               root);
      turn.settle();
    }
  });
}

void MpiCommunicator::all_gather(const void* mine, std::size_t bytes, void* all) {
  if (bytes == 0) return;
  const auto ranks = static_cast<std::size_t>(size());
  if (bytes <= kBytesAtOnce / ranks)
    return worker_.run([=](MpiTurn& turn) {
      turn.mpi.begin_all_gather(mine, bytes, all);
      turn.settle();
    });
  char* const to = static_cast<char*>(all);
  std::memmove(to + static_cast<std::size_t>(rank()) * bytes, mine, bytes);
  for (std::size_t r = 0; r < ranks; ++r) broadcast(to + r * bytes, bytes, static_cast<int>(r));
}

float* MpiCommunicator::take_room(std::int64_t floats) {
  const std::size_t bytes = static_cast<std::size_t>(floats) * sizeof(float);
  Room* best = nullptr;
  for (Room& room : rooms_)
    if (!room.taken && room.bytes >= bytes && (!best || room.bytes < best->bytes)) best = &room;
  if (!best) {
    rooms_.push_back({backend_->allocate_host(bytes), bytes, false});
    best = &rooms_.back();
  }
  best->taken = true;
  return static_cast<float*>(best->memory);
}

// A fetch of nothing, which is done when what the backend was told before is.
std::int64_t MpiCommunicator::begin_waiting() {
  return backend_->begin_fetch(take_room(1), nullptr, 0);
}

void MpiCommunicator::begin_pieces(float* block, Range part, std::vector<Range> pieces, Wire wire,
                                   bool everywhere) {
  check(backend_, "a communicator that is attached");
  if (part.size() == 0 || size() == 1) return;
  if (backend_->is_host()) {
    last_ = worker_.begin([this, block, pieces = std::move(pieces), wire, everywhere](
                              MpiTurn& turn) { sum_.sum(turn, block, pieces, wire, everywhere); });
    return;
  }
  if (direct_ && wire == Wire::fp32) {
    const std::int64_t told = begin_waiting();
    last_ = worker_.begin([this, told, block, part, pieces = std::move(pieces),
                           everywhere](MpiTurn& turn) {
      backend_->finish_fetch(told);
      if (everywhere) return turn.mpi.sum_on_device(block + part.begin, part.size());
      for (std::size_t r = 0; r < pieces.size(); ++r)
        turn.mpi.reduce_on_device(block + pieces[r].begin, pieces[r].size(), static_cast<int>(r));
    });
    return;
  }
  float* const room = take_room(part.size());
  const std::size_t bytes = static_cast<std::size_t>(part.size()) * sizeof(float);
  const std::int64_t fetch = backend_->begin_fetch(room, block + part.begin, bytes);
  for (Range& piece : pieces) piece = {piece.begin - part.begin, piece.end - part.begin};
  last_ = worker_.begin([this, fetch, room, block, part, pieces = std::move(pieces), wire,
                         everywhere](MpiTurn& turn) {
    backend_->finish_fetch(fetch);
    sum_.sum(turn, room, pieces, wire, everywhere);
    const Range& own =
        everywhere ? Range{0, part.size()} : pieces[static_cast<std::size_t>(turn.mpi.rank())];
    if (own.size() > 0)
      backend_->stage(block + part.begin + own.begin, room + own.begin,
                      static_cast<std::size_t>(own.size()) * sizeof(float));
  });
}

void MpiCommunicator::begin_sum(float* block, Range part, Wire wire) {
  begin_pieces(block, part, split_evenly(part, size()), wire, true);
}

void MpiCommunicator::begin_scatter_sum(float* block, Range part, std::span<const Range> shares,
                                        Wire wire) {
  begin_pieces(block, part, cut_by(part, shares), wire, false);
}

void MpiCommunicator::begin_gather(float* block, std::span<const Range> shares) {
  check(backend_, "a communicator that is attached");
  if (size() == 1) return;
  std::vector<Range> pieces(shares.begin(), shares.end());
  if (backend_->is_host()) {
    last_ =
        worker_.begin([this, block, pieces](MpiTurn& turn) { sum_.gather(turn, block, pieces); });
    return;
  }
  if (direct_) {
    const std::int64_t told = begin_waiting();
    last_ = worker_.begin([this, told, block, pieces](MpiTurn& turn) {
      backend_->finish_fetch(told);
      for (std::size_t r = 0; r < pieces.size(); ++r)
        turn.mpi.broadcast_on_device(block + pieces[r].begin, pieces[r].size(),
                                     static_cast<int>(r));
    });
    return;
  }
  // In the room the shares lie one after the other.
  std::vector<Range> packed;
  std::int64_t at = 0;
  for (const Range& piece : pieces) packed.push_back({at, at + piece.size()}), at += piece.size();
  if (at == 0) return;
  float* const room = take_room(at);
  const auto mine = static_cast<std::size_t>(rank());
  const std::int64_t fetch =
      backend_->begin_fetch(room + packed[mine].begin, block + pieces[mine].begin,
                            static_cast<std::size_t>(pieces[mine].size()) * sizeof(float));
  last_ = worker_.begin([=, this](MpiTurn& turn) {
    backend_->finish_fetch(fetch);
    sum_.gather(turn, room, packed);
    for (std::size_t r = 0; r < pieces.size(); ++r)
      if (r != mine && pieces[r].size() > 0)
        backend_->stage(block + pieces[r].begin, room + packed[r].begin,
                        static_cast<std::size_t>(pieces[r].size()) * sizeof(float));
  });
}

void MpiCommunicator::finish() {
  if (last_ == 0) return;
  worker_.wait(last_);
  last_ = 0;
  if (!backend_->is_host()) backend_->finish_staging();
  for (Room& room : rooms_) room.taken = false;
}

std::unique_ptr<ParallelFile> MpiCommunicator::create_file(const std::filesystem::path& path,
                                                           std::int64_t bytes) {
  const auto file = std::make_shared<std::int64_t>(0);
  const auto beside = std::make_shared<std::filesystem::path>();
  FileAccess access;
  access.open = [this, path, file, beside](const std::filesystem::path& partial) {
    *beside = partial;
    // MPI's reasons are vague, and the system's are not.
    const int tried = open_retrying(partial, O_WRONLY);
    if (tried < 0) fail_on_file(path, "cannot be written", errno);
    ::close(tried);
    worker_.run([&](MpiTurn& turn) { *file = turn.mpi.open_file(partial.string()); });
  };
  access.write = [this, path, file, beside](std::int64_t offset, const void* data,
                                            std::size_t size) {
    bool failed = false;
    worker_.run([&](MpiTurn& turn) {
      try {
        turn.mpi.write_file(*file, offset, data, size);
      } catch (const SystemError&) {
        failed = true;
      }
    });
    if (!failed) return;
    int descriptor = open_retrying(*beside, O_WRONLY);
    if (descriptor < 0) fail_on_file(path, "writing failed", errno);
    try {
      write_at(path, descriptor, offset, data, size);
    } catch (...) {
      ::close(descriptor);
      throw;
    }
    close_flushed(path, descriptor);
  };
  access.close = [this, path, file](bool flush) {
    std::string reason;
    try {
      worker_.run([&](MpiTurn& turn) {
        try {
          turn.mpi.close_file(*file, flush);
        } catch (const SystemError& error) {
          reason = error.what();
        }
      });
    } catch (...) {
      if (flush) throw;
    }
    if (flush && !reason.empty()) throw SystemError(path.string() + ": writing failed: " + reason);
  };
  return create_parallel_file(*this, path, bytes, std::move(access));
}

}  // namespace

std::unique_ptr<Communicator> open_mpi_communicator(std::function<std::unique_ptr<Mpi>()> open,
                                                    double timeout) {
  return std::make_unique<MpiCommunicator>(std::move(open), timeout);
}

}  // namespace kanbench
