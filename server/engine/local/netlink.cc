#include "server/engine/local/netlink.h"

#include <linux/netlink.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <vector>

#include "absl/strings/str_cat.h"
#include "mayfly/base/status.h"

namespace mayfly::local {
namespace {

constexpr size_t kReceiveBuffer = 32768;
constexpr size_t kSendChunk = 32768;  // Below the kernel's default socket buffer.

}  // namespace

void NetlinkBatch::Pad() {
  out_.resize((out_.size() + 3) & ~size_t{3});
}

void NetlinkBatch::Finish() {
  if (count_ == 0) return;
  const uint32_t length = static_cast<uint32_t>(out_.size() - current_);
  std::memcpy(&out_[current_], &length, sizeof(length));
  Pad();
}

void NetlinkBatch::Begin(uint16_t type, uint16_t flags, absl::string_view header) {
  Finish();
  current_ = out_.size();
  ++count_;
  nlmsghdr message{};
  message.nlmsg_type = type;
  message.nlmsg_flags = static_cast<uint16_t>(flags | NLM_F_REQUEST);
  message.nlmsg_seq = count_;
  out_.append(reinterpret_cast<const char*>(&message), sizeof(message));
  out_.append(header.data(), header.size());
  Pad();
}

void NetlinkBatch::Attr(uint16_t type, absl::string_view value) {
  const nlattr attr{static_cast<uint16_t>(sizeof(nlattr) + value.size()), type};
  out_.append(reinterpret_cast<const char*>(&attr), sizeof(attr));
  out_.append(value.data(), value.size());
  Pad();
}

void NetlinkBatch::AttrU32(uint16_t type, uint32_t value) {
  Attr(type, absl::string_view(reinterpret_cast<const char*>(&value), sizeof(value)));
}

void NetlinkBatch::AttrString(uint16_t type, absl::string_view value) {
  Attr(type, absl::StrCat(value, absl::string_view("\0", 1)));
}

size_t NetlinkBatch::BeginNest(uint16_t type) {
  const size_t handle = out_.size();
  const nlattr attr{0, type};
  out_.append(reinterpret_cast<const char*>(&attr), sizeof(attr));
  return handle;
}

void NetlinkBatch::EndNest(size_t handle) {
  const uint16_t length = static_cast<uint16_t>(out_.size() - handle);
  std::memcpy(&out_[handle], &length, sizeof(length));
}

absl::StatusOr<NetlinkSocket> NetlinkSocket::Open(int protocol, uint32_t groups) {
  UniqueFd fd(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol));
  if (!fd.valid()) return ErrnoStatus(errno, "netlink socket");
  sockaddr_nl address{};
  address.nl_family = AF_NETLINK;
  address.nl_groups = groups;
  if (bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0)
    return ErrnoStatus(errno, "netlink bind");
  return NetlinkSocket(std::move(fd));
}

absl::Status NetlinkSocket::Execute(NetlinkBatch batch) {
  if (batch.empty()) return absl::OkStatus();
  batch.Finish();
  absl::Status first_error;
  size_t start = 0;
  while (start < batch.out_.size()) {
    // As many whole messages as fit into one chunk; each asks for an acknowledgement.
    size_t end = start;
    int expected = 0;
    while (end < batch.out_.size()) {
      nlmsghdr message;
      std::memcpy(&message, batch.out_.data() + end, sizeof(message));
      if (end > start && end - start + message.nlmsg_len > kSendChunk) break;
      message.nlmsg_flags |= NLM_F_ACK;
      std::memcpy(&batch.out_[end], &message, sizeof(message));
      end += NLMSG_ALIGN(message.nlmsg_len);
      ++expected;
    }
    if (send(fd_.get(), batch.out_.data() + start, end - start, 0) < 0) return ErrnoStatus(errno, "netlink send");
    start = end;
    while (expected > 0) {
      char buffer[kReceiveBuffer];
      const ssize_t n = recv(fd_.get(), buffer, sizeof(buffer), 0);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return ErrnoStatus(errno, "netlink receive");
      int left = static_cast<int>(n);
      for (nlmsghdr* m = reinterpret_cast<nlmsghdr*>(buffer); NLMSG_OK(m, static_cast<unsigned>(left));
           m = NLMSG_NEXT(m, left)) {
        if (m->nlmsg_type != NLMSG_ERROR) continue;
        --expected;
        const int error = static_cast<const nlmsgerr*>(NLMSG_DATA(m))->error;
        if (error != 0 && first_error.ok())
          first_error = ErrnoStatus(-error, absl::StrCat("netlink request ", m->nlmsg_seq));
      }
    }
  }
  return first_error;
}

absl::Status NetlinkSocket::Dump(NetlinkBatch request, const std::function<void(uint16_t, absl::string_view)>& fn) {
  request.Finish();
  if (send(fd_.get(), request.out_.data(), request.out_.size(), 0) < 0) return ErrnoStatus(errno, "netlink send");
  for (;;) {
    char buffer[kReceiveBuffer];
    const ssize_t n = recv(fd_.get(), buffer, sizeof(buffer), 0);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return ErrnoStatus(errno, "netlink receive");
    int left = static_cast<int>(n);
    for (nlmsghdr* m = reinterpret_cast<nlmsghdr*>(buffer); NLMSG_OK(m, static_cast<unsigned>(left));
         m = NLMSG_NEXT(m, left)) {
      if (m->nlmsg_type == NLMSG_DONE) return absl::OkStatus();
      if (m->nlmsg_type == NLMSG_ERROR) {
        const int error = static_cast<const nlmsgerr*>(NLMSG_DATA(m))->error;
        return error == 0 ? absl::OkStatus() : ErrnoStatus(-error, "netlink dump");
      }
      fn(m->nlmsg_type, absl::string_view(static_cast<const char*>(NLMSG_DATA(m)), m->nlmsg_len - NLMSG_HDRLEN));
    }
  }
}

absl::Status NetlinkSocket::Receive(const std::function<void(uint16_t, absl::string_view)>& fn) {
  char buffer[kReceiveBuffer];
  const ssize_t n = recv(fd_.get(), buffer, sizeof(buffer), 0);
  // ENOBUFS: so much happened that some of it was dropped, which is news, too.
  if (n < 0) return errno == EINTR || errno == ENOBUFS ? absl::OkStatus() : ErrnoStatus(errno, "netlink receive");
  int left = static_cast<int>(n);
  for (nlmsghdr* m = reinterpret_cast<nlmsghdr*>(buffer); NLMSG_OK(m, static_cast<unsigned>(left));
       m = NLMSG_NEXT(m, left)) {
    fn(m->nlmsg_type, absl::string_view(static_cast<const char*>(NLMSG_DATA(m)), m->nlmsg_len - NLMSG_HDRLEN));
  }
  return absl::OkStatus();
}

}  // namespace mayfly::local
