#include "server/engine/parts/proxy.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "mayfly/base/ids.h"
#include "mayfly/base/status.h"

namespace mayfly {
namespace {

constexpr int kFirstHostPort = 20480, kHostPorts = 12000, kHostPortTries = 200;

// Out of descriptors or memory: until others have ended, asking again at once would only spin.
constexpr absl::Duration kAcceptAgainAfter = absl::Milliseconds(50);
constexpr int kAcceptsPerTurn = 16;

absl::StatusOr<sockaddr_in> AddressOf(absl::string_view ipv4_address, int port) {
  sockaddr_in addr = {};
  addr.sin_family = AF_INET;
  addr.sin_port = htons(static_cast<uint16_t>(port));
  if (inet_pton(AF_INET, std::string(ipv4_address).c_str(), &addr.sin_addr) != 1 || port < 0 || port > 65535) {
    return absl::InvalidArgumentError(absl::StrCat("not an IPv4 address and port: ", ipv4_address, ":", port));
  }
  return addr;
}

void Reset(int fd) {
  const linger at_once = {1, 0};
  setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  close(fd);
}

absl::StatusOr<int> StartConnecting(absl::string_view ipv4_address, int port) {
  MAYFLY_ASSIGN_OR_RETURN(const sockaddr_in addr, AddressOf(ipv4_address, port));
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return ErrnoStatus(errno, "a socket for the proxy");
  if (connect(fd, reinterpret_cast<const sockaddr*>(&addr), sizeof addr) == 0 || errno == EINPROGRESS) return fd;
  const int error = errno;
  close(fd);
  return ErrnoStatus(error, absl::StrCat("connecting to ", ipv4_address, ":", port));
}

}  // namespace

ConnectFn ConnectToAddress(absl::string_view ipv4_address, int port) {
  return [address = std::string(ipv4_address), port](const auto& done) { done(StartConnecting(address, port)); };
}

absl::StatusOr<int> ListenOn(absl::string_view ipv4_address, int port) {
  MAYFLY_ASSIGN_OR_RETURN(const sockaddr_in addr, AddressOf(ipv4_address, port));
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return ErrnoStatus(errno, "a listening socket");
  const int on = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (bind(fd, reinterpret_cast<const sockaddr*>(&addr), sizeof addr) == 0 && listen(fd, 256) == 0) return fd;
  const int error = errno;
  close(fd);
  const std::string what = absl::StrCat("listening on ", ipv4_address, ":", port);
  if (error == EADDRINUSE) return absl::AlreadyExistsError(absl::StrCat(what, ": the port is taken"));
  return ErrnoStatus(error, what);
}

absl::StatusOr<int> ListenOnHost(absl::string_view key, int host_port) {
  if (host_port != 0) return ListenOn("127.0.0.1", host_port);
  const int start = static_cast<int>(std::stoul(Sha256Hex(key).substr(0, 7), nullptr, 16) % kHostPorts);
  for (int i = 0; i < kHostPortTries; ++i) {
    const auto fd = ListenOn("127.0.0.1", kFirstHostPort + (start + i) % kHostPorts);
    if (fd.ok() || !absl::IsAlreadyExists(fd.status())) return fd;
  }
  return absl::ResourceExhaustedError("no free port on 127.0.0.1");
}

int PortOf(int fd) {
  sockaddr_in addr = {};
  socklen_t length = sizeof addr;
  return getsockname(fd, reinterpret_cast<sockaddr*>(&addr), &length) == 0 ? ntohs(addr.sin_port) : 0;
}

absl::StatusOr<std::unique_ptr<TcpProxy>> TcpProxy::Create(Reactor& reactor, int listen_fd, ConnectFn connect,
                                                           Options options) {
  auto proxy = std::unique_ptr<TcpProxy>(new TcpProxy(reactor, listen_fd, std::move(connect), options));
  int listens = 0;
  socklen_t length = sizeof listens;
  if (getsockopt(listen_fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &length) != 0 || listens == 0) {
    return absl::FailedPreconditionError("the proxy's socket does not listen");
  }
  MAYFLY_RETURN_IF_ERROR(proxy->Listen());
  return proxy;
}

TcpProxy::TcpProxy(Reactor& reactor, int listen_fd, ConnectFn connect, Options options)
    : reactor_(reactor),
      listen_fd_(listen_fd),
      connect_(std::move(connect)),
      options_(options),
      self_(std::make_shared<TcpProxy*>(this)) {}

TcpProxy::~TcpProxy() {
  reactor_.CancelTimer(retry_);
  Pause();
  if (listen_fd_ >= 0) close(listen_fd_);
  for (const auto& [id, link] : links_) {
    reactor_.CancelTimer(link.limit);
    if (link.accepted_fd >= 0) Reset(link.accepted_fd);
  }
}

absl::Status TcpProxy::Listen() {
  if (listening_) return absl::OkStatus();
  const absl::Status status = reactor_.Add(listen_fd_, EPOLLIN, [this](uint32_t) { Accept(); });
  listening_ = status.ok();
  return status;
}

void TcpProxy::Pause() {
  if (listening_) reactor_.Remove(listen_fd_);
  listening_ = false;
}

void TcpProxy::Accept() {
  for (int i = 0; i < kAcceptsPerTurn; ++i) {
    if (connections() >= options_.max_connections) return Pause();
    const int fd = accept4(listen_fd_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0) {
      if (errno != EMFILE && errno != ENFILE && errno != ENOBUFS && errno != ENOMEM) return;
      Pause();
      if (retry_ == 0) {
        retry_ = reactor_.AddTimer(kAcceptAgainAfter, [this] {
          retry_ = 0;
          Listen().IgnoreError();
        });
      }
      return;
    }
    ++accepted_;
    const uint64_t id = next_id_++;
    Link& link = links_[id];
    link.accepted_fd = fd;
    link.limit = reactor_.AddTimer(options_.connect_limit, [this, id] { End(id); });
    connect_([weak = std::weak_ptr<TcpProxy*>(self_), id](absl::StatusOr<int> other) {
      if (const std::shared_ptr<TcpProxy*> self = weak.lock()) return (*self)->Join(id, std::move(other));
      if (other.ok()) close(*other);
    });
  }
}

void TcpProxy::Join(uint64_t id, absl::StatusOr<int> fd) {
  const auto it = links_.find(id);
  if (it == links_.end() || it->second.relay != nullptr) {
    if (fd.ok()) close(*fd);
    return;
  }
  if (!fd.ok()) return End(id);
  reactor_.CancelTimer(std::exchange(it->second.limit, 0));
  it->second.relay =
      std::make_unique<Relay>(reactor_, std::exchange(it->second.accepted_fd, -1), *fd, [this, id] { End(id); });
}

void TcpProxy::End(uint64_t id) {
  auto node = links_.extract(id);
  if (node.empty()) return;
  reactor_.CancelTimer(node.mapped().limit);
  if (node.mapped().accepted_fd >= 0) Reset(node.mapped().accepted_fd);
  // Room again. While descriptors are short the timer decides.
  if (retry_ == 0 && !listening_ && connections() < options_.max_connections) Listen().IgnoreError();
}

}  // namespace mayfly
