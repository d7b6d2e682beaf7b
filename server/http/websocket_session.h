// One WebSocket on its way through libcurl. Everything here runs on the WebSocketClient's thread.
#ifndef MAYFLY_SERVER_HTTP_WEBSOCKET_SESSION_H_
#define MAYFLY_SERVER_HTTP_WEBSOCKET_SESSION_H_

#include <curl/curl.h>

#include <deque>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/http/transfer.h"
#include "server/http/websocket.h"
#include "server/http/websocket_frames.h"
#include "server/http/websocket_handshake.h"

namespace mayfly::http {

class WsSession {
 public:
  WsSession(WebSocketRequest request, WebSocketEvents events, const ClientOptions& options);

  // Sets up the handle, to be added to a multi handle and to stay there until this object's end.
  absl::Status Prepare(absl::Duration now);
  CURL* easy() const { return transfer_.easy(); }

  // libcurl has the connection, or not.
  void OnConnected(CURLcode code, absl::Duration now);
  // The socket may be ready, or there was more to read than one turn takes.
  void OnReady(absl::Duration now);
  // To be called at due().
  void OnDue(absl::Duration now);
  absl::Duration due() const;

  curl_socket_t socket() const { return socket_; }  // CURL_SOCKET_BAD while libcurl still connects.
  bool wants_read() const;
  bool wants_write() const { return !broken_ && blocked_; }
  bool has_more() const { return more_ && wants_read(); }

  void Send(const std::string& message, bool text);
  void Taken(size_t bytes, absl::Duration now);
  void Close(uint16_t code, const std::string& reason, absl::Duration now);
  // Nothing is called any more, and the peer is told if that needs no waiting.
  void Abandon();

  // Ends it: the owner collects it and calls Finish when it is out of the multi handle.
  void End(WebSocketEnd end);
  void EndWith(absl::Status status);
  bool ended() const { return end_.has_value(); }
  void Finish();

 private:
  enum class State { kConnecting, kUpgrading, kOpen };
  struct Chunk {
    std::string bytes;
    size_t payload = 0;  // Of a message of Send.
    bool message = false;
  };

  bool Held() const { return request_.window > 0 && untaken_ >= request_.window; }
  void Read(absl::Duration now);
  void OnBytes(absl::string_view bytes);
  void OnUpgradeBytes(absl::string_view bytes);
  void OnFrameBytes(absl::string_view bytes);
  void OnEndOfFile();
  void OnMessage(WsMessage message);
  void Refuse();
  void Queue(WsOpcode opcode, absl::string_view payload, bool message);
  void QueueClose(uint16_t code, absl::string_view reason);
  void Flush();
  void DropQueue();
  void Told(const Chunk& chunk);
  std::string Says(absl::string_view what) const;

  const WebSocketRequest request_;
  WebSocketEvents events_;
  const ClientOptions& options_;
  Transfer transfer_;
  State state_ = State::kConnecting;
  curl_socket_t socket_ = CURL_SOCKET_BAD;
  std::optional<WsUpgradeReader> upgrade_;
  WsDecoder decoder_;
  absl::Duration deadline_;   // Of the upgrade, then of a close; infinite between.
  absl::Duration last_byte_;  // Or when reading was taken up again.
  bool pinged_ = false;       // Since `last_byte_`.

  std::deque<Chunk> queue_;  // TLS wants the same bytes at the same place when it is asked again.
  std::deque<Chunk> early_;  // Sent before it was open.
  size_t sent_ = 0;          // Of the first chunk.
  size_t queued_ = 0;
  bool blocked_ = false;
  bool broken_ = false;  // Nothing can be sent any more; what comes may still tell why.
  bool closing_ = false;
  bool muted_ = false;

  size_t untaken_ = 0;
  bool more_ = false;
  std::optional<WebSocketEnd> end_;
};

}  // namespace mayfly::http

#endif  // MAYFLY_SERVER_HTTP_WEBSOCKET_SESSION_H_
