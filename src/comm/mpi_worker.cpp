#include "comm/mpi_worker.h"

#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <exception>
#include <fstream>
#include <iterator>
#include <mutex>
#include <sstream>

#include "kanbench/communicator.h"
#include "kanbench/error.h"

namespace kanbench {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::microseconds;
using std::chrono::milliseconds;

double seconds_since(Clock::time_point then) {
  return std::chrono::duration<double>(Clock::now() - then).count();
}

// When that process began, in the system's ticks; empty where it has ended.
std::string start_of(std::int64_t process) {
  std::ifstream in("/proc/" + std::to_string(process) + "/stat");
  const std::string line{std::istreambuf_iterator<char>(in), {}};
  const std::size_t name_end = line.rfind(')');
  if (name_end == std::string::npos) return "";
  std::istringstream rest(line.substr(name_end + 1));
  std::string state, word;
  rest >> state;
  if (state == "Z" || state == "X") return "";
  for (int field = 4; field <= 22; ++field) rest >> word;
  return word;
}

}  // namespace

struct MpiWorker::State {
  std::mutex mutex;
  std::condition_variable told, changed;
  std::deque<Operation> operations;
  std::int64_t begun = 0, done = 0;
  Clock::time_point progress = Clock::now();
  std::exception_ptr failure;
  /// `idle`: the thread has nothing under way and begins nothing more.
  bool quits = false, idle = false;
  std::atomic<bool> given_up{false};
  std::function<std::unique_ptr<Mpi>()> open;
  std::unique_ptr<Mpi> mpi;
  int rank = 0, size = 1;
  bool reads_devices = false;
  std::vector<MpiPeer> peers;
  std::vector<std::string> starts;
  std::atomic<int>* spoken = nullptr;
};

void MpiTurn::settle() {
  // Ranks may be more than cores: whoever waits long leaves the core to others.
  for (std::int64_t polls = 0; !mpi.done(); ++polls) {
    if (given_up_()) throw SystemError("MPI: given up");
    if (polls < 100 || polls % 8 != 0)
      std::this_thread::yield();
    else
      std::this_thread::sleep_for(microseconds(polls < 20000 ? 20 : 200));
  }
}

/// Looks now and then whether the other processes of this machine are there.
class MpiWorker::Watch {
 public:
  explicit Watch(const State& state) : state_(state) {}

  void look() {
    if (seconds_since(looked_) < 0.05) return;
    looked_ = Clock::now();
    std::vector<int> ended;
    for (std::size_t i = 0; i < state_.peers.size(); ++i)
      // What could not be seen from the start says nothing now.
      if (!state_.starts[i].empty() && start_of(state_.peers[i].process) != state_.starts[i])
        ended.push_back(state_.peers[i].rank);
    if (ended.empty()) return;
    // What it sent before it ended may still be on its way.
    if (ended_.empty()) seen_ = Clock::now();
    ended_ = ended;
    if (seconds_since(seen_) > 0.2) end();
  }

 private:
  [[noreturn]] void end() const {
    const auto alive =
        std::find_if(state_.peers.begin(), state_.peers.end(), [&](const MpiPeer& peer) {
          return std::find(ended_.begin(), ended_.end(), peer.rank) == ended_.end();
        });
    const bool speaks = state_.spoken ? state_.spoken->exchange(1) == 0
                                      : alive != state_.peers.end() && alive->rank == state_.rank;
    const std::string line = "kanbench: rank " + std::to_string(ended_.front()) +
                             " has ended: the others end too; `--resume` goes on from the last "
                             "checkpoint\n";
    if (speaks && ::write(STDERR_FILENO, line.data(), line.size()) < 0) ::_exit(1);
    ::_exit(1);
  }

  const State& state_;
  Clock::time_point looked_ = Clock::now(), seen_;
  std::vector<int> ended_;
};

MpiWorker::MpiWorker(std::function<std::unique_ptr<Mpi>()> open, double timeout)
    : state_(std::make_shared<State>()), timeout_(timeout) {
  state_->open = std::move(open);
  state_->operations.emplace_back([](MpiTurn&) {});
  state_->begun = 1;
  thread_ = std::thread([state = state_] { work(state); });
  try {
    wait(1);
  } catch (...) {
    end_thread();
    throw;
  }
}

