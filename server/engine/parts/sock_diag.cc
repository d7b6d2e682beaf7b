#include "server/engine/parts/sock_diag.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/packet_diag.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <tuple>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "mayfly/base/status.h"
#include "mayfly/base/text.h"

namespace mayfly {
namespace {

using OnMessage = std::function<void(const nlmsghdr& header)>;

// Sends one request and hands every answer to `on_message`. Returns the errno the kernel answered with, 0 for none, or
// a negative one when the conversation itself failed.
template <typename Request>
int Ask(int fd, uint16_t type, uint16_t flags, const Request& request, const OnMessage& on_message) {
  struct {
    nlmsghdr header;
    Request request;
  } message = {};
  message.header.nlmsg_len = NLMSG_LENGTH(sizeof(Request));
  message.header.nlmsg_type = type;
  message.header.nlmsg_flags = NLM_F_REQUEST | flags;
  memcpy(NLMSG_DATA(&message.header), &request, sizeof(Request));
  if (send(fd, &message, message.header.nlmsg_len, MSG_DONTWAIT) < 0) return -errno;
  alignas(nlmsghdr) char buffer[32 * 1024];
  while (true) {
    const ssize_t size = recv(fd, buffer, sizeof buffer, MSG_DONTWAIT);
    if (size <= 0) return size < 0 ? -errno : -EIO;
    unsigned left = static_cast<unsigned>(size);
    for (auto* header = reinterpret_cast<nlmsghdr*>(buffer); NLMSG_OK(header, left);
         header = NLMSG_NEXT(header, left)) {
      if (header->nlmsg_type == NLMSG_DONE) {
        // A dump that met an error half way says so only here.
        int error = 0;
        if (header->nlmsg_len >= NLMSG_LENGTH(sizeof error)) memcpy(&error, NLMSG_DATA(header), sizeof error);
        return error < 0 ? -error : 0;
      }
      if (header->nlmsg_flags & NLM_F_DUMP_INTR) return -EAGAIN;
      if (header->nlmsg_type == NLMSG_ERROR) return -static_cast<nlmsgerr*>(NLMSG_DATA(header))->error;
      on_message(*header);
      if (!(flags & NLM_F_DUMP)) return 0;
    }
  }
}

template <typename Body>
const Body* BodyOf(const nlmsghdr& header) {
  if (header.nlmsg_len < NLMSG_LENGTH(sizeof(Body))) return nullptr;
  return static_cast<const Body*>(NLMSG_DATA(&header));
}

// The attribute's payload, or "" when it is not there.
template <typename Body>
absl::string_view Attribute(const nlmsghdr& header, uint16_t type) {
  const char* data = static_cast<const char*>(NLMSG_DATA(&header)) + NLMSG_ALIGN(sizeof(Body));
  int left = static_cast<int>(header.nlmsg_len) - static_cast<int>(NLMSG_SPACE(sizeof(Body)));
  for (auto* attr = reinterpret_cast<const rtattr*>(data); RTA_OK(attr, left); attr = RTA_NEXT(attr, left)) {
    if (attr->rta_type == type) return {static_cast<const char*>(RTA_DATA(attr)), RTA_PAYLOAD(attr)};
  }
  return {};
}

std::string AddressText(int family, const void* address) {
  char text[INET6_ADDRSTRLEN] = "";
  inet_ntop(family, address, text, sizeof text);
  return text;
}

std::string Endpoint(int family, const void* address, uint16_t port) {
  const std::string text = AddressText(family, address);
  return family == AF_INET6 ? absl::StrCat("[", text, "]:", ntohs(port)) : absl::StrCat(text, ":", ntohs(port));
}

inet_diag_req_v2 InetRequest(int family, int protocol, uint32_t states) {
  inet_diag_req_v2 request = {};
  request.sdiag_family = static_cast<uint8_t>(family);
  request.sdiag_protocol = static_cast<uint8_t>(protocol);
  request.idiag_states = states;
  return request;
}

absl::Status AskStatus(int error, absl::string_view what) {
  if (error == 0) return absl::OkStatus();
  if (error == ENOENT || error == EOPNOTSUPP || error == EPROTONOSUPPORT) {
    return absl::UnimplementedError(absl::StrCat("this kernel cannot list ", what, " sockets"));
  }
  return absl::UnavailableError(absl::StrCat("listing ", what, " sockets: ", strerror(error < 0 ? -error : error)));
}

// What Destroy must send back, in one string: SocketInfo is for everybody, the kernel's structures are not.
struct InetIdentity {
  uint8_t family;
  uint8_t protocol;
  inet_diag_sockid id;
};

absl::Status DumpInet(int fd, int family, int protocol, SocketInfo::Kind kind, std::vector<SocketInfo>& out) {
  const auto collect = [&](const nlmsghdr& header) {
    const auto* message = BodyOf<inet_diag_msg>(header);
    if (message == nullptr) return;
    InetIdentity identity = {static_cast<uint8_t>(family), static_cast<uint8_t>(protocol), message->id};
    SocketInfo info;
    info.kind = kind;
    info.state = message->idiag_state;
    info.local = Endpoint(family, message->id.idiag_src, message->id.idiag_sport);
    info.remote = message->id.idiag_dport == 0 ? "" : Endpoint(family, message->id.idiag_dst, message->id.idiag_dport);
    info.cookie = message->id.idiag_cookie[0] | uint64_t{message->id.idiag_cookie[1]} << 32;
    info.inode = message->idiag_inode;
    info.identity.assign(reinterpret_cast<const char*>(&identity), sizeof identity);
    out.push_back(std::move(info));
  };
  inet_diag_req_v2 request = InetRequest(family, protocol, ~0u);
  return AskStatus(Ask(fd, SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, request, collect), kind == SocketInfo::Kind::kTcp ? "TCP"
                                                                               : kind == SocketInfo::Kind::kUdp
                                                                                   ? "UDP"
                                                                                   : "raw");
}

absl::Status DumpUnix(int fd, std::vector<SocketInfo>& out) {
  unix_diag_req request = {};
  request.sdiag_family = AF_UNIX;
  request.udiag_states = ~0u;
  request.udiag_show = UDIAG_SHOW_NAME;
  const auto collect = [&](const nlmsghdr& header) {
    const auto* message = BodyOf<unix_diag_msg>(header);
    if (message == nullptr) return;
    SocketInfo info;
    info.kind = SocketInfo::Kind::kUnix;
    info.state = message->udiag_state;
    info.local = std::string(Attribute<unix_diag_msg>(header, UNIX_DIAG_NAME));
    if (!info.local.empty() && info.local[0] == '\0') info.local[0] = '@';
    info.local = std::string(absl::StripSuffix(info.local, absl::string_view("\0", 1)));
    info.cookie = message->udiag_cookie[0] | uint64_t{message->udiag_cookie[1]} << 32;
    info.inode = message->udiag_ino;
    out.push_back(std::move(info));
  };
  return AskStatus(Ask(fd, SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, request, collect), "unix");
}

absl::Status DumpPacket(int fd, std::vector<SocketInfo>& out) {
  packet_diag_req request = {};
  request.sdiag_family = AF_PACKET;
  const auto collect = [&](const nlmsghdr& header) {
    const auto* message = BodyOf<packet_diag_msg>(header);
    if (message == nullptr) return;
    SocketInfo info;
    info.kind = SocketInfo::Kind::kPacket;
    info.cookie = message->pdiag_cookie[0] | uint64_t{message->pdiag_cookie[1]} << 32;
    info.inode = message->pdiag_ino;
    out.push_back(std::move(info));
  };
  return AskStatus(Ask(fd, SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, request, collect), "packet");
}

}  // namespace

bool ListeningPort::Reaches(absl::string_view ipv4_address) const {
  if (ipv6_only) return false;
  return address == "0.0.0.0" || address == "::" || address == ipv4_address ||
         address == absl::StrCat("::ffff:", ipv4_address);
}

std::string SocketInfo::ToString() const {
  static constexpr const char* kNames[] = {"tcp", "udp", "raw", "unix", "packet"};
  std::string text = absl::StrCat(kNames[static_cast<int>(kind)], local.empty() ? "" : " ", local);
  if (!remote.empty()) absl::StrAppend(&text, " -> ", remote);
  return EscapeLine(absl::StrCat(text, " (state ", state, ")"));
}

absl::StatusOr<SockDiag> SockDiag::Open() {
  const int fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
  if (fd < 0) return ErrnoStatus(errno, "opening socket diagnostics");
  return SockDiag(fd);
}

SockDiag::SockDiag(int fd) : fd_(fd) {
  // An error answer need not carry the request back.
  const int on = 1;
  setsockopt(fd_, SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof on);
}

SockDiag::SockDiag(SockDiag&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}

SockDiag& SockDiag::operator=(SockDiag&& other) noexcept {
  std::swap(fd_, other.fd_);
  return *this;
}

SockDiag::~SockDiag() {
  if (fd_ >= 0) close(fd_);
}

absl::StatusOr<bool> SockDiag::IsListening(absl::string_view ipv4_address, int port) {
  inet_diag_req_v2 request = InetRequest(AF_INET, IPPROTO_TCP, 1u << TCP_LISTEN);
  if (inet_pton(AF_INET, std::string(ipv4_address).c_str(), request.id.idiag_src) != 1 || port < 1 || port > 65535) {
    return absl::InvalidArgumentError(absl::StrCat("not an IPv4 address and port: ", ipv4_address, ":", port));
  }
  request.id.idiag_sport = htons(static_cast<uint16_t>(port));
  request.id.idiag_cookie[0] = request.id.idiag_cookie[1] = INET_DIAG_NOCOOKIE;
  int state = 0;
  const int error = Ask(fd_, SOCK_DIAG_BY_FAMILY, 0, request, [&](const nlmsghdr& header) {
    if (const auto* message = BodyOf<inet_diag_msg>(header)) state = message->idiag_state;
  });
  if (error == 0) return state == TCP_LISTEN;
  if (error == ENOENT) return false;
  return absl::UnavailableError(absl::StrCat("looking for a listening socket: ", strerror(std::abs(error))));
}

absl::StatusOr<std::vector<ListeningPort>> SockDiag::Listening() {
  std::vector<ListeningPort> ports;
  for (const int family : {AF_INET, AF_INET6}) {
    const auto collect = [&](const nlmsghdr& header) {
      const auto* message = BodyOf<inet_diag_msg>(header);
      if (message == nullptr) return;
      const absl::string_view only = Attribute<inet_diag_msg>(header, INET_DIAG_SKV6ONLY);
      ports.push_back({AddressText(family, message->id.idiag_src), ntohs(message->id.idiag_sport),
                       family == AF_INET6 && !only.empty() && only[0] != 0});
    };
    const int error =
        Ask(fd_, SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, InetRequest(family, IPPROTO_TCP, 1u << TCP_LISTEN), collect);
    MAYFLY_RETURN_IF_ERROR(AskStatus(error, "listening"));
  }
  std::sort(ports.begin(), ports.end(), [](const ListeningPort& a, const ListeningPort& b) {
    return std::tie(a.port, a.address) < std::tie(b.port, b.address);
  });
  ports.erase(std::unique(ports.begin(), ports.end()), ports.end());  // SO_REUSEPORT.
  return ports;
}

absl::StatusOr<SocketList> SockDiag::Dump() {
  SocketList list;
  for (const int family : {AF_INET, AF_INET6}) {
    MAYFLY_RETURN_IF_ERROR(DumpInet(fd_, family, IPPROTO_TCP, SocketInfo::Kind::kTcp, list.sockets));
    MAYFLY_RETURN_IF_ERROR(DumpInet(fd_, family, IPPROTO_UDP, SocketInfo::Kind::kUdp, list.sockets));
  }
  MAYFLY_RETURN_IF_ERROR(DumpUnix(fd_, list.sockets));
  absl::Status raw = DumpInet(fd_, AF_INET, IPPROTO_RAW, SocketInfo::Kind::kRaw, list.sockets);
  if (raw.ok()) raw = DumpInet(fd_, AF_INET6, IPPROTO_RAW, SocketInfo::Kind::kRaw, list.sockets);
  const absl::Status packet = DumpPacket(fd_, list.sockets);
  for (const auto& [name, status] : {std::make_pair("raw", raw), std::make_pair("packet", packet)}) {
    if (absl::IsUnimplemented(status)) {
      list.unlisted.push_back(name);
    } else {
      MAYFLY_RETURN_IF_ERROR(status);
    }
  }
  return list;
}

absl::Status SockDiag::Destroy(const SocketInfo& socket) {
  if (socket.identity.size() != sizeof(InetIdentity)) {
    return absl::UnimplementedError(absl::StrCat("cannot be destroyed: ", socket.ToString()));
  }
  InetIdentity identity;
  memcpy(&identity, socket.identity.data(), sizeof identity);
  inet_diag_req_v2 request = InetRequest(identity.family, identity.protocol, ~0u);
  request.id = identity.id;
  // Asked for an acknowledgement: success has no answer of its own.
  const int error = Ask(fd_, SOCK_DESTROY, NLM_F_ACK, request, [](const nlmsghdr&) {});
  if (error == 0 || error == ENOENT) return absl::OkStatus();
  if (error == EOPNOTSUPP) return absl::UnimplementedError("this kernel cannot destroy sockets of others");
  return ErrnoStatus(std::abs(error), absl::StrCat("destroying ", socket.ToString()));
}

absl::StatusOr<SocketList> SockDiag::Clean() {
  MAYFLY_ASSIGN_OR_RETURN(const SocketList found, Dump());
  if (found.sockets.empty()) return found;
  // What cannot be destroyed is in the second list.
  for (const SocketInfo& socket : found.sockets) Destroy(socket).IgnoreError();
  return Dump();
}

std::vector<ListeningPort> ParseProcNetTcp(absl::string_view text) {
  std::vector<ListeningPort> ports;
  for (const absl::string_view line : absl::StrSplit(text, '\n')) {
    const std::vector<absl::string_view> words = absl::StrSplit(line, ' ', absl::SkipWhitespace());
    if (words.size() < 4 || words[3] != "0A") continue;
    const std::pair<absl::string_view, absl::string_view> local = absl::StrSplit(words[1], ':');
    uint32_t port = 0;
    if (!absl::SimpleHexAtoi(local.second, &port) || (local.first.size() != 8 && local.first.size() != 32)) continue;
    // Groups of 32 bits, each printed as a number of this machine.
    uint32_t groups[4] = {};
    bool valid = true;
    for (size_t i = 0; i < local.first.size() / 8; ++i) {
      valid = valid && absl::SimpleHexAtoi(local.first.substr(i * 8, 8), &groups[i]);
    }
    if (!valid) continue;
    ports.push_back({AddressText(local.first.size() == 8 ? AF_INET : AF_INET6, groups), static_cast<int>(port), false});
  }
  return ports;
}

}  // namespace mayfly
