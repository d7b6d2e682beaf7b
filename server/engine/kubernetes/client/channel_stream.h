// A Stream (mayfly/engine/interactive.h) over one WebSocket of the API server, on which every message begins with the
// number of its channel. What the channels mean, a ChannelProtocol knows; how it got there and what waits, this does.
#ifndef MAYFLY_SERVER_ENGINE_KUBERNETES_CLIENT_CHANNEL_STREAM_H_
#define MAYFLY_SERVER_ENGINE_KUBERNETES_CLIENT_CHANNEL_STREAM_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "mayfly/engine/interactive.h"
#include "server/engine/kubernetes/client/endpoint.h"
#include "server/http/websocket.h"

namespace mayfly::kube {

// One connection's messages, without any input or output. Calls come one at a time.
class ChannelProtocol {
 public:
  struct Piece {
    std::string bytes;  // Empty: the message was none of the user's.
    bool stderr_stream = false;
  };
  struct Ended {
    absl::Status status;
    int exit_code = 0;
  };
  virtual ~ChannelProtocol() = default;

  virtual std::vector<std::string> Subprotocols() const = 0;
  virtual void OnOpen(const std::string& subprotocol) = 0;
  virtual Piece OnMessage(std::string message) = 0;
  // True when all is said and the connection may be closed.
  virtual bool Complete() const = 0;
  // How the stream ended, when the connection ended with `end`.
  virtual Ended OnEnd(const http::WebSocketEnd& end) = 0;

  // The message that carries `bytes`, and how many of its bytes are not theirs.
  virtual std::string Data(absl::string_view bytes) const = 0;
  virtual size_t Overhead() const = 0;
  // Empty: there is no such message. After OnOpen only.
  virtual std::string CloseWrite() const = 0;
  virtual std::string Resize(int columns, int rows) const = 0;
};

// Asks for `path` ("/api/v1/...?...") on the endpoint, once more with new credentials after a 401. `sockets` outlives
// the stream. At once; everything that goes wrong comes as on_close. Callbacks run on the thread of `sockets`; a stream
// may be destroyed in them, and none begins after a destruction on that thread.
std::unique_ptr<Stream> OpenChannelStream(const Endpoint& endpoint, http::WebSocketClient& sockets, std::string path,
                                          std::unique_ptr<ChannelProtocol> protocol, Stream::Callbacks callbacks);

// The status for a connection that never stood or broke: a refusal's Status object in words where there is one.
absl::Status ConnectionStatus(const http::WebSocketEnd& end);

// The status for a failed Status object of the API server (as JSON text).
absl::Status FailureStatus(const std::string& object, absl::StatusCode otherwise);

}  // namespace mayfly::kube

#endif  // MAYFLY_SERVER_ENGINE_KUBERNETES_CLIENT_CHANNEL_STREAM_H_
