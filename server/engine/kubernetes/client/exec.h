// Commands inside a running pod's container: kubectl exec.
#ifndef MAYFLY_SERVER_ENGINE_KUBERNETES_CLIENT_EXEC_H_
#define MAYFLY_SERVER_ENGINE_KUBERNETES_CLIENT_EXEC_H_

#include <memory>
#include <string>
#include <vector>

#include "mayfly/engine/interactive.h"
#include "server/engine/kubernetes/client/channel_stream.h"
#include "server/engine/kubernetes/client/endpoint.h"
#include "server/http/websocket.h"

namespace mayfly::kube {

struct PodExec {
  std::string name_space;
  std::string pod;
  std::string container;  // Empty: the pod's only or default one.
  std::vector<std::string> argv;
  bool terminal = false;  // Then stderr comes within stdout, and CloseWrite types Ctrl-D.
  int columns = 80;
  int rows = 24;
};

// At once. on_close has OK and the command's exit code, or why there is none: NOT_FOUND for no such pod or container,
// PERMISSION_DENIED, INVALID_ARGUMENT, UNAVAILABLE when the connection broke (the command may go on),
// FAILED_PRECONDITION when the command could not be started. Needs the rights get and create on pods/exec.
//
// An API server before 1.30 (v4.channel.k8s.io) has no end of input: CloseWrite then does nothing without a terminal.
std::unique_ptr<Stream> StartExec(const Endpoint& endpoint, http::WebSocketClient& sockets, const PodExec& exec,
                                  Stream::Callbacks callbacks);

std::string ExecPath(const PodExec& exec);

// v4 and v5.channel.k8s.io: 0 stdin, 1 stdout, 2 stderr, 3 the end as a Status object, 4 the terminal's size; v5: 255
// closes the channel that follows.
class ExecProtocol final : public ChannelProtocol {
 public:
  explicit ExecProtocol(bool terminal) : terminal_(terminal) {}
  std::vector<std::string> Subprotocols() const override;
  void OnOpen(const std::string& subprotocol) override;
  Piece OnMessage(std::string message) override;
  bool Complete() const override { return false; }
  Ended OnEnd(const http::WebSocketEnd& end) override;
  std::string Data(absl::string_view bytes) const override;
  size_t Overhead() const override { return 1; }
  std::string CloseWrite() const override;
  std::string Resize(int columns, int rows) const override;

 private:
  const bool terminal_;
  bool half_close_ = false;
  std::string status_;
};

}  // namespace mayfly::kube

#endif  // MAYFLY_SERVER_ENGINE_KUBERNETES_CLIENT_EXEC_H_
