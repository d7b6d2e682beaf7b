// Netlink by hand: requests are packed into batches and sent with one system call, and every one of them is answered.
// The `ip` program costs milliseconds a call, this microseconds.
#ifndef MAYFLY_SERVER_ENGINE_LOCAL_NETLINK_H_
#define MAYFLY_SERVER_ENGINE_LOCAL_NETLINK_H_

#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/engine/local/sys.h"

namespace mayfly::local {

// Requests in the order they were begun. Attributes go to the request begun last.
class NetlinkBatch {
 public:
  // `header` is the fixed part behind nlmsghdr, such as ifinfomsg.
  void Begin(uint16_t type, uint16_t flags, absl::string_view header);
  template <class T>
  void Begin(uint16_t type, uint16_t flags, const T& header) {
    Begin(type, flags, absl::string_view(reinterpret_cast<const char*>(&header), sizeof(header)));
  }
  void Attr(uint16_t type, absl::string_view value);
  void AttrU32(uint16_t type, uint32_t value);
  void AttrString(uint16_t type, absl::string_view value);  // With its terminating zero.
  void Raw(absl::string_view bytes) { out_.append(bytes.data(), bytes.size()); }
  // Everything until the matching EndNest lies inside this attribute. The handle is an offset.
  size_t BeginNest(uint16_t type);
  void EndNest(size_t handle);

  bool empty() const { return count_ == 0; }

 private:
  friend class NetlinkSocket;
  void Pad();
  void Finish();

  std::string out_;
  size_t current_ = 0;
  uint32_t count_ = 0;
};

// A netlink socket of the network namespace that the calling process was in when it opened it.
class NetlinkSocket {
 public:
  // `protocol`: NETLINK_ROUTE or NETLINK_SOCK_DIAG; `groups`: multicast groups to hear from.
  static absl::StatusOr<NetlinkSocket> Open(int protocol, uint32_t groups = 0);

  // Sends all requests and waits for each one's answer. The first error, naming the request's number.
  absl::Status Execute(NetlinkBatch batch);
  // One dump request; `fn` gets each part of the answer: message type and what follows nlmsghdr.
  absl::Status Dump(NetlinkBatch request, const std::function<void(uint16_t type, absl::string_view body)>& fn);
  // Blocks for one multicast message. For sockets opened with `groups`.
  absl::Status Receive(const std::function<void(uint16_t type, absl::string_view body)>& fn);

 private:
  explicit NetlinkSocket(UniqueFd fd) : fd_(std::move(fd)) {}
  UniqueFd fd_;
};

}  // namespace mayfly::local

#endif  // MAYFLY_SERVER_ENGINE_LOCAL_NETLINK_H_
