#include "server/engine/local/channel.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace mayfly::local {
namespace {

struct Header {
  uint32_t length;
  uint16_t type;
  uint16_t fds;
};
static_assert(sizeof(Header) == 8);

constexpr int kReadsAtOnce = 16;  // Of 64 KiB; then what has come is delivered, however fast the peer writes.

}  // namespace

Channel::Channel(Reactor* reactor, UniqueFd fd, std::function<void(Frame)> on_frame, std::function<void()> on_close)
    : reactor_(reactor),
      fd_(std::move(fd)),
      on_frame_(std::make_shared<std::function<void(Frame)>>(std::move(on_frame))),
      on_close_(std::move(on_close)) {
  reactor_->Add(fd_.get(), EPOLLIN, [this](uint32_t events) { OnEvents(events); }).IgnoreError();
}

Channel::~Channel() {
  *alive_ = false;
  if (fd_.valid()) reactor_->Remove(fd_.get());
}

void Channel::SendBody(uint16_t type, const std::string& body, std::vector<UniqueFd> fds) {
  if (!fd_.valid()) return;
  const Header header{static_cast<uint32_t>(body.size()), type, static_cast<uint16_t>(fds.size())};
  Out out;
  out.bytes.reserve(sizeof(header) + body.size());
  out.bytes.append(reinterpret_cast<const char*>(&header), sizeof(header));
  out.bytes.append(body);
  out.fds = std::move(fds);
  queued_ += out.bytes.size();
  out_.push_back(std::move(out));
  if (!WriteQueued() || queued_ > kQueueLimit) {
    // The read side notices and calls on_close from the reactor, never from inside Send.
    shutdown(fd_.get(), SHUT_RDWR);
    out_.clear();
    queued_ = 0;
  }
}

bool Channel::WriteQueued() {
  while (!out_.empty()) {
    Out& out = out_.front();
    iovec iov{out.bytes.data() + out.sent, out.bytes.size() - out.sent};
    msghdr message{};
    message.msg_iov = &iov;
    message.msg_iovlen = 1;
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * kMaxFds)];
    if (!out.fds.empty()) {
      const size_t size = sizeof(int) * out.fds.size();
      message.msg_control = control;
      message.msg_controllen = CMSG_SPACE(size);
      cmsghdr* cmsg = CMSG_FIRSTHDR(&message);
      cmsg->cmsg_level = SOL_SOCKET;
      cmsg->cmsg_type = SCM_RIGHTS;
      cmsg->cmsg_len = CMSG_LEN(size);
      for (size_t i = 0; i < out.fds.size(); ++i) {
        const int fd = out.fds[i].get();
        std::memcpy(CMSG_DATA(cmsg) + i * sizeof(int), &fd, sizeof(int));
      }
    }
    const ssize_t n = sendmsg(fd_.get(), &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) break;
    if (n < 0) return false;
    out.fds.clear();
    out.sent += n;
    queued_ -= n;
    if (out.sent == out.bytes.size()) out_.pop_front();
  }
  const bool want_write = !out_.empty();
  if (want_write != want_write_) {
    want_write_ = want_write;
    reactor_->Modify(fd_.get(), EPOLLIN | (want_write ? uint32_t{EPOLLOUT} : 0u)).IgnoreError();
  }
  return true;
}

void Channel::Flush() {
  while (fd_.valid() && !out_.empty()) {
    pollfd p{fd_.get(), POLLOUT, 0};
    if (poll(&p, 1, 1000) <= 0 || !WriteQueued()) return;
  }
}

void Channel::OnEvents(uint32_t events) {
  const std::shared_ptr<bool> alive = alive_;
  if ((events & EPOLLOUT) != 0 && !WriteQueued()) return Close();
  if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) == 0) return;
  const bool open = Read();
  const bool sane = Deliver();
  if (*alive && (!open || !sane)) Close();
}

bool Channel::Read() {
  for (int reads = 0; reads < kReadsAtOnce;) {
    char buffer[65536];
    iovec iov{buffer, sizeof(buffer)};
    msghdr message{};
    message.msg_iov = &iov;
    message.msg_iovlen = 1;
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * kMaxFds)];
    message.msg_control = control;
    message.msg_controllen = sizeof(control);
    const ssize_t n = recvmsg(fd_.get(), &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno == EAGAIN || errno == EWOULDBLOCK;
    for (cmsghdr* cmsg = CMSG_FIRSTHDR(&message); cmsg != nullptr; cmsg = CMSG_NXTHDR(&message, cmsg)) {
      if (cmsg->cmsg_level != SOL_SOCKET || cmsg->cmsg_type != SCM_RIGHTS) continue;
      const size_t count = (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int);
      for (size_t i = 0; i < count; ++i) {
        int fd;
        std::memcpy(&fd, CMSG_DATA(cmsg) + i * sizeof(int), sizeof(int));
        in_fds_.emplace_back(fd);
      }
    }
    if (n == 0 || (message.msg_flags & MSG_CTRUNC) != 0) return false;
    in_.append(buffer, n);
    if (static_cast<size_t>(n) < sizeof(buffer)) return true;
    ++reads;
  }
  return true;
}

bool Channel::Deliver() {
  const std::shared_ptr<bool> alive = alive_;
  const auto on_frame = on_frame_;  // Outlives the channel, should the handler destroy it.
  while (in_.size() - in_offset_ >= sizeof(Header)) {
    Header header;
    std::memcpy(&header, in_.data() + in_offset_, sizeof(header));
    if (header.length > kMaxBody || header.fds > kMaxFds) return false;
    if (in_.size() - in_offset_ < sizeof(header) + header.length) break;
    if (in_fds_.size() < header.fds) return false;
    Frame frame;
    frame.type = header.type;
    frame.body = in_.substr(in_offset_ + sizeof(header), header.length);
    for (int i = 0; i < header.fds; ++i) {
      frame.fds.push_back(std::move(in_fds_.front()));
      in_fds_.pop_front();
    }
    in_offset_ += sizeof(header) + header.length;
    (*on_frame)(std::move(frame));
    if (!*alive) return false;
  }
  in_.erase(0, in_offset_);
  in_offset_ = 0;
  return Plausible();
}

bool Channel::Plausible() const {
  return in_.empty() ? in_fds_.empty() : in_fds_.size() <= kMaxFds;
}

void Channel::Close() {
  reactor_->Remove(fd_.get());
  fd_.Reset();
  out_.clear();
  in_.clear();
  in_fds_.clear();
  // Moved out first: the handler may destroy this channel, and with it the function object.
  const std::function<void()> on_close = std::move(on_close_);
  if (on_close) on_close();
}

}  // namespace mayfly::local
