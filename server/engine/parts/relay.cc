#include "server/engine/parts/relay.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <utility>

namespace mayfly {
namespace {

constexpr size_t kChunk = 64 * 1024;

}  // namespace

Relay::Relay(Reactor& reactor, int a, int b, std::function<void()> on_close)
    : reactor_(reactor), on_close_(std::move(on_close)) {
  const int on = 1;
  sides_[0].fd = a;
  sides_[1].fd = b;
  for (const Side& side : sides_) {
    fcntl(side.fd, F_SETFL, fcntl(side.fd, F_GETFL) | O_NONBLOCK);
    setsockopt(side.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  }
  Update(0);
  Update(1);
}

Relay::~Relay() {
  Close(false);
}

void Relay::OnEvent(int side, uint32_t events) {
  if (events & EPOLLERR) return Finish(true);
  if (events & (EPOLLIN | EPOLLOUT)) sides_[side].connected = true;
  if (!Flush(side) || !Read(side)) return Finish(true);
  if (!sides_[0].readable && !sides_[1].readable && sides_[0].pending.empty() && sides_[1].pending.empty()) {
    return Finish(false);
  }
  Update(0);
  Update(1);
}

bool Relay::Read(int side) {
  Side& from = sides_[side];
  Side& to = sides_[1 - side];
  if (!from.readable || !to.pending.empty()) return true;
  char buffer[kChunk];
  const ssize_t size = recv(from.fd, buffer, sizeof buffer, 0);
  if (size < 0) return errno == EAGAIN || errno == EINTR;
  if (size == 0) {
    from.readable = false;
  } else {
    to.pending.assign(buffer, static_cast<size_t>(size));
  }
  return Flush(1 - side);
}

bool Relay::Flush(int side) {
  Side& to = sides_[side];
  if (!to.pending.empty()) {
    const ssize_t size = send(to.fd, to.pending.data(), to.pending.size(), MSG_NOSIGNAL);
    // EAGAIN also while it is connecting.
    if (size < 0) return errno == EAGAIN || errno == EINTR;
    to.sent += size;
    to.pending.erase(0, static_cast<size_t>(size));
  }
  // A shutdown of a socket that is still connecting would end it.
  if (to.pending.empty() && !sides_[1 - side].readable && to.writable && to.connected) {
    if (shutdown(to.fd, SHUT_WR) != 0) return false;
    to.writable = false;
  }
  // Memory goes with the traffic: an idle connection holds none.
  if (to.pending.empty()) to.pending = std::string();
  return true;
}

void Relay::Update(int side) {
  Side& own = sides_[side];
  const Side& other = sides_[1 - side];
  uint32_t wanted = 0;
  if (own.readable && other.pending.empty()) wanted |= EPOLLIN;
  if (!own.pending.empty() || (own.writable && !other.readable)) wanted |= EPOLLOUT;
  if (wanted == own.watched) return;
  absl::Status status;
  if (wanted == 0) {
    reactor_.Remove(own.fd);
  } else if (own.watched == 0) {
    status = reactor_.Add(own.fd, wanted, [this, side](uint32_t events) { OnEvent(side, events); });
  } else {
    status = reactor_.Modify(own.fd, wanted);
  }
  own.watched = status.ok() ? wanted : 0;
  if (status.ok() || failed_ != 0) return;
  failed_ = reactor_.AddTimer(absl::ZeroDuration(), [this] {
    failed_ = 0;
    Finish(true);
  });
}

void Relay::Finish(bool reset) {
  Close(reset);
  const std::function<void()> on_close = std::exchange(on_close_, nullptr);  // It may destroy this.
  if (on_close) on_close();
}

void Relay::Close(bool reset) {
  reactor_.CancelTimer(std::exchange(failed_, 0));
  for (Side& side : sides_) {
    if (side.fd < 0) continue;
    if (side.watched != 0) reactor_.Remove(side.fd);
    const linger at_once = {1, 0};
    if (reset) setsockopt(side.fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    close(side.fd);
    side.fd = -1;
  }
}

}  // namespace mayfly
