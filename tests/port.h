#pragma once
// A port of this machine, listened at until it is let go.

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>

namespace kanbench::test {

/// A port that nothing listened at a moment ago.
class Port {
 public:
  Port() : server_(socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof at;
    if (bind(server_, reinterpret_cast<sockaddr*>(&at), size) != 0 || listen(server_, 1) != 0 ||
        getsockname(server_, reinterpret_cast<sockaddr*>(&at), &size) != 0)
      std::abort();
    number_ = ntohs(at.sin_port);
  }
  ~Port() { free(); }
  int number() const { return number_; }
  void free() {
    if (server_ >= 0) close(server_);
    server_ = -1;
  }

 private:
  int server_, number_ = 0;
};

}  // namespace kanbench::test
