// Connections to ports inside pods: kubectl port-forward.
#ifndef MAYFLY_SERVER_ENGINE_KUBERNETES_CLIENT_PORT_FORWARD_H_
#define MAYFLY_SERVER_ENGINE_KUBERNETES_CLIENT_PORT_FORWARD_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "mayfly/engine/interactive.h"
#include "server/engine/kubernetes/client/channel_stream.h"
#include "server/engine/kubernetes/client/endpoint.h"
#include "server/http/websocket.h"

namespace mayfly::kube {

struct PodPort {
  std::string name_space;
  std::string pod;
  uint16_t port = 0;
};

// One TCP connection to a port of a running pod, by one WebSocket. At once. on_close has OK and 0 when the other side
// ended the connection, UNAVAILABLE when nothing listens there or the connection broke, NOT_FOUND for no such pod,
// PERMISSION_DENIED. Needs the rights get and create on pods/portforward.
//
// The protocol knows no end of one direction: CloseWrite does nothing, and a peer that waits for it waits until the
// stream is destroyed.
std::unique_ptr<Stream> StartPortForward(const Endpoint& endpoint, http::WebSocketClient& sockets, const PodPort& port,
                                         Stream::Callbacks callbacks);

std::string PortForwardPath(const PodPort& port);

// v4.channel.k8s.io with one port: channel 0 carries data, channel 1 the reason of a failure; the first message on each
// is the port in two bytes, the lower one first.
class PortForwardProtocol final : public ChannelProtocol {
 public:
  std::vector<std::string> Subprotocols() const override;
  void OnOpen(const std::string&) override {}
  Piece OnMessage(std::string message) override;
  bool Complete() const override { return !error_.empty(); }
  Ended OnEnd(const http::WebSocketEnd& end) override;
  std::string Data(absl::string_view bytes) const override;
  size_t Overhead() const override { return 1; }
  std::string CloseWrite() const override { return ""; }
  std::string Resize(int, int) const override { return ""; }

 private:
  bool named_[2] = {false, false};  // The channel's first message has come.
  std::string error_;
};

}  // namespace mayfly::kube

#endif  // MAYFLY_SERVER_ENGINE_KUBERNETES_CLIENT_PORT_FORWARD_H_
