// A TCP proxy across the border of an environment. Ingress: listens on the host's loopback, connects to a service's
// address inside. Egress: listens inside, and gets its connections from whoever may make them outside. Which namespace
// a socket lives in was decided where it was made; nothing here knows.
#ifndef MAYFLY_SERVER_ENGINE_PARTS_PROXY_H_
#define MAYFLY_SERVER_ENGINE_PARTS_PROXY_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "server/engine/parts/reactor.h"
#include "server/engine/parts/relay.h"

namespace mayfly {

// Asks for a connection to the other end: `done` once, inline or later, with a connected or connecting stream socket
// that then belongs to the proxy, or with why there is none. A `done` that comes after the proxy's end closes the
// socket.
using ConnectFn = std::function<void(std::function<void(absl::StatusOr<int> fd)> done)>;

// Connects from the calling process's network namespace. Never waits; the socket is connecting when `done` gets it.
ConnectFn ConnectToAddress(absl::string_view ipv4_address, int port);

// A listening socket, close-on-exec and non-blocking, on an IPv4 address of the calling process's network namespace.
// Port 0: the kernel chooses. ALREADY_EXISTS when the port is taken, PERMISSION_DENIED for a privileged one.
absl::StatusOr<int> ListenOn(absl::string_view ipv4_address, int port);
// Listens on the host's loopback for an exposed port: on `host_port`, or where that is 0 on a port that is the same
// each time for the same `key` as far as it is free. RESOURCE_EXHAUSTED when no port is.
absl::StatusOr<int> ListenOnHost(absl::string_view key, int host_port);
// The port that a listening socket got.
int PortOf(int fd);

// Not thread-safe.
class TcpProxy {
 public:
  struct Options {
    int max_connections = 256;                         // Beyond it new ones wait in the listen queue.
    absl::Duration connect_limit = absl::Seconds(10);  // For `done` to come; then the accepted one is reset.
  };
  // Takes over the listening socket. FAILED_PRECONDITION when it does not listen; the reactor's errors.
  static absl::StatusOr<std::unique_ptr<TcpProxy>> Create(Reactor& reactor, int listen_fd, ConnectFn connect,
                                                          Options options);
  static absl::StatusOr<std::unique_ptr<TcpProxy>> Create(Reactor& reactor, int listen_fd, ConnectFn connect) {
    return Create(reactor, listen_fd, std::move(connect), Options());
  }
  ~TcpProxy();  // Ends all connections.
  TcpProxy(const TcpProxy&) = delete;
  TcpProxy& operator=(const TcpProxy&) = delete;

  int port() const { return PortOf(listen_fd_); }
  int connections() const { return static_cast<int>(links_.size()); }
  int64_t accepted() const { return accepted_; }

 private:
  struct Link {
    int accepted_fd = -1;  // Until it is joined.
    Reactor::TimerId limit = 0;
    std::unique_ptr<Relay> relay;
  };
  TcpProxy(Reactor& reactor, int listen_fd, ConnectFn connect, Options options);
  void Accept();
  void Join(uint64_t id, absl::StatusOr<int> fd);
  void End(uint64_t id);
  absl::Status Listen();
  void Pause();

  Reactor& reactor_;
  const int listen_fd_;
  const ConnectFn connect_;
  const Options options_;
  bool listening_ = false;
  Reactor::TimerId retry_ = 0;
  uint64_t next_id_ = 1;
  int64_t accepted_ = 0;
  std::map<uint64_t, Link> links_;
  std::shared_ptr<TcpProxy*> self_;
};

}  // namespace mayfly

#endif  // MAYFLY_SERVER_ENGINE_PARTS_PROXY_H_
