#pragma once
// This rank's end of an NCCL communicator: how it comes about, how it fails, and how long it waits.

#include <functional>
#include <string>

#include "comm/nccl_library.h"
#include "kanbench/launch.h"

namespace kanbench::nccl {

/// What NCCL_COMM_ID is to say for ranks that nothing but the launch's master address connects.
/// Throws Error where the launch has none. `agent` says that MASTER_PORT is the launcher's own, as
/// torchrun has it: the port after it is meant then.
std::string meeting_point(const Launch& launch, bool agent);

/// Throws Error where no server could be started at this "address:port" of this machine.
void require_free_port(const std::string& meeting_point);

class Connection {
 public:
  Connection(int rank, int ranks, double timeout) : rank_(rank), ranks_(ranks), timeout_(timeout) {}
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;
  /// Takes leave of the others where all that was begun is done, else ends without them.
  ~Connection();

  /// Meets the other ranks; `prepare` is called first, in the thread that does. Throws Error where
  /// two ranks are on one device, SystemError where the others do not come in time.
  void open(const UniqueId& id, const std::function<void()>& prepare);
  /// Throws SystemError where it was never open, or has failed.
  Handle handle() const;
  /// Throws SystemError, having ended the connection, unless `result` is success.
  void checked(Result result, const char* what);
  /// Waits until `done`. Throws SystemError, having ended the connection, where NCCL fails
  /// meanwhile or it takes longer than the timeout.
  void wait(const std::function<bool()>& done);
  /// Ends without the others.
  void abandon() noexcept;
  /// Whether something was begun of which it is not known that it is done.
  bool busy = false;

 private:
  [[noreturn]] void fail(const std::string& why);
  std::string waited() const;

  int rank_, ranks_;
  double timeout_;
  Handle handle_ = nullptr;
};

}  // namespace kanbench::nccl
