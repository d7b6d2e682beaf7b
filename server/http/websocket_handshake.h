// The HTTP before a WebSocket's first frame, without any input or output.
#ifndef MAYFLY_SERVER_HTTP_WEBSOCKET_HANDSHAKE_H_
#define MAYFLY_SERVER_HTTP_WEBSOCKET_HANDSHAKE_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "server/http/message.h"
#include "server/http/websocket.h"

namespace mayfly::http {

// The request's text. `key` is the value of Sec-WebSocket-Key. The request's URL and headers have been checked.
std::string WsUpgradeRequest(const WebSocketRequest& request, absl::string_view user_agent, absl::string_view key);

// Reads the answer. Not thread-safe.
class WsUpgradeReader {
 public:
  enum class State { kReading, kOpen, kRefused };

  WsUpgradeReader(std::string key, std::vector<std::string> subprotocols)
      : key_(std::move(key)), subprotocols_(std::move(subprotocols)) {}

  // `bytes` in any split. INVALID_ARGUMENT for an answer that is no HTTP/1.1 or no proper agreement. Once the state is
  // no longer kReading, nothing more may be fed.
  absl::Status Feed(absl::string_view bytes);
  // The connection ended: what came is all there is of a refusal. UNAVAILABLE when not even a head came.
  absl::Status FeedEnd();

  State state() const { return state_; }
  const std::string& subprotocol() const { return subprotocol_; }  // kOpen.
  std::string TakeRest() { return std::move(rest_); }              // kOpen: what came behind the head, frames.
  const Response& response() const { return response_; }           // kRefused; its body is cut at 64 KiB.

 private:
  absl::Status ReadHead(absl::string_view head);
  absl::Status CheckAgreement();
  void ReadBody();

  const std::string key_;
  const std::vector<std::string> subprotocols_;
  State state_ = State::kReading;
  bool head_read_ = false;
  Response response_;
  std::string rest_;
  std::string subprotocol_;
};

// The code for a refusal with that HTTP status; see WebSocketEnd.
absl::StatusCode WsRefusalCode(int http_status);

}  // namespace mayfly::http

#endif  // MAYFLY_SERVER_HTTP_WEBSOCKET_HANDSHAKE_H_
