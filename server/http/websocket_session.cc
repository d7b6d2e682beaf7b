#include "server/http/websocket_session.h"

#include <openssl/rand.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "mayfly/base/status.h"
#include "mayfly/base/text.h"

namespace mayfly::http {
namespace {

constexpr size_t kMostQueued = 8 << 20;
constexpr size_t kMostPerTurn = 256 << 10;
constexpr absl::Duration kCloseTime = absl::Seconds(5);

Request RequestOf(const WebSocketRequest& request) {
  Request out;
  out.url = request.url;
  out.headers = request.headers;
  out.tls = request.tls;
  out.proxy = request.proxy;
  out.connect = request.connect;
  out.fresh_connection = true;
  return out;
}

std::string RandomKey() {
  unsigned char bytes[16];
  if (RAND_bytes(bytes, sizeof bytes) != 1) return "";
  return absl::Base64Escape(absl::string_view(reinterpret_cast<const char*>(bytes), sizeof bytes));
}

}  // namespace

WsSession::WsSession(WebSocketRequest request, WebSocketEvents events, const ClientOptions& options)
    : request_(std::move(request)),
      events_(std::move(events)),
      options_(options),
      transfer_(RequestOf(request_), {}, options_, [] {}),
      decoder_(WsDecoder::Peer::kServer, request_.max_message) {}

std::string WsSession::Says(absl::string_view what) const {
  return absl::StrCat(OriginOf(request_.url), ": ", what);
}

absl::Status WsSession::Prepare(absl::Duration now) {
  deadline_ = now + request_.deadline;
  for (const std::string& name : request_.subprotocols) {
    if (name.empty() || name.find_first_of(" ,\r\n\t") != std::string::npos) {
      return absl::InvalidArgumentError(Says("a subprotocol's name cannot be sent"));
    }
  }
  MAYFLY_RETURN_IF_ERROR(transfer_.Prepare());
  curl_easy_setopt(easy(), CURLOPT_CONNECT_ONLY, 1L);
  curl_easy_setopt(easy(), CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
  curl_easy_setopt(easy(), CURLOPT_PIPEWAIT, 0L);
  // Without it libcurl would hand plain requests to the proxy instead of a connection to us.
  curl_easy_setopt(easy(), CURLOPT_HTTPPROXYTUNNEL, 1L);
  return absl::OkStatus();
}

void WsSession::OnConnected(CURLcode code, absl::Duration now) {
  if (code != CURLE_OK) return EndWith(transfer_.Translate(code));
  if (curl_easy_getinfo(easy(), CURLINFO_ACTIVESOCKET, &socket_) != CURLE_OK || socket_ == CURL_SOCKET_BAD) {
    return EndWith(absl::UnavailableError(Says("the connection is gone already")));
  }
  const std::string key = RandomKey();
  if (key.empty()) return EndWith(absl::UnavailableError("no random numbers"));
  upgrade_.emplace(key, request_.subprotocols);
  state_ = State::kUpgrading;
  last_byte_ = now;
  queue_.push_back({WsUpgradeRequest(request_, options_.user_agent, key)});
  queued_ += queue_.back().bytes.size();
  Flush();
}

void WsSession::OnReady(absl::Duration now) {
  if (ended() || state_ == State::kConnecting) return;
  if (!broken_) Flush();
  Read(now);
}

bool WsSession::wants_read() const {
  return !ended() && socket_ != CURL_SOCKET_BAD && !Held();
}

absl::Duration WsSession::due() const {
  if (state_ != State::kOpen || closing_ || Held()) return deadline_;
  return std::min(deadline_, last_byte_ + request_.ping);
}

void WsSession::OnDue(absl::Duration now) {
  if (ended() || now < due()) return;
  if (now >= deadline_) {
    if (closing_) return EndWith(absl::OkStatus());
    return EndWith(
        absl::DeadlineExceededError(Says(absl::StrCat("no WebSocket within ", HumanDuration(request_.deadline)))));
  }
  if (std::exchange(pinged_, true)) {
    return EndWith(
        absl::UnavailableError(Says(absl::StrCat("the peer is silent since ", HumanDuration(request_.ping * 2)))));
  }
  last_byte_ = now;
  Queue(WsOpcode::kPing, "", false);
  Flush();
}

void WsSession::Read(absl::Duration now) {
  char buffer[16 * 1024];
  more_ = false;
  for (size_t total = 0; wants_read();) {
    if (total >= kMostPerTurn) {
      more_ = true;
      return;
    }
    size_t size = 0;
    const CURLcode code = curl_easy_recv(easy(), buffer, sizeof buffer, &size);
    if (code == CURLE_AGAIN) return;
    if (code != CURLE_OK) return EndWith(transfer_.Translate(code));
    if (size == 0) return OnEndOfFile();
    total += size;
    last_byte_ = now;
    pinged_ = false;
    OnBytes(absl::string_view(buffer, size));
  }
  // TLS may hold bytes that the socket no longer shows.
  more_ = true;
}

void WsSession::OnBytes(absl::string_view bytes) {
  if (state_ == State::kOpen) return OnFrameBytes(bytes);
  if (absl::Status status = upgrade_->Feed(bytes); !status.ok())
    return EndWith(Annotate(status, OriginOf(request_.url)));
  if (upgrade_->state() == WsUpgradeReader::State::kRefused) return Refuse();
  if (upgrade_->state() != WsUpgradeReader::State::kOpen) return;
  state_ = State::kOpen;
  if (!closing_) deadline_ = absl::InfiniteDuration();
  for (Chunk& chunk : early_) queue_.push_back(std::move(chunk));
  early_.clear();
  if (!muted_ && events_.on_open) events_.on_open(upgrade_->subprotocol());
  if (ended()) return;
  Flush();
  OnFrameBytes(upgrade_->TakeRest());
}

void WsSession::OnFrameBytes(absl::string_view bytes) {
  std::vector<WsMessage> messages;
  const absl::Status status = decoder_.Feed(bytes, messages);
  for (WsMessage& message : messages) {
    if (ended()) return;
    OnMessage(std::move(message));
  }
  if (status.ok() || ended()) return;
  QueueClose(decoder_.failure(), status.message());
  Flush();
  EndWith(Annotate(status, OriginOf(request_.url)));
}

void WsSession::OnMessage(WsMessage message) {
  switch (message.opcode) {
    case WsOpcode::kPing:
      Queue(WsOpcode::kPong, message.payload, false);
      return Flush();
    case WsOpcode::kPong:
    case WsOpcode::kContinuation:
      return;
    case WsOpcode::kClose: {
      QueueClose(message.close_code, "");
      Flush();
      WebSocketEnd end;
      end.code = message.close_code;
      end.reason = std::move(message.payload);
      if (end.code != kWsNormal && end.code != kWsNoCode && !closing_) {
        end.status = absl::UnavailableError(Says(absl::StrCat("the peer closed with code ", end.code,
                                                              end.reason.empty() ? "" : ": ", EscapeLine(end.reason))));
      }
      return End(std::move(end));
    }
    case WsOpcode::kText:
    case WsOpcode::kBinary:
      untaken_ += message.payload.size();
      if (!muted_ && events_.on_message)
        events_.on_message(std::move(message.payload), message.opcode == WsOpcode::kText);
  }
}

void WsSession::OnEndOfFile() {
  if (state_ == State::kUpgrading) {
    const absl::Status status = upgrade_->FeedEnd();
    return status.ok() ? Refuse() : EndWith(Annotate(status, OriginOf(request_.url)));
  }
  EndWith(closing_ ? absl::OkStatus() : absl::UnavailableError(Says("the connection ended without a goodbye")));
}

void WsSession::Refuse() {
  const Response& response = upgrade_->response();
  WebSocketEnd end;
  end.http_status = response.status;
  end.body = response.body;
  end.status = absl::Status(WsRefusalCode(response.status),
                            Says(absl::StrCat("no WebSocket: the answer is HTTP ", response.status)));
  End(std::move(end));
}

void WsSession::Queue(WsOpcode opcode, absl::string_view payload, bool message) {
  WsMask mask;
  if (RAND_bytes(mask.data(), static_cast<int>(mask.size())) != 1) {
    return EndWith(absl::UnavailableError("no random numbers"));
  }
  std::deque<Chunk>& queue = state_ == State::kOpen ? queue_ : early_;
  queue.push_back({EncodeWsFrame(opcode, true, payload, &mask), payload.size(), message});
  queued_ += queue.back().bytes.size();
  if (queued_ <= kMostQueued) return;
  EndWith(absl::ResourceExhaustedError(Says("what is sent is not taken, and more is sent")));
}

void WsSession::QueueClose(uint16_t code, absl::string_view reason) {
  if (std::exchange(closing_, true)) return;
  Queue(WsOpcode::kClose, EncodeWsClose(code, reason), false);
}

void WsSession::Send(const std::string& message, bool text) {
  if (ended()) return;
  if (broken_ || closing_) return Told({"", message.size(), true});
  Queue(text ? WsOpcode::kText : WsOpcode::kBinary, message, true);
  if (!blocked_ && !ended()) Flush();
}

void WsSession::Taken(size_t bytes, absl::Duration now) {
  const bool held = Held();
  untaken_ -= std::min(untaken_, bytes);
  if (!held || Held()) return;
  more_ = true;
  // While we did not listen, the peer's silence meant nothing.
  last_byte_ = now;
  pinged_ = false;
}

void WsSession::Close(uint16_t code, const std::string& reason, absl::Duration now) {
  if (ended() || closing_) return;
  if (state_ != State::kOpen) return EndWith(absl::CancelledError("closed before it was open"));
  deadline_ = now + kCloseTime;
  QueueClose(code, reason);
  if (!blocked_ && !ended()) Flush();
}

void WsSession::Abandon() {
  muted_ = true;  // Not cleared: one of them may be what calls us.
  if (ended()) return;
  if (state_ == State::kOpen && !closing_ && !blocked_) {
    QueueClose(kWsNormal, "");
    Flush();
  }
  EndWith(absl::CancelledError("destroyed"));
}

void WsSession::Flush() {
  blocked_ = false;
  while (!queue_.empty() && !broken_) {
    const Chunk& chunk = queue_.front();
    size_t size = 0;
    const CURLcode code = curl_easy_send(easy(), chunk.bytes.data() + sent_, chunk.bytes.size() - sent_, &size);
    if (code == CURLE_AGAIN) {
      blocked_ = true;
      return;
    }
    if (code != CURLE_OK) {
      broken_ = true;
      DropQueue();
      return;
    }
    sent_ += size;
    if (sent_ < chunk.bytes.size()) continue;
    const Chunk done = std::move(queue_.front());
    queue_.pop_front();
    sent_ = 0;
    queued_ -= done.bytes.size();
    Told(done);
  }
}

void WsSession::Told(const Chunk& chunk) {
  if (chunk.message && !muted_ && events_.on_sent) events_.on_sent(chunk.payload);
}

void WsSession::DropQueue() {
  for (std::deque<Chunk>* queue : {&queue_, &early_}) {
    for (const Chunk& chunk : std::exchange(*queue, {})) Told(chunk);
  }
  queued_ = 0;
  sent_ = 0;
}

void WsSession::End(WebSocketEnd end) {
  if (!ended()) end_ = std::move(end);
}

void WsSession::EndWith(absl::Status status) {
  WebSocketEnd end;
  end.status = std::move(status);
  End(std::move(end));
}

void WsSession::Finish() {
  DropQueue();
  if (!muted_ && events_.on_close) events_.on_close(std::move(*end_));
}

}  // namespace mayfly::http
