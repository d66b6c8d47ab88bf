// Meets, waits, fails.

#include "comm/nccl_connection.h"

#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <future>
#include <memory>
#include <thread>

#include "kanbench/error.h"

namespace kanbench::nccl {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point began) {
  return std::chrono::duration<double>(Clock::now() - began).count();
}

std::string text_of(double number) {
  std::string text = std::to_string(number);
  text.erase(text.find_last_not_of('0') + 1);
  if (text.back() == '.') text.pop_back();
  return text;
}

// NCCL's words for `result`, and what it said last where it says more.
std::string words(Result result, Handle handle) {
  const Functions& f = library().functions;
  std::string text = f.get_error_string(result);
  const char* last = f.get_last_error ? f.get_last_error(handle) : nullptr;
  if (last && *last) text += std::string(" (") + last + ")";
  for (char& c : text)
    if (c == '\n') c = ' ';
  while (!text.empty() && text.back() == ' ') text.pop_back();
  return text;
}

}  // namespace

std::string meeting_point(const Launch& launch, bool agent) {
  std::string missing;
  if (launch.master_address.empty()) missing = "MASTER_ADDR";
  if (launch.master_port == 0) missing += missing.empty() ? "MASTER_PORT" : " and MASTER_PORT";
  if (!missing.empty())
    throw Error("--communicator nccl: " + missing + (missing.size() > 11 ? " are" : " is") +
                " not set, where ranks meet without MPI: set MASTER_ADDR to rank 0's machine and "
                "MASTER_PORT to a free port of it, the same for all, or use --communicator mpi");
  const std::string& address = launch.master_address;
  const bool is_ipv6 = address.find(':') != std::string::npos && address.front() != '[';
  return (is_ipv6 ? "[" + address + "]" : address) + ":" +
         std::to_string(launch.master_port + (agent ? 1 : 0));
}

void require_free_port(const std::string& meeting_point) {
  const std::size_t colon = meeting_point.rfind(':');
  const std::string port = meeting_point.substr(colon + 1);
  std::string address = meeting_point.substr(0, colon);
  if (!address.empty() && address.front() == '[') address = address.substr(1, address.size() - 2);
  addrinfo hints{}, *found = nullptr;
  hints.ai_socktype = SOCK_STREAM;
  if (const int status = getaddrinfo(address.c_str(), port.c_str(), &hints, &found))
    throw Error("MASTER_ADDR " + address + ": " + gai_strerror(status) +
                ": set it to the name or address of rank 0's machine");
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> owner(found, freeaddrinfo);
  const int server = socket(found->ai_family, SOCK_STREAM, 0);
  if (server < 0) return;
  const int yes = 1;
  setsockopt(server, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  const bool bound = bind(server, found->ai_addr, found->ai_addrlen) == 0 && listen(server, 1) == 0;
  const int reason = errno;
  close(server);
  if (bound) return;
  if (reason == EADDRINUSE)
    throw Error("MASTER_PORT " + port + " of " + address +
                " is taken: set it to a free port, the same for all ranks");
  if (reason == EADDRNOTAVAIL)
    throw Error("MASTER_ADDR " + address +
                " is not of this machine, which rank 0 is on: set it to rank 0's machine");
  throw Error("MASTER_PORT " + port + " of " + address + ": " + std::strerror(reason) +
              ": set it to a free port, the same for all ranks");
}

Connection::~Connection() {
  if (busy) abandon();
  if (handle_) library().functions.destroy(handle_);
}

std::string Connection::waited() const {
  return "rank " + std::to_string(rank_) + " of " + std::to_string(ranks_) + " waited " +
         text_of(timeout_) +
         " s for the others, of which one is gone or stuck: see what they say (--timeout sets how "
         "long to wait)";
}

void Connection::open(const UniqueId& id, const std::function<void()>& prepare) {
  struct Meeting {
    std::promise<Result> result;
    Handle handle = nullptr;
    std::string words;
  };
  // NCCL waits for the others without end: the thread is left behind where they do not come.
  const auto meeting = std::make_shared<Meeting>();
  std::future<Result> result = meeting->result.get_future();
  std::thread([meeting, id, prepare, rank = rank_, ranks = ranks_] {
    try {
      prepare();
      const Result met = library().functions.init_rank(&meeting->handle, ranks, id, rank);
      if (met != Result::success) meeting->words = words(met, nullptr);
      meeting->result.set_value(met);
    } catch (...) {
      meeting->result.set_exception(std::current_exception());
    }
  }).detach();
  if (result.wait_for(std::chrono::duration<double>(timeout_)) != std::future_status::ready)
    throw SystemError("NCCL: " + waited());
  const Result met = result.get();
  if (met == Result::invalid_usage)
    throw Error("--communicator nccl: rank " + std::to_string(rank_) +
                " may share its GPU with another rank, and NCCL needs one each: " + meeting->words +
                ": start fewer ranks a machine, or use --communicator mpi");
  if (met != Result::success)
    throw SystemError("NCCL: rank " + std::to_string(rank_) +
                      " could not meet the others: " + meeting->words);
  handle_ = meeting->handle;
}

Handle Connection::handle() const {
  if (!handle_) throw SystemError("NCCL: there is no connection to the other ranks any more");
  return handle_;
}

void Connection::abandon() noexcept {
  if (handle_) library().functions.abort(handle_);
  handle_ = nullptr;
  busy = false;
}

void Connection::fail(const std::string& why) {
  abandon();
  throw SystemError("NCCL: " + why);
}

void Connection::checked(Result result, const char* what) {
  if (result != Result::success && result != Result::in_progress)
    fail(std::string(what) + " failed: " + words(result, handle_));
}

void Connection::wait(const std::function<bool()>& done) {
  const Clock::time_point began = Clock::now();
  while (!done()) {
    Result error = Result::success;
    checked(library().functions.get_async_error(handle(), &error), "asking how it stands");
    checked(error, "exchanging with the other ranks");
    const double seconds = seconds_since(began);
    if (seconds > timeout_) fail(waited());
    // A step's sums take microseconds: only what takes long is worth a nap.
    if (seconds > 2e-3)
      std::this_thread::sleep_for(std::chrono::microseconds(50));
    else
      std::this_thread::yield();
  }
  busy = false;
}

}  // namespace kanbench::nccl
