#include "tests/support/network.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace mayfly {
namespace {

sockaddr_in AddressOf(const std::string& address, int port) {
  sockaddr_in addr = {};
  addr.sin_family = AF_INET;
  addr.sin_port = htons(static_cast<uint16_t>(port));
  inet_pton(AF_INET, address.c_str(), &addr.sin_addr);
  return addr;
}

void RaiseLoopback() {
  const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  ifreq request = {};
  snprintf(request.ifr_name, sizeof request.ifr_name, "lo");
  request.ifr_flags = IFF_UP;
  if (ioctl(fd, SIOCSIFFLAGS, &request) != 0) perror("raising loopback");
  close(fd);
}

}  // namespace

Listener::Listener(BoundOnly, const std::string& address, int port) {
  fd_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int on = 1;
  setsockopt(fd_, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  sockaddr_in addr = AddressOf(address, port);
  socklen_t length = sizeof addr;
  if (bind(fd_, reinterpret_cast<sockaddr*>(&addr), length) != 0 ||
      getsockname(fd_, reinterpret_cast<sockaddr*>(&addr), &length) != 0) {
    perror("a test cannot bind");
    abort();
  }
  port_ = ntohs(addr.sin_port);
}

Listener::Listener(const std::string& address, int port) : Listener(BoundOnly(), address, port) {
  Listen();
}

std::unique_ptr<Listener> Listener::Bound(const std::string& address, int port) {
  return std::unique_ptr<Listener>(new Listener(BoundOnly(), address, port));
}

void Listener::Listen() {
  if (listen(fd_, 128) == 0) return;
  perror("a test cannot listen");
  abort();
}

Listener::~Listener() {
  Close();
}

void Listener::Close() {
  if (fd_ >= 0) close(fd_);
  fd_ = -1;
}

int Listener::Accept() const {
  return accept4(fd_, nullptr, nullptr, SOCK_CLOEXEC);
}

int FreePort() {
  Listener listener;
  return listener.port();
}

int ConnectTo(int port, const std::string& address) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const sockaddr_in addr = AddressOf(address, port);
  if (connect(fd, reinterpret_cast<const sockaddr*>(&addr), sizeof addr) == 0) return fd;
  close(fd);
  return -1;
}

std::string InNewNetwork(const std::function<std::string()>& fn) {
  int ends[2];
  if (pipe(ends) != 0) return "no pipe";
  const pid_t child = fork();
  if (child == 0) {
    std::string result;
    if (unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0) {
      result = std::string("no namespaces here: ") + strerror(errno);
    } else {
      RaiseLoopback();
      result = fn();
    }
    const ssize_t written = write(ends[1], result.data(), std::min<size_t>(result.size(), 4096));
    _exit(written < 0 ? 1 : 0);
  }
  close(ends[1]);
  std::string result;
  char buffer[4096];
  for (ssize_t n; (n = read(ends[0], buffer, sizeof buffer)) > 0;) result.append(buffer, n);
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  return status == 0 ? result : "the child died: " + std::to_string(status);
}

}  // namespace mayfly
