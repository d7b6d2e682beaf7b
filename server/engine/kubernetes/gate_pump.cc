#include "server/engine/kubernetes/gate_pump.h"

#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "mayfly/base/status.h"

namespace mayfly::kubernetes {
namespace {

// Owned by the events of its stream, and so by the link.
class Pump : public std::enable_shared_from_this<Pump> {
 public:
  using Done = std::function<void(absl::StatusOr<UniqueFd>)>;
  Pump(Reactor& reactor, GateLink& link, int port, Done done)
      : reactor_(reactor), link_(&link), port_(port), done_(std::move(done)) {}
  ~Pump() { Close(); }

  void Dial() {
    const uint16_t port = static_cast<uint16_t>(port_);
    stream_ =
        link_->OpenStream(GATE_DIAL, absl::string_view(reinterpret_cast<const char*>(&port), sizeof port), Events());
  }

  void Accept(uint16_t stream) {
    stream_ = stream;
    if (!link_->AcceptStream(stream, Events())) return Answer(absl::ResourceExhaustedError("too many streams"));
    OnOpened();
  }

 private:
  StreamEvents Events() {
    StreamEvents events;
    const std::shared_ptr<Pump> self = shared_from_this();
    events.on_opened = [self] { self->OnOpened(); };
    events.on_data = [self](absl::string_view bytes) { self->OnData(bytes); };
    events.on_read_end = [self] { self->OnReadEnd(); };
    events.on_written = [self](uint32_t bytes) { self->OnWritten(bytes); };
    events.on_end = [self](int error, int) { self->OnEnd(error); };
    return events;
  }

  void Answer(absl::StatusOr<UniqueFd> fd) {
    if (const Done done = std::exchange(done_, nullptr)) done(std::move(fd));
  }

  void OnOpened() {
    if (fd_.valid()) return;  // Said twice.
    int fds[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) != 0) {
      const absl::Status status = ErrnoStatus(errno, "socketpair");
      link_->CloseStream(stream_, /*half=*/false);
      return Answer(status);
    }
    fd_.reset(fds[0]);
    Watch();
    Answer(UniqueFd(fds[1]));
  }

  void Watch() {
    uint32_t wanted = 0;
    if (!read_ended_ && window_ > 0) wanted |= EPOLLIN;
    if (!pending_.empty()) wanted |= EPOLLOUT;
    if (wanted == watched_ || !fd_.valid()) return;
    if (wanted == 0) {
      reactor_.Remove(fd_.get());
    } else if (watched_ == 0) {
      reactor_
          .Add(fd_.get(), wanted,
               [weak = weak_from_this()](uint32_t events) {
                 if (const auto self = weak.lock()) self->OnEvent(events);
               })
          .IgnoreError();
    } else {
      reactor_.Modify(fd_.get(), wanted).IgnoreError();
    }
    watched_ = wanted;
  }

  void OnEvent(uint32_t events) {
    if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0 && !ReadLocal()) return;
    if (!pending_.empty() && !FlushLocal()) return;
    Watch();
  }

  // False when this may be gone.
  bool ReadLocal() {
    if (window_ == 0 || read_ended_) return true;
    char buffer[16384];
    const ssize_t n = recv(fd_.get(), buffer, std::min(sizeof buffer, window_), 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return true;
    if (n < 0) return Abort();
    if (n == 0) {
      read_ended_ = true;
      link_->CloseStream(stream_, /*half=*/true);
      return true;
    }
    window_ -= static_cast<size_t>(n);
    link_->WriteStream(stream_, absl::string_view(buffer, static_cast<size_t>(n)));
    return true;
  }

  bool Abort() {
    const std::shared_ptr<Pump> alive = shared_from_this();
    Close();
    link_->CloseStream(stream_, /*half=*/false);
    return false;
  }

  bool FlushLocal() {
    const ssize_t n = send(fd_.get(), pending_.data(), pending_.size(), MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN && errno != EINTR) return Abort();
    if (n > 0) {
      pending_.erase(0, static_cast<size_t>(n));
      link_->Taken(stream_, static_cast<uint32_t>(n));
    }
    if (pending_.empty() && write_ended_) shutdown(fd_.get(), SHUT_WR);
    return true;
  }

  void OnData(absl::string_view bytes) {
    if (!fd_.valid()) return;
    pending_.append(bytes.data(), bytes.size());
    if (FlushLocal()) Watch();
  }

  void OnReadEnd() {
    write_ended_ = true;
    if (pending_.empty() && fd_.valid()) shutdown(fd_.get(), SHUT_WR);
  }

  void OnWritten(uint32_t bytes) {
    window_ += bytes;
    Watch();
  }

  void OnEnd(int error) {
    if (done_ != nullptr) {
      return Answer(absl::UnavailableError(absl::StrCat("port ", port_, ": ", strerror(error))));
    }
    // What was read inside is still handed on, as far as the socket takes it.
    if (fd_.valid() && !pending_.empty()) FlushLocal();
    Close();
  }

  void Close() {
    if (fd_.valid() && watched_ != 0) reactor_.Remove(fd_.get());
    watched_ = 0;
    fd_.reset();
  }

  Reactor& reactor_;
  GateLink* const link_;
  const int port_;
  Done done_;
  uint16_t stream_ = 0;
  UniqueFd fd_;
  uint32_t watched_ = 0;
  size_t window_ = GATE_STREAM_WINDOW;
  bool read_ended_ = false, write_ended_ = false;
  std::string pending_;
};

}  // namespace

void DialThroughGate(Reactor& reactor, GateLink& link, int port, std::function<void(absl::StatusOr<UniqueFd>)> done) {
  std::make_shared<Pump>(reactor, link, port, std::move(done))->Dial();
}

absl::StatusOr<UniqueFd> AcceptFromGate(Reactor& reactor, GateLink& link, uint16_t id) {
  absl::StatusOr<UniqueFd> answer = absl::CancelledError("not answered");
  std::make_shared<Pump>(reactor, link, 0, [&answer](absl::StatusOr<UniqueFd> fd) {
    answer = std::move(fd);
  })->Accept(id);
  return answer;
}

}  // namespace mayfly::kubernetes
