#include "server/engine/kubernetes/client/exec.h"

#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"
#include "server/engine/kubernetes/client/json_text.h"
#include "server/engine/kubernetes/client/resource_path.h"

namespace mayfly::kube {
namespace {

using nlohmann::json;

constexpr char kV5[] = "v5.channel.k8s.io";
constexpr char kV4[] = "v4.channel.k8s.io";
constexpr size_t kMostStatus = 64 << 10;
constexpr char kEndOfFileKey = 4;

enum Channel : char { kStdin = 0, kStdout = 1, kStderr = 2, kEnd = 3, kSize = 4 };
constexpr char kCloseChannel = '\xFF';

// The exit code in a failed Status object; -1 when it tells of none.
int ExitCodeOf(const json& status) {
  if (TextAt(status, {"reason"}) != "NonZeroExitCode") return -1;
  for (const json& cause : ValueAt(status, {"details", "causes"})) {
    int code = -1;
    if (TextAt(cause, {"reason"}) == "ExitCode" && absl::SimpleAtoi(TextAt(cause, {"message"}), &code)) return code;
  }
  return -1;
}

}  // namespace

std::string ExecPath(const PodExec& exec) {
  std::string path = absl::StrCat("/api/v1/namespaces/", UrlEscape(exec.name_space), "/pods/", UrlEscape(exec.pod),
                                  "/exec?stdin=true&stdout=true", exec.terminal ? "&tty=true" : "&stderr=true");
  if (!exec.container.empty()) absl::StrAppend(&path, "&container=", UrlEscape(exec.container));
  for (const std::string& argument : exec.argv) absl::StrAppend(&path, "&command=", UrlEscape(argument));
  return path;
}

std::unique_ptr<Stream> StartExec(const Endpoint& endpoint, http::WebSocketClient& sockets, const PodExec& exec,
                                  Stream::Callbacks callbacks) {
  std::unique_ptr<Stream> stream = OpenChannelStream(
      endpoint, sockets, ExecPath(exec), std::make_unique<ExecProtocol>(exec.terminal), std::move(callbacks));
  if (exec.terminal) stream->Resize(exec.columns, exec.rows);
  return stream;
}

std::vector<std::string> ExecProtocol::Subprotocols() const {
  return {kV5, kV4};
}

void ExecProtocol::OnOpen(const std::string& subprotocol) {
  half_close_ = subprotocol == kV5;
}

ChannelProtocol::Piece ExecProtocol::OnMessage(std::string message) {
  if (message.empty()) return {};
  const char channel = message[0];
  message.erase(0, 1);
  if (channel == kStdout || channel == kStderr) return {std::move(message), channel == kStderr};
  if (channel == kEnd && status_.size() < kMostStatus) status_ += message;
  return {};
}

ChannelProtocol::Ended ExecProtocol::OnEnd(const http::WebSocketEnd& end) {
  if (status_.empty()) return {ConnectionStatus(end), -1};
  const json status = ParseJson(status_).value_or(json());
  if (TextAt(status, {"status"}) == "Success") return {absl::OkStatus(), 0};
  const int exit_code = ExitCodeOf(status);
  if (exit_code >= 0) return {absl::OkStatus(), exit_code};
  return {FailureStatus(status_, absl::StatusCode::kFailedPrecondition), -1};
}

std::string ExecProtocol::Data(absl::string_view bytes) const {
  return absl::StrCat(absl::string_view("\0", 1), bytes);
}

std::string ExecProtocol::CloseWrite() const {
  if (terminal_) return Data(std::string(1, kEndOfFileKey));
  return half_close_ ? std::string({kCloseChannel, kStdin}) : "";
}

std::string ExecProtocol::Resize(int columns, int rows) const {
  if (!terminal_) return "";
  return absl::StrCat(std::string(1, kSize), "{\"Width\":", columns, ",\"Height\":", rows, "}");
}

}  // namespace mayfly::kube
