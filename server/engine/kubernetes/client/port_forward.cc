#include "server/engine/kubernetes/client/port_forward.h"

#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "mayfly/base/text.h"
#include "server/engine/kubernetes/client/resource_path.h"

namespace mayfly::kube {
namespace {

constexpr size_t kMostError = 4096;

}  // namespace

std::string PortForwardPath(const PodPort& port) {
  return absl::StrCat("/api/v1/namespaces/", UrlEscape(port.name_space), "/pods/", UrlEscape(port.pod),
                      "/portforward?ports=", port.port);
}

std::unique_ptr<Stream> StartPortForward(const Endpoint& endpoint, http::WebSocketClient& sockets, const PodPort& port,
                                         Stream::Callbacks callbacks) {
  return OpenChannelStream(endpoint, sockets, PortForwardPath(port), std::make_unique<PortForwardProtocol>(),
                           std::move(callbacks));
}

std::vector<std::string> PortForwardProtocol::Subprotocols() const {
  return {"v4.channel.k8s.io"};
}

ChannelProtocol::Piece PortForwardProtocol::OnMessage(std::string message) {
  if (message.empty() || message[0] < 0 || message[0] > 1) return {};
  const size_t channel = message[0] == 0 ? 0 : 1;
  message.erase(0, 1);
  if (message.empty()) return {};
  if (!std::exchange(named_[channel], true)) return {};
  if (channel == 0) return {std::move(message), false};
  if (error_.size() < kMostError) error_ += message;
  return {};
}

ChannelProtocol::Ended PortForwardProtocol::OnEnd(const http::WebSocketEnd& end) {
  if (!error_.empty()) return {absl::UnavailableError(EscapeLine(absl::StripAsciiWhitespace(error_))), -1};
  // What the other side of the connection ends, the API server ends with a close frame.
  if (end.status.ok()) return {absl::OkStatus(), 0};
  return {ConnectionStatus(end), -1};
}

std::string PortForwardProtocol::Data(absl::string_view bytes) const {
  return absl::StrCat(absl::string_view("\0", 1), bytes);
}

}  // namespace mayfly::kube
