// Real sockets for tests: on loopback with ports that the kernel chooses, or in a network namespace of the test's own.
#ifndef MAYFLY_TESTS_SUPPORT_NETWORK_H_
#define MAYFLY_TESTS_SUPPORT_NETWORK_H_

#include <functional>
#include <memory>
#include <string>

namespace mayfly {

// A listening IPv4 socket, closed with the object. Aborts the test program when there is none to be had.
class Listener {
 public:
  explicit Listener(const std::string& address = "127.0.0.1", int port = 0);
  // Bound, so that nobody else gets the port, not even a connection as its own; refuses connections until Listen.
  static std::unique_ptr<Listener> Bound(const std::string& address = "127.0.0.1", int port = 0);
  ~Listener();
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

  int fd() const { return fd_; }
  int port() const { return port_; }
  int Accept() const;  // Blocks; the caller closes.
  void Listen();
  void Close();

 private:
  struct BoundOnly {};
  Listener(BoundOnly, const std::string& address, int port);
  int fd_ = -1;
  int port_ = 0;
};

// A port on which nothing listens now.
int FreePort();
// A connected IPv4 socket; -1 when refused. The caller closes.
int ConnectTo(int port, const std::string& address = "127.0.0.1");

// Runs `fn` in a child process inside fresh user and network namespaces, with loopback up and CAP_NET_ADMIN over it.
// Returns what `fn` returned (at most 4 KiB), or "no namespaces here: ..." on hosts that forbid them.
std::string InNewNetwork(const std::function<std::string()>& fn);

}  // namespace mayfly

#endif  // MAYFLY_TESTS_SUPPORT_NETWORK_H_
