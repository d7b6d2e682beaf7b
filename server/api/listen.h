// Sockets to listen on.
#ifndef MAYFLY_SERVER_API_LISTEN_H_
#define MAYFLY_SERVER_API_LISTEN_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/base/unique_fd.h"

namespace mayfly::api {

// A Unix socket with mode 0600. A socket that lies there already is replaced: call only while holding the lock of the
// state folder, which proves that nobody serves it. FAILED_PRECONDITION when something else than a socket is in the
// way.
absl::StatusOr<UniqueFd> ListenUnix(const std::string& path);

struct TcpAddress {
  std::string host;  // Numeric, or "localhost".
  int port = 0;      // 0: the kernel chooses.
  bool loopback = false;
};
// "127.0.0.1:7070", "[::1]:7070", "localhost:7070", ":7070" (every address). INVALID_ARGUMENT otherwise; names other
// than localhost are not looked up.
absl::StatusOr<TcpAddress> ParseTcpAddress(absl::string_view text);

struct TcpListener {
  UniqueFd fd;
  int port = 0;
};
absl::StatusOr<TcpListener> ListenTcp(const TcpAddress& address);

}  // namespace mayfly::api

#endif  // MAYFLY_SERVER_API_LISTEN_H_