bool MpiWorker::open(State& state) {
  try {
    std::unique_ptr<Mpi> mpi = state.open();
    std::vector<std::string> starts;
    for (const MpiPeer& peer : mpi->peers()) starts.push_back(start_of(peer.process));
    const std::lock_guard lock(state.mutex);
    state.rank = mpi->rank();
    state.size = mpi->size();
    state.reads_devices = mpi->reads_devices();
    state.peers = mpi->peers();
    state.starts = std::move(starts);
    state.spoken = mpi->shared_number();
    state.mpi = std::move(mpi);
    return true;
  } catch (...) {
    const std::lock_guard lock(state.mutex);
    if (!state.failure) state.failure = std::current_exception();
    state.idle = true;
    state.changed.notify_all();
    return false;
  }
}

void MpiWorker::work(const std::shared_ptr<State>& state) {
  // Sleeps of microseconds would otherwise last fifty longer.
  prctl(PR_SET_TIMERSLACK, 1000UL, 0UL, 0UL, 0UL);
  if (!open(*state)) return;
  MpiTurn turn(*state->mpi, [&state] { return state->given_up.load(); });
  for (;;) {
    Operation operation;
    {
      std::unique_lock lock(state->mutex);
      state->told.wait(lock, [&] { return state->quits || !state->operations.empty(); });
      if (state->operations.empty()) return;
      operation = std::move(state->operations.front());
      state->operations.pop_front();
    }
    std::exception_ptr failure;
    try {
      operation(turn);
    } catch (...) {
      failure = std::current_exception();
    }
    operation = nullptr;
    const std::lock_guard lock(state->mutex);
    state->progress = Clock::now();
    if (!state->failure) state->failure = failure;
    if (!state->failure) ++state->done;
    state->idle = state->failure != nullptr;
    state->changed.notify_all();
    if (state->failure) return;
  }
}

std::int64_t MpiWorker::begin(Operation operation) {
  const std::lock_guard lock(state_->mutex);
  if (state_->failure) std::rethrow_exception(state_->failure);
  state_->operations.push_back(std::move(operation));
  state_->told.notify_one();
  return ++state_->begun;
}

void MpiWorker::wait(std::int64_t number) {
  Watch watch(*state_);
  const Clock::time_point began = Clock::now();
  std::unique_lock lock(state_->mutex);
  for (;;) {
    if (state_->done >= number) return;
    if (state_->failure) std::rethrow_exception(state_->failure);
    if (seconds_since(std::max(began, state_->progress)) > timeout_) break;
    const bool changed =
        state_->changed.wait_for(lock, milliseconds(20)) != std::cv_status::timeout;
    if (changed || state_->done >= number || !state_->mpi) continue;
    lock.unlock();
    watch.look();
    lock.lock();
  }
  std::ostringstream message;
  message << "MPI: other ranks did not answer for " << timeout_
          << " s: they have ended, or --timeout is too short for the work between two answers";
  state_->failure = std::make_exception_ptr(SystemError(message.str()));
  give_up(lock);
  std::rethrow_exception(state_->failure);
}

int MpiWorker::rank() const { return state_->rank; }
int MpiWorker::size() const { return state_->size; }
const std::vector<MpiPeer>& MpiWorker::peers() const { return state_->peers; }
bool MpiWorker::reads_devices() const { return state_->reads_devices; }

void MpiWorker::leave() {
  const std::int64_t left = begin([](MpiTurn& turn) {
    turn.mpi.begin_leave();
    turn.settle();
  });
  // Where this rank ends by a failure of its own the others may not come.
  if (std::uncaught_exceptions() > 0 && !failed_together()) timeout_ = std::min(timeout_, 0.5);
  wait(left);
  const std::int64_t ended = begin([](MpiTurn& turn) { turn.mpi.end(); });
  std::unique_lock lock(state_->mutex);
  state_->changed.wait_for(lock, std::chrono::duration<double>(timeout_),
                           [&] { return state_->done >= ended || state_->failure; });
  if (state_->done < ended) give_up(lock);
}

void MpiWorker::give_up(std::unique_lock<std::mutex>& lock) {
  state_->given_up = true;
  // What is under way uses its caller's memory; within MPI itself the thread may wait for ever.
  state_->changed.wait_for(lock, std::chrono::seconds(1), [&] { return state_->idle; });
}

MpiWorker::~MpiWorker() {
  try {
    leave();
  } catch (...) {
    std::unique_lock lock(state_->mutex);
    if (!state_->idle) give_up(lock);
  }
  {
    const std::lock_guard lock(state_->mutex);
    state_->quits = true;
    state_->told.notify_all();
  }
  end_thread();
}

void MpiWorker::end_thread() {
  bool stuck = false;
  {
    const std::lock_guard lock(state_->mutex);
    stuck = state_->given_up && !state_->idle;
  }
  stuck ? thread_.detach() : thread_.join();
}

}  // namespace kanbench
