#include "server/engine/parts/probe_grpc.h"

#include <cstdint>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "server/engine/parts/hpack_reader.h"

namespace mayfly {
namespace {

enum FrameType : uint8_t {
  kData = 0,
  kHeaders = 1,
  kResetStream = 3,
  kSettings = 4,
  kPing = 6,
  kGoAway = 7,
  kContinuation = 9,
};
constexpr uint8_t kAck = 1;
constexpr uint8_t kEndStream = 1;
constexpr uint8_t kEndHeaders = 4;
constexpr uint8_t kPadded = 8;
constexpr uint8_t kPriority = 32;
constexpr size_t kFrameHead = 9;
constexpr size_t kMaxFrame = 16384;  // What a peer may send that was told nothing else.

std::string Frame(FrameType type, uint8_t flags, uint32_t stream, absl::string_view payload) {
  std::string out;
  for (const int shift : {16, 8, 0}) out += static_cast<char>(payload.size() >> shift);
  out += static_cast<char>(type);
  out += static_cast<char>(flags);
  for (const int shift : {24, 16, 8, 0}) out += static_cast<char>(stream >> shift);
  absl::StrAppend(&out, payload);
  return out;
}

// A string literal without Huffman code, up to 126 characters in one length byte.
std::string Literal(absl::string_view text) {
  text = text.substr(0, 126);
  return absl::StrCat(std::string(1, static_cast<char>(text.size())), text);
}

// "Literal without indexing", with a name from the static table or of its own.
std::string Field(char name_index, absl::string_view value) {
  // Indexes from 15 on take a second byte behind a prefix of four ones.
  if (name_index >= 15) return absl::StrCat("\x0f", std::string(1, static_cast<char>(name_index - 15)), Literal(value));
  return absl::StrCat(std::string(1, name_index), Literal(value));
}
std::string Field(absl::string_view name, absl::string_view value) {
  return absl::StrCat(std::string(1, '\0'), Literal(name), Literal(value));
}

// google.rpc.Code, in order.
constexpr const char* kCodes[] = {
    "OK",        "CANCELLED",      "UNKNOWN",           "INVALID_ARGUMENT",   "DEADLINE_EXCEEDED",
    "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION",
    "ABORTED",   "OUT_OF_RANGE",   "UNIMPLEMENTED",     "INTERNAL",           "UNAVAILABLE",
    "DATA_LOSS", "UNAUTHENTICATED"};
constexpr const char* kServing[] = {"UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"};

class GrpcProbe final : public ProbeProtocol {
 public:
  GrpcProbe(absl::string_view authority, absl::string_view service)
      : authority_(authority), service_(service.substr(0, 120)) {}

  std::string Request() override {
    // SETTINGS_HEADER_TABLE_SIZE = 0, so that answers refer to nothing said before; SETTINGS_ENABLE_PUSH = 0.
    const std::string settings("\0\1\0\0\0\0\0\2\0\0\0\0", 12);
    std::string headers = absl::StrCat("\x83", "\x86");  // :method POST, :scheme http
    absl::StrAppend(&headers, Field(4, "/grpc.health.v1.Health/Check"), Field(1, authority_));
    absl::StrAppend(&headers, Field("te", "trailers"), Field(31, "application/grpc"), Field(58, "mayfly-probe"));
    std::string message;  // HealthCheckRequest{service = 1}
    if (!service_.empty()) message = absl::StrCat("\x0a", Literal(service_));
    std::string data(5, '\0');
    data[4] = static_cast<char>(message.size());
    return absl::StrCat("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Frame(kSettings, 0, 0, settings),
                        Frame(kHeaders, kEndHeaders, 1, headers), Frame(kData, kEndStream, 1, data + message));
  }

  Step OnBytes(absl::string_view bytes) override {
    buffer_.append(bytes.data(), bytes.size());
    if (!spoke_http2_ && absl::StartsWith(buffer_, "HTTP/")) {
      return {Failed(absl::StrCat("does not speak gRPC: ", QuoteAnswer(buffer_.substr(0, buffer_.find('\r'))))), ""};
    }
    Step step;
    while (!step.answer && buffer_.size() >= kFrameHead) {
      const auto byte = [&](size_t i) { return static_cast<uint8_t>(buffer_[i]); };
      const size_t size = size_t{byte(0)} << 16 | size_t{byte(1)} << 8 | byte(2);
      if (size > kMaxFrame || (!spoke_http2_ && byte(3) != kSettings)) return {Failed("does not speak HTTP/2"), ""};
      if (buffer_.size() < kFrameHead + size) break;
      spoke_http2_ = true;
      const std::string payload = buffer_.substr(kFrameHead, size);
      const uint8_t type = byte(3), flags = byte(4);
      buffer_.erase(0, kFrameHead + size);
      step.answer = OnFrame(type, flags, payload, step.reply);
    }
    return step;
  }

