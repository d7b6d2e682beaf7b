// WebSockets for everything in mayfly that calls out: RFC 6455 over HTTP/1.1, with libcurl's connections, TLS and
// proxies.
#ifndef MAYFLY_SERVER_HTTP_WEBSOCKET_H_
#define MAYFLY_SERVER_HTTP_WEBSOCKET_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/http/message.h"

namespace mayfly::http {

struct WebSocketRequest {
  std::string url;  // http:// or https://
  Headers headers;
  std::vector<std::string> subprotocols;  // In order of preference; the server must take one, unless there is none.
  std::shared_ptr<const Tls> tls;         // As in Request.
  std::string proxy;
  absl::Duration connect = absl::Seconds(10);   // For the connection to stand, TLS included.
  absl::Duration deadline = absl::Seconds(30);  // Until the server has agreed, the connection included.
  // After so long without a byte from the peer it is asked; after as long again without an answer it is dead.
  absl::Duration ping = absl::Seconds(30);
  size_t max_message = 4 << 20;
  // Reading stops at so many bytes of messages until they are given back by Taken; the peer is then held up by TCP. By
  // the last messages of one read it may be exceeded. 0: no limit.
  size_t window = 0;
};

// How a WebSocket ended.
//   OK                  after Close, or the peer closed with 1000 or without a code
//   UNAVAILABLE         no connection, one that broke or died, a close with another code
//   DEADLINE_EXCEEDED   `connect` or `deadline` passed
//   UNAUTHENTICATED     TLS failed for good; also 401 in place of an upgrade
//   PERMISSION_DENIED, NOT_FOUND, INVALID_ARGUMENT, FAILED_PRECONDITION, UNAVAILABLE  the upgrade was refused with
//                       403, 404, 400, another 4xx, or 429 and 5xx; http_status and body are set
//   INVALID_ARGUMENT    also: the request cannot be put, or the peer broke the protocol
//   RESOURCE_EXHAUSTED  a message is over max_message, or more than 8 MiB were sent without waiting for on_sent
//   CANCELLED           the WebSocketClient ended, or Close before it was open
// Messages name host and cause, never a header or the URL's query.
struct WebSocketEnd {
  absl::Status status;
  uint16_t code = 0;   // The peer's close code; 0: none came.
  std::string reason;  // The peer's. Untrusted.
  int http_status = 0;
  std::string body;  // Of the refusal, at most 64 KiB. Untrusted.
};

// Called on the WebSocketClient's thread, one at a time; they must not block. Any may be empty.
struct WebSocketEvents {
  std::function<void(std::string subprotocol)> on_open;
  std::function<void(std::string message, bool text)> on_message;
  // The message of so many bytes left for the peer, or is dropped because nobody reads any more. In order.
  std::function<void(size_t bytes)> on_sent;
  std::function<void(WebSocketEnd)> on_close;  // Once, last.
};

// One connection. Thread-safe; nothing here waits. Destroying it ends the connection at once, and after a destruction
// on the client's thread nothing is called any more.
class WebSocket {
 public:
  virtual ~WebSocket() = default;
  // What is sent before on_open goes out after it. Empty after the end.
  virtual void Send(std::string message, bool text = false) = 0;
  virtual void Taken(size_t bytes) = 0;
  // Sends what is queued, then closes. The peer has five seconds to agree.
  virtual void Close(uint16_t code, std::string reason) = 0;
};

struct WebSocketClientOptions {
  std::string user_agent = "mayfly";
  absl::Duration dead_peer = absl::Seconds(20);  // As in ClientOptions.
};

// One thread for any number of WebSockets. Thread-safe.
class WebSocketClient {
 public:
  explicit WebSocketClient(WebSocketClientOptions options = {});
  ~WebSocketClient();  // Not from a callback. Every WebSocket ends CANCELLED first; they may outlive it.
  WebSocketClient(const WebSocketClient&) = delete;
  WebSocketClient& operator=(const WebSocketClient&) = delete;

  // Every outcome comes as on_close, never inline.
  std::unique_ptr<WebSocket> Open(WebSocketRequest request, WebSocketEvents events);

  // What runs a function on the client's thread, in order of posting and never inline; not at all once the client has
  // ended, which it may outlive.
  using Poster = std::function<void(std::function<void()>)>;
  Poster MakePoster() const;
  bool OnThread() const;

 private:
  class Core;
  std::shared_ptr<Core> core_;
};

}  // namespace mayfly::http

#endif  // MAYFLY_SERVER_HTTP_WEBSOCKET_H_
