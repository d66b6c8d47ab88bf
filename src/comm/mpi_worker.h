#pragma once
// The thread that alone calls MPI, in the order of what it was told, while the program computes;
// and how long it is waited for.

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "comm/mpi_plugin.h"

namespace kanbench {

/// One operation's turn: what it begins with MPI, it waits for with settle().
class MpiTurn {
 public:
  MpiTurn(Mpi& mpi, std::function<bool()> given_up) : mpi(mpi), given_up_(std::move(given_up)) {}
  /// Throws SystemError where nobody waits for it any more.
  void settle();

  Mpi& mpi;

 private:
  std::function<bool()> given_up_;
};

class MpiWorker {
 public:
  using Operation = std::function<void(MpiTurn&)>;

  /// `open` gives MPI, called by the thread. Throws what it throws, SystemError where it takes
  /// longer than `timeout` seconds.
  MpiWorker(std::function<std::unique_ptr<Mpi>()> open, double timeout);
  /// Takes leave of MPI with the others, if nothing failed and they come.
  ~MpiWorker();
  MpiWorker(const MpiWorker&) = delete;
  MpiWorker& operator=(const MpiWorker&) = delete;

  /// After all that was begun before. Throws what an earlier operation threw.
  std::int64_t begin(Operation operation);
  /// Until this operation, and all before it, are done. Throws what one of them threw; SystemError
  /// where for `timeout` seconds none was done. Where a rank of this machine has ended, this
  /// process ends too, with exit status 1 and one line from one of the ranks: the launcher is about
  /// to kill it, and the others cannot be asked.
  void wait(std::int64_t number);
  void run(Operation operation) { wait(begin(std::move(operation))); }

  int rank() const;
  int size() const;
  const std::vector<MpiPeer>& peers() const;
  bool reads_devices() const;

 private:
  struct State;
  class Watch;
  static bool open(State& state);
  static void work(const std::shared_ptr<State>& state);
  void leave();
  void give_up(std::unique_lock<std::mutex>& lock);
  void end_thread();

  std::shared_ptr<State> state_;
  std::thread thread_;
  double timeout_;
};

}  // namespace kanbench
