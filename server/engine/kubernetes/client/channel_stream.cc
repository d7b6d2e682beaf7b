#include "server/engine/kubernetes/client/channel_stream.h"

#include <algorithm>
#include <deque>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "mayfly/base/text.h"
#include "nlohmann/json.hpp"
#include "server/engine/kubernetes/client/json_text.h"

namespace mayfly::kube {
namespace {

constexpr size_t kMostInMessage = 32 << 10;
constexpr size_t kMostEarly = 8 << 20;
constexpr uint16_t kNormalClose = 1000;

// The connection behind a stream: its attempts, and what waits for the one that stands. Lives on the sockets' thread,
// and as long as anything may call it.
class Link : public std::enable_shared_from_this<Link> {
 public:
  Link(Endpoint endpoint, http::WebSocketClient& sockets, std::string path, std::unique_ptr<ChannelProtocol> protocol,
       Stream::Callbacks callbacks)
      : endpoint_(std::move(endpoint)),
        sockets_(sockets),
        post_(sockets.MakePoster()),
        path_(std::move(path)),
        protocol_(std::move(protocol)),
        callbacks_(std::move(callbacks)) {}

  void Authorize() {
    const std::shared_ptr<Link> link = shared_from_this();
    endpoint_.authorizer->Authorize([link](absl::StatusOr<Credentials> credentials) {
      auto moved = std::make_shared<absl::StatusOr<Credentials>>(std::move(credentials));
      link->post_([link, moved] {
        if (moved->ok()) return link->Dial(*std::move(*moved));
        link->Finish({moved->status(), -1});
      });
    });
  }

  void Write(absl::string_view bytes) {
    if (ended_ || write_closed_) return Written(bytes.size());
    if (!open_ && early_bytes_ + bytes.size() > kMostEarly) {
      Written(bytes.size());
      return Finish({absl::ResourceExhaustedError("what is written is not taken, and more is written"), -1});
    }
    early_bytes_ += open_ ? 0 : bytes.size();
    for (; !bytes.empty(); bytes.remove_prefix(std::min(kMostInMessage, bytes.size()))) {
      const absl::string_view part = bytes.substr(0, kMostInMessage);
      Send(protocol_->Data(part), part.size());
    }
  }

  void Taken(size_t bytes) {
    if (socket_ != nullptr) socket_->Taken(bytes + std::exchange(overhead_, 0));
  }

  void CloseWrite() {
    if (!std::exchange(write_closed_, true) && open_) SendControl(protocol_->CloseWrite());
  }

  void Resize(int columns, int rows) {
    size_ = {columns, rows};
    if (open_) SendControl(protocol_->Resize(columns, rows));
  }

  void Abandon() {
    muted_ = true;
    ended_ = true;
    socket_.reset();
  }

 private:
  void Dial(Credentials credentials) {
    if (ended_) return;
    http::WebSocketRequest request;
    request.url = absl::StrCat(absl::StripSuffix(endpoint_.server, "/"), path_);
    request.headers = credentials.headers;
    request.tls = credentials.tls != nullptr ? credentials.tls : endpoint_.tls;
    request.proxy = endpoint_.proxy;
    request.subprotocols = protocol_->Subprotocols();
    request.window = callbacks_.window;
    used_ = std::move(credentials);
    http::WebSocketEvents events;
    const std::shared_ptr<Link> link = shared_from_this();
    events.on_open = [link](const std::string& subprotocol) { link->OnOpen(subprotocol); };
    events.on_message = [link](std::string message, bool) { link->OnMessage(std::move(message)); };
    events.on_sent = [link](size_t) { link->OnSent(); };
    events.on_close = [link](const http::WebSocketEnd& end) { link->OnEnd(end); };
    socket_ = sockets_.Open(std::move(request), std::move(events));
  }

  void OnOpen(const std::string& subprotocol) {
    if (ended_) return;
    open_ = true;
    protocol_->OnOpen(subprotocol);
    if (size_) SendControl(protocol_->Resize(size_->first, size_->second));
    for (auto& [message, bytes] : std::exchange(early_, {})) Send(std::move(message), bytes);
    if (write_closed_) SendControl(protocol_->CloseWrite());
  }

  void OnMessage(std::string message) {
    if (ended_) return;
    const size_t size = message.size();
    ChannelProtocol::Piece piece = protocol_->OnMessage(std::move(message));
    overhead_ += size - piece.bytes.size();
    // Nobody else would give back what held nothing for the user.
    if (piece.bytes.empty()) socket_->Taken(std::exchange(overhead_, 0));
    if (protocol_->Complete()) socket_->Close(kNormalClose, "");
    if (!piece.bytes.empty() && callbacks_.on_data) callbacks_.on_data(std::move(piece.bytes), piece.stderr_stream);
  }

  void OnSent() {
    if (sent_.empty()) return;
    const size_t bytes = sent_.front();
    sent_.pop_front();
    Written(bytes);
  }

