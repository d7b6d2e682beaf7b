#include "server/engine/kubernetes/relay_stream.h"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "mayfly/base/status.h"

namespace mayfly::kubernetes {
namespace {

constexpr size_t kWindow = 64 << 10;
constexpr size_t kLongestLine = 64;

}  // namespace

RelayStream::RelayStream(Reactor& reactor, const Post& post, const Dial& dial, Callbacks callbacks)
    : reactor_(reactor), callbacks_(std::move(callbacks)), self_(std::make_shared<RelayStream*>(this)) {
  const auto here = [post, weak = std::weak_ptr<RelayStream*>(self_)](std::function<void(RelayStream&)> fn) {
    post([weak, fn = std::move(fn)] {
      if (const auto self = weak.lock()) fn(**self);
    });
  };
  Stream::Callbacks events;
  events.window = kWindow;
  events.on_data = [here](std::string bytes, bool) {
    here([bytes = std::move(bytes)](RelayStream& self) { self.OnData(bytes); });
  };
  events.on_written = [here](size_t bytes) {
    here([bytes](RelayStream& self) {
      self.unwritten_ -= bytes;
      self.Watch();
    });
  };
  events.on_close = [here](absl::Status status, int) { here([status](RelayStream& self) { self.End(status); }); };
  stream_ = dial(std::move(events));
}

RelayStream::~RelayStream() {
  self_.reset();
  if (socket_.valid()) reactor_.Remove(socket_.get());
}

bool RelayStream::TakeLine(std::string* line) {
  const size_t end = in_.find('\n');
  if (end == std::string::npos) {
    if (in_.size() > kLongestLine) End(absl::InternalError("the relay does not say an address"));
    return false;
  }
  *line = in_.substr(0, end);
  in_.erase(0, end + 1);
  stream_->Taken(end + 1);
  return true;
}

void RelayStream::OnData(const std::string& bytes) {
  if (!callbacks_.on_end) return;  // It has ended.
  in_ += bytes;
  const std::weak_ptr<RelayStream*> alive = self_;
  std::string line;
  if (!greeted_) {
    if (!TakeLine(&line)) return;
    greeted_ = true;
    callbacks_.on_greeting(line);
    if (alive.expired()) return;
  }
  if (!joined_) {
    if (in_.empty() || !TakeLine(&line)) return;
    Join(line);
    if (alive.expired()) return;
  }
  if (socket_.valid()) Flush();
}

void RelayStream::Join(const std::string& peer) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) != 0) {
    return End(ErrnoStatus(errno, "a gate's connection"));
  }
  socket_ = UniqueFd(ends[0]);
  UniqueFd gate(ends[1]);
  joined_ = true;
  watched_ = EPOLLIN;
  const absl::Status added = reactor_.Add(socket_.get(), watched_, [this](uint32_t events) { OnSocket(events); });
  if (!added.ok()) {
    socket_.reset();
    return End(added);
  }
  callbacks_.on_gate(std::move(gate), peer);
}

void RelayStream::Flush() {
  size_t taken = 0;
  while (taken < in_.size()) {
    const ssize_t n = send(socket_.get(), in_.data() + taken, in_.size() - taken, MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) break;
    if (n <= 0) return End(absl::OkStatus());
    taken += static_cast<size_t>(n);
  }
  in_.erase(0, taken);
  if (taken > 0) stream_->Taken(taken);
  Watch();
}

void RelayStream::Watch() {
  if (!socket_.valid()) return;
  const uint32_t wanted = (unwritten_ < kWindow ? EPOLLIN : 0U) | (in_.empty() ? 0U : EPOLLOUT);
  if (wanted == watched_) return;
  watched_ = wanted;
  reactor_.Modify(socket_.get(), watched_).IgnoreError();
}

void RelayStream::OnSocket(uint32_t events) {
  if ((events & EPOLLOUT) != 0) {
    const std::weak_ptr<RelayStream*> alive = self_;
    Flush();
    if (alive.expired()) return;
  }
  if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) == 0) return;
  std::string bytes(kWindow / 2, '\0');
  const ssize_t n = read(socket_.get(), bytes.data(), bytes.size());
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (n <= 0) return End(absl::OkStatus());
  bytes.resize(static_cast<size_t>(n));
  unwritten_ += bytes.size();
  stream_->Write(std::move(bytes));
  Watch();
}

void RelayStream::End(const absl::Status& status) {
  if (socket_.valid()) {
    reactor_.Remove(socket_.get());
    socket_.reset();
  }
  // Never inline: whoever called goes on. What comes meanwhile finds nobody.
  const auto told = std::exchange(callbacks_.on_end, nullptr);
  if (!told) return;
  reactor_.AddTimer(absl::ZeroDuration(), [told, status, weak = std::weak_ptr<RelayStream*>(self_)] {
    if (weak.lock() != nullptr) told(status);
  });
}

}  // namespace mayfly::kubernetes
