// The frames of RFC 6455, without any input or output: bytes to messages and back.
#ifndef MAYFLY_SERVER_HTTP_WEBSOCKET_FRAMES_H_
#define MAYFLY_SERVER_HTTP_WEBSOCKET_FRAMES_H_

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace mayfly::http {

enum class WsOpcode : uint8_t { kContinuation = 0, kText = 1, kBinary = 2, kClose = 8, kPing = 9, kPong = 10 };

// Close codes that we send.
constexpr uint16_t kWsNormal = 1000;
constexpr uint16_t kWsProtocolError = 1002;
constexpr uint16_t kWsNoCode = 1005;  // Never on the wire: a close frame without a code.
constexpr uint16_t kWsBadText = 1007;
constexpr uint16_t kWsTooBig = 1009;

using WsMask = std::array<unsigned char, 4>;

// One frame. A client masks every frame with a key that the server cannot foresee; a server passes nullptr. A control
// frame's payload is at most 125 bytes: what is longer is cut.
std::string EncodeWsFrame(WsOpcode opcode, bool fin, absl::string_view payload, const WsMask* mask);

// Code and reason of a close frame's payload; the reason is cut to what fits. kWsNoCode makes an empty payload.
std::string EncodeWsClose(uint16_t code, absl::string_view reason);

struct WsMessage {
  WsOpcode opcode = WsOpcode::kBinary;  // kText, kBinary, kPing, kPong or kClose; never kContinuation.
  std::string payload;                  // Of a close frame: the reason. Untrusted.
  uint16_t close_code = kWsNoCode;
};

// Puts frames together into messages. What a peer may claim costs nothing: memory grows with bytes that came, up to
// `max_message`, whatever lengths a frame announces. Not thread-safe.
class WsDecoder {
 public:
  enum class Peer { kServer, kClient };  // Whose frames are read: a client's are masked, a server's are not.

  WsDecoder(Peer peer, size_t max_message) : masked_(peer == Peer::kClient), max_message_(max_message) {}

  // Reads `bytes`, split in any way, and appends what became complete to `out`. INVALID_ARGUMENT where the peer broke
  // the protocol, RESOURCE_EXHAUSTED for a message over the limit; what came before is still appended, and failure()
  // is the code to close with. After an error or a close frame everything is ignored.
  absl::Status Feed(absl::string_view bytes, std::vector<WsMessage>& out);

  uint16_t failure() const { return failure_; }
  bool closed() const { return done_; }

 private:
  absl::Status Fail(uint16_t code, std::string message);
  size_t HeaderSize() const;  // What the header needs, as far as is known.
  absl::Status ReadHeader();
  absl::Status CheckOpcode(bool fin);
  absl::Status EndFrame(std::vector<WsMessage>& out);
  absl::Status EndClose(std::vector<WsMessage>& out);

  const bool masked_;
  const size_t max_message_;
  std::string header_;
  bool in_payload_ = false;
  bool fin_ = false;
  WsOpcode opcode_ = WsOpcode::kContinuation;  // Of this frame.
  uint64_t length_ = 0;
  uint64_t read_ = 0;
  WsMask mask_ = {};
  bool fragmented_ = false;  // A message began and has not ended.
  WsOpcode message_opcode_ = WsOpcode::kBinary;
  std::string message_;
  std::string control_;
  bool done_ = false;
  uint16_t failure_ = 0;
};

// The value of Sec-WebSocket-Accept that answers `key`.
std::string WsAcceptFor(absl::string_view key);

}  // namespace mayfly::http

#endif  // MAYFLY_SERVER_HTTP_WEBSOCKET_FRAMES_H_