  void OnEnd(const http::WebSocketEnd& end) {
    if (ended_) return;
    if (end.http_status != 401 || std::exchange(asked_again_, true)) return Finish(protocol_->OnEnd(end));
    socket_.reset();
    endpoint_.authorizer->Refused(used_);
    Authorize();
  }

  void Finish(const ChannelProtocol::Ended& ended) {
    if (std::exchange(ended_, true)) return;
    socket_.reset();
    size_t dropped = 0;
    for (const auto& [message, bytes] : std::exchange(early_, {})) dropped += bytes;
    for (const size_t bytes : std::exchange(sent_, {})) dropped += bytes;
    Written(dropped);
    if (!std::exchange(muted_, true) && callbacks_.on_close) callbacks_.on_close(ended.status, ended.exit_code);
  }

  void Written(size_t bytes) {
    if (bytes > 0 && !muted_ && callbacks_.on_written) callbacks_.on_written(bytes);
  }

  void Send(std::string message, size_t bytes) {
    if (!open_) {
      early_.emplace_back(std::move(message), bytes);
      return;
    }
    sent_.push_back(bytes);
    socket_->Send(std::move(message));
  }

  void SendControl(std::string message) {
    if (!message.empty() && !ended_) Send(std::move(message), 0);
  }

  const Endpoint endpoint_;
  http::WebSocketClient& sockets_;  // Used on its own thread alone: authorizers may call back after its end.
  const http::WebSocketClient::Poster post_;
  const std::string path_;
  const std::unique_ptr<ChannelProtocol> protocol_;
  const Stream::Callbacks callbacks_;
  Credentials used_;
  bool asked_again_ = false;
  std::unique_ptr<http::WebSocket> socket_;
  bool open_ = false;
  bool ended_ = false;
  bool muted_ = false;
  bool write_closed_ = false;
  std::optional<std::pair<int, int>> size_;
  std::vector<std::pair<std::string, size_t>> early_;  // With how many bytes of each are the user's.
  size_t early_bytes_ = 0;
  std::deque<size_t> sent_;  // The same of what is on its way.
  size_t overhead_ = 0;      // Bytes that came and were not the user's.
};

class ChannelStream final : public Stream {
 public:
  ChannelStream(std::shared_ptr<Link> link, http::WebSocketClient& sockets)
      : link_(std::move(link)), sockets_(sockets), post_(sockets.MakePoster()) {}
  ~ChannelStream() override {
    if (sockets_.OnThread()) {
      link_->Abandon();
    } else {
      post_([link = link_] { link->Abandon(); });
    }
  }
  void Write(std::string bytes) override {
    post_([link = link_, bytes = std::move(bytes)] { link->Write(bytes); });
  }
  void Taken(size_t bytes) override {
    post_([link = link_, bytes] { link->Taken(bytes); });
  }
  void CloseWrite() override {
    post_([link = link_] { link->CloseWrite(); });
  }
  void Resize(int columns, int rows) override {
    post_([link = link_, columns, rows] { link->Resize(columns, rows); });
  }

 private:
  const std::shared_ptr<Link> link_;
  http::WebSocketClient& sockets_;
  const http::WebSocketClient::Poster post_;
};

absl::StatusCode StreamCodeOf(int http_status, absl::StatusCode otherwise) {
  switch (http_status) {
    case 400:
    case 422:
      return absl::StatusCode::kInvalidArgument;
    case 401:
      return absl::StatusCode::kUnauthenticated;
    case 403:
      return absl::StatusCode::kPermissionDenied;
    case 404:
      return absl::StatusCode::kNotFound;
    default:
      return otherwise;
  }
}

}  // namespace

std::unique_ptr<Stream> OpenChannelStream(const Endpoint& endpoint, http::WebSocketClient& sockets, std::string path,
                                          std::unique_ptr<ChannelProtocol> protocol, Stream::Callbacks callbacks) {
  auto link = std::make_shared<Link>(endpoint, sockets, std::move(path), std::move(protocol), std::move(callbacks));
  link->Authorize();
  return std::make_unique<ChannelStream>(std::move(link), sockets);
}

absl::Status FailureStatus(const std::string& object, absl::StatusCode otherwise) {
  using nlohmann::json;
  const json status = ParseJson(object).value_or(json());
  if (TextAt(status, {"message"}).empty()) {
    return absl::Status(otherwise, absl::StrCat("the API server said: ", EscapeLine(object.substr(0, 300))));
  }
  return absl::Status(StreamCodeOf(static_cast<int>(NumberAt(status, {"code"})), otherwise),
                      EscapeLine(TextAt(status, {"message"}).substr(0, 1000)));
}

absl::Status ConnectionStatus(const http::WebSocketEnd& end) {
  if (end.status.ok()) return absl::UnavailableError("the API server closed the connection before its end");
  if (end.http_status == 0 || end.body.empty()) return end.status;
  return FailureStatus(end.body, end.status.code());
}

}  // namespace mayfly::kube
