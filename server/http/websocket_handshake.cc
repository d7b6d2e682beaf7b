#include "server/http/websocket_handshake.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "mayfly/base/text.h"
#include "server/http/websocket_frames.h"

namespace mayfly::http {
namespace {

constexpr size_t kMostHead = 64 << 10;
constexpr size_t kMostBody = 64 << 10;

bool HoldsToken(absl::string_view list, absl::string_view token) {
  for (absl::string_view item : absl::StrSplit(list, ',')) {
    if (absl::EqualsIgnoreCase(absl::StripAsciiWhitespace(item), token)) return true;
  }
  return false;
}

// Whether a chunked body is complete; what there is of it goes to `body`.
bool Dechunk(absl::string_view raw, std::string& body) {
  body.clear();
  while (true) {
    const size_t line_end = raw.find("\r\n");
    if (line_end == absl::string_view::npos) return false;
    const absl::string_view line = raw.substr(0, line_end);
    size_t size = 0;
    for (const char c : line.substr(0, std::min<size_t>(line.find_first_of("; \t"), 8))) {
      if (!absl::ascii_isxdigit(static_cast<unsigned char>(c))) return true;  // No chunk: it ends here.
      size = size * 16 + static_cast<size_t>(absl::ascii_isdigit(static_cast<unsigned char>(c))
                                                 ? c - '0'
                                                 : absl::ascii_tolower(static_cast<unsigned char>(c)) - 'a' + 10);
    }
    if (size == 0) return true;
    raw.remove_prefix(line_end + 2);
    const absl::string_view chunk = raw.substr(0, size);
    body.append(chunk.data(), chunk.size());
    if (raw.size() < size + 2) return false;
    raw.remove_prefix(size + 2);
  }
}

}  // namespace

std::string WsUpgradeRequest(const WebSocketRequest& request, absl::string_view user_agent, absl::string_view key) {
  absl::string_view rest = request.url;
  rest.remove_prefix(rest.find("://") + 3);
  const size_t authority_end = std::min(rest.find_first_of("/?#"), rest.size());
  absl::string_view authority = rest.substr(0, authority_end);
  if (const size_t at = authority.rfind('@'); at != absl::string_view::npos) authority.remove_prefix(at + 1);
  absl::string_view target = rest.substr(authority_end);
  target = target.substr(0, target.find('#'));
  std::string text = absl::StrCat("GET ", absl::StartsWith(target, "/") ? "" : "/", target,
                                  " HTTP/1.1\r\nHost: ", authority, "\r\nUser-Agent: ", user_agent,
                                  "\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                                  "Sec-WebSocket-Key: ",
                                  key, "\r\n");
  if (!request.subprotocols.empty()) {
    absl::StrAppend(&text, "Sec-WebSocket-Protocol: ", absl::StrJoin(request.subprotocols, ", "), "\r\n");
  }
  for (const Header& header : request.headers) absl::StrAppend(&text, header.name, ": ", header.value, "\r\n");
  return text + "\r\n";
}

absl::Status WsUpgradeReader::Feed(absl::string_view bytes) {
  rest_.append(bytes.data(), bytes.size());
  while (!head_read_) {
    const size_t end = rest_.find("\r\n\r\n");
    if (end == std::string::npos) {
      if (rest_.size() > kMostHead) return absl::InvalidArgumentError("the head of its answer is too large");
      if (!absl::StartsWith("HTTP/1.1 ", absl::string_view(rest_).substr(0, 9))) {
        return absl::InvalidArgumentError("its answer is no HTTP/1.1");
      }
      return absl::OkStatus();
    }
    const std::string head = rest_.substr(0, end);
    rest_.erase(0, end + 4);
    if (absl::Status status = ReadHead(head); !status.ok()) return status;
    head_read_ = response_.status == 101 || response_.status >= 200;  // Others are interim answers.
  }
  if (response_.status == 101) return CheckAgreement();
  ReadBody();
  return absl::OkStatus();
}

absl::Status WsUpgradeReader::FeedEnd() {
  if (!head_read_) return absl::UnavailableError("the connection ended without an answer");
  state_ = State::kRefused;
  return absl::OkStatus();
}

absl::Status WsUpgradeReader::ReadHead(absl::string_view head) {
  response_ = Response();
  bool first = true;
  for (absl::string_view line : absl::StrSplit(head, "\r\n")) {
    if (first) {
      if (!absl::StartsWith(line, "HTTP/1.1 ") || !absl::SimpleAtoi(line.substr(9, 3), &response_.status)) {
        return absl::InvalidArgumentError("its answer is no HTTP/1.1");
      }
      first = false;
      continue;
    }
    const size_t colon = line.find(':');
    if (colon == absl::string_view::npos) return absl::InvalidArgumentError("its answer has a header without ':'");
    response_.headers.push_back({absl::AsciiStrToLower(line.substr(0, colon)),
                                 std::string(absl::StripAsciiWhitespace(line.substr(colon + 1)))});
  }
  return absl::OkStatus();
}

absl::Status WsUpgradeReader::CheckAgreement() {
  if (!absl::EqualsIgnoreCase(response_.Find("upgrade"), "websocket") ||
      !HoldsToken(response_.Find("connection"), "upgrade")) {
    return absl::InvalidArgumentError("it agreed to something else than a WebSocket");
  }
  if (response_.Find("sec-websocket-accept") != WsAcceptFor(key_)) {
    return absl::InvalidArgumentError("its Sec-WebSocket-Accept answers another request; is there a proxy between?");
  }
  if (!response_.Find("sec-websocket-extensions").empty()) {
    return absl::InvalidArgumentError("it uses an extension that was not offered");
  }
  subprotocol_ = std::string(response_.Find("sec-websocket-protocol"));
  const bool offered = std::find(subprotocols_.begin(), subprotocols_.end(), subprotocol_) != subprotocols_.end();
  if (!offered && !(subprotocol_.empty() && subprotocols_.empty())) {
    return absl::InvalidArgumentError(absl::StrCat("it speaks none of ", absl::StrJoin(subprotocols_, ", "),
                                                   subprotocol_.empty() ? "" : " but ", EscapeLine(subprotocol_)));
  }
  state_ = State::kOpen;
  return absl::OkStatus();
}

void WsUpgradeReader::ReadBody() {
  size_t length = 0;
  bool complete = rest_.size() >= kMostBody;
  if (HoldsToken(response_.Find("transfer-encoding"), "chunked")) {
    complete = Dechunk(rest_, response_.body) || complete;
  } else {
    response_.body = rest_;
    if (absl::SimpleAtoi(response_.Find("content-length"), &length)) complete = complete || rest_.size() >= length;
  }
  response_.body.resize(std::min(response_.body.size(), kMostBody));
  if (complete) state_ = State::kRefused;
}

absl::StatusCode WsRefusalCode(int http_status) {
  switch (http_status) {
    case 400:
      return absl::StatusCode::kInvalidArgument;
    case 401:
      return absl::StatusCode::kUnauthenticated;
    case 403:
      return absl::StatusCode::kPermissionDenied;
    case 404:
      return absl::StatusCode::kNotFound;
    case 429:
      return absl::StatusCode::kUnavailable;
    default:
      return http_status >= 500 ? absl::StatusCode::kUnavailable : absl::StatusCode::kFailedPrecondition;
  }
}

}  // namespace mayfly::http