  ProbeAnswer OnEnd(absl::string_view reason) override {
    return Failed(spoke_http2_ ? absl::StrCat(reason, " before the health check was answered")
                               : absl::StrCat(reason, reason == "closed the connection" ? " without an answer" : ""));
  }

 private:
  using Answer = std::optional<ProbeAnswer>;

  static ProbeAnswer Failed(std::string message) {
    return {.healthy = false, .connected = true, .message = std::move(message)};
  }

  Answer OnFrame(uint8_t type, uint8_t flags, absl::string_view payload, std::string& reply) {
    switch (type) {
      case kSettings:
        if (!(flags & kAck)) reply += Frame(kSettings, kAck, 0, "");
        return std::nullopt;
      case kPing:
        if (!(flags & kAck)) reply += Frame(kPing, kAck, 0, payload);
        return std::nullopt;
      case kHeaders:
        if (flags & kPadded) payload = Unpad(payload);
        if (flags & kPriority) payload.remove_prefix(std::min<size_t>(5, payload.size()));
        block_ = std::string(payload);
        end_stream_ = flags & kEndStream;
        return flags & kEndHeaders ? OnHeaders() : std::nullopt;
      case kContinuation:
        absl::StrAppend(&block_, payload);
        return flags & kEndHeaders ? OnHeaders() : std::nullopt;
      case kData:
        data_ += std::string(flags & kPadded ? Unpad(payload) : payload);
        return OnData();
      case kResetStream:
        return Failed("gRPC health: the server reset the call");
      case kGoAway:
        return Failed("gRPC health: the server is going away");
      default:
        return std::nullopt;
    }
  }

  static absl::string_view Unpad(absl::string_view payload) {
    if (payload.empty()) return payload;
    const size_t padding = static_cast<uint8_t>(payload[0]);
    payload.remove_prefix(1);
    payload.remove_suffix(std::min(padding, payload.size()));
    return payload;
  }

  Answer OnHeaders() {
    const absl::StatusOr<HeaderList> headers = ReadHpack(block_);
    if (!headers.ok()) return end_stream_ ? Answer(Failed("gRPC health: unreadable answer")) : std::nullopt;
    std::string code, message, http;
    for (const auto& [name, value] : *headers) {
      if (name == "grpc-status") code = value;
      if (name == "grpc-message") message = value;
      if (name == ":status") http = value;
    }
    if (!http.empty() && http != "200") return Failed(absl::StrCat("gRPC health: HTTP ", QuoteAnswer(http, 8)));
    if (!end_stream_) return std::nullopt;
    size_t index = 0;
    const bool known = absl::SimpleAtoi(code, &index) && index < std::size(kCodes);
    std::string text = absl::StrCat("gRPC health: ", known ? kCodes[index] : "no status");
    if (!message.empty()) absl::StrAppend(&text, ": ", QuoteAnswer(message));
    if (known && index == 12) absl::StrAppend(&text, "; register grpc.health.v1.Health, or probe with tcp");
    return Failed(std::move(text));
  }

  // One message: a byte of compression, four of length, HealthCheckResponse{status = 1}. Zero is not sent.
  Answer OnData() {
    if (data_.size() < 5) return std::nullopt;
    const auto byte = [&](size_t i) { return static_cast<uint8_t>(data_[i]); };
    const size_t length = size_t{byte(1)} << 24 | size_t{byte(2)} << 16 | size_t{byte(3)} << 8 | byte(4);
    if (data_[0] != 0 || length > 1024) return Failed("gRPC health: unreadable answer");
    if (data_.size() < 5 + length) return std::nullopt;
    const size_t status = length >= 2 && byte(5) == 0x08 ? byte(6) : 0;
    if (status == 1) return ProbeAnswer{.healthy = true, .connected = true};
    return Failed(absl::StrCat("gRPC health: ", status < std::size(kServing) ? kServing[status] : "unknown status"));
  }

  const std::string authority_;
  const std::string service_;
  std::string buffer_;
  std::string block_;
  std::string data_;
  bool spoke_http2_ = false;
  bool end_stream_ = false;
};

}  // namespace

std::unique_ptr<ProbeProtocol> MakeGrpcProbe(absl::string_view authority, absl::string_view service) {
  return std::make_unique<GrpcProbe>(authority, service);
}

}  // namespace mayfly
