#include "server/api/listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cstring>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "mayfly/base/status.h"

namespace mayfly::api {
namespace {

absl::Status RemoveStaleSocket(const std::string& path) {
  struct stat info;
  if (lstat(path.c_str(), &info) != 0) {
    return errno == ENOENT ? absl::OkStatus() : ErrnoStatus(errno, absl::StrCat("stat ", path));
  }
  if (!S_ISSOCK(info.st_mode)) {
    return absl::FailedPreconditionError(absl::StrCat(path, " is in the way: it is not a socket; move it elsewhere"));
  }
  if (unlink(path.c_str()) != 0) return ErrnoStatus(errno, absl::StrCat("unlink ", path));
  return absl::OkStatus();
}

struct SockAddr {
  sockaddr_storage storage{};
  socklen_t length = 0;
};

absl::StatusOr<SockAddr> Resolve(const TcpAddress& address) {
  SockAddr out;
  const std::string host = address.host == "localhost" ? "127.0.0.1" : address.host;
  auto* v4 = reinterpret_cast<sockaddr_in*>(&out.storage);
  auto* v6 = reinterpret_cast<sockaddr_in6*>(&out.storage);
  if (host.empty()) {
    v6->sin6_family = AF_INET6;
    v6->sin6_addr = in6addr_any;
    v6->sin6_port = htons(static_cast<uint16_t>(address.port));
    out.length = sizeof(*v6);
  } else if (inet_pton(AF_INET, host.c_str(), &v4->sin_addr) == 1) {
    v4->sin_family = AF_INET;
    v4->sin_port = htons(static_cast<uint16_t>(address.port));
    out.length = sizeof(*v4);
  } else if (inet_pton(AF_INET6, host.c_str(), &v6->sin6_addr) == 1) {
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(static_cast<uint16_t>(address.port));
    out.length = sizeof(*v6);
  } else {
    return absl::InvalidArgumentError(absl::StrCat("'", host, "' is neither an IP address nor localhost"));
  }
  return out;
}

bool IsLoopback(const SockAddr& address) {
  if (address.storage.ss_family == AF_INET) {
    return (ntohl(reinterpret_cast<const sockaddr_in*>(&address.storage)->sin_addr.s_addr) >> 24) == 127;
  }
  const in6_addr& v6 = reinterpret_cast<const sockaddr_in6*>(&address.storage)->sin6_addr;
  return IN6_IS_ADDR_LOOPBACK(&v6);
}

}  // namespace

absl::StatusOr<UniqueFd> ListenUnix(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) {
    return absl::InvalidArgumentError(absl::StrCat("the path of the socket is too long: ", path));
  }
  memcpy(address.sun_path, path.data(), path.size());
  MAYFLY_RETURN_IF_ERROR(RemoveStaleSocket(path));
  UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return ErrnoStatus(errno, "socket");
  // Before bind, so that there is no instant at which others could connect.
  if (fchmod(fd.get(), 0600) != 0) return ErrnoStatus(errno, "fchmod of a socket");
  if (bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) {
    return ErrnoStatus(errno, absl::StrCat("bind ", path));
  }
  if (chmod(path.c_str(), 0600) != 0) return ErrnoStatus(errno, absl::StrCat("chmod ", path));
  if (listen(fd.get(), SOMAXCONN) != 0) return ErrnoStatus(errno, absl::StrCat("listen ", path));
  return fd;
}

absl::StatusOr<TcpAddress> ParseTcpAddress(absl::string_view text) {
  const size_t colon = text.rfind(':');
  TcpAddress out;
  if (colon == absl::string_view::npos || !absl::SimpleAtoi(text.substr(colon + 1), &out.port) || out.port < 0 ||
      out.port > 65535) {
    return absl::InvalidArgumentError(absl::StrCat("'", text, "' is not of the form ADDRESS:PORT"));
  }
  absl::string_view host = text.substr(0, colon);
  if (host.size() >= 2 && host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
  out.host = std::string(host);
  MAYFLY_ASSIGN_OR_RETURN(const SockAddr address, Resolve(out));
  out.loopback = IsLoopback(address);
  return out;
}

absl::StatusOr<TcpListener> ListenTcp(const TcpAddress& address) {
  MAYFLY_ASSIGN_OR_RETURN(SockAddr where, Resolve(address));
  TcpListener out;
  out.fd.reset(socket(where.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!out.fd.valid()) return ErrnoStatus(errno, "socket");
  const int one = 1;
  const int zero = 0;
  setsockopt(out.fd.get(), SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
  if (address.host.empty()) setsockopt(out.fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof(zero));
  const std::string text = absl::StrCat(address.host, ":", address.port);
  if (bind(out.fd.get(), reinterpret_cast<sockaddr*>(&where.storage), where.length) != 0) {
    return ErrnoStatus(errno, absl::StrCat("bind ", text));
  }
  if (listen(out.fd.get(), SOMAXCONN) != 0) return ErrnoStatus(errno, absl::StrCat("listen ", text));
  if (getsockname(out.fd.get(), reinterpret_cast<sockaddr*>(&where.storage), &where.length) != 0) {
    return ErrnoStatus(errno, "getsockname");
  }
  // The port is at the same place in both address families.
  out.port = ntohs(reinterpret_cast<sockaddr_in*>(&where.storage)->sin_port);
  return out;
}

}  // namespace mayfly::api
