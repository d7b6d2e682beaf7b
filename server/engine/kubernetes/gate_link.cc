#include "server/engine/kubernetes/gate_link.h"

#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <iterator>
#include <memory>
#include <utility>

namespace mayfly::kubernetes {
namespace {

// A gate that does not read is worth this much memory, then its connection is closed; it opens another one.
constexpr size_t kMostUnsent = 4 << 20;
constexpr size_t kMostAccepted = 64;

}  // namespace

GateLink::GateLink(Reactor& reactor, UniqueFd socket, Callbacks callbacks)
    : reactor_(reactor),
      socket_(std::move(socket)),
      callbacks_(std::move(callbacks)),
      self_(std::make_shared<GateLink*>(this)) {
  reactor_.Add(socket_.get(), EPOLLIN, [this](uint32_t events) { OnEvent(events); }).IgnoreError();
}

GateLink::~GateLink() {
  if (socket_.valid()) reactor_.Remove(socket_.get());
  EndStreams();
}

void GateLink::EndStreams() {
  while (!streams_.empty()) {
    const StreamEvents events = std::move(streams_.begin()->second.events);
    streams_.erase(streams_.begin());
    if (events.on_end) events.on_end(ECONNRESET, 0);
  }
}

void GateLink::Lose() {
  if (!socket_.valid()) return;
  reactor_.Remove(socket_.get());
  socket_.reset();
  EndStreams();
  const auto on_lost = callbacks_.on_lost;
  if (on_lost) on_lost();
}

void GateLink::Send(int type, int flag, int id, absl::string_view payload) {
  if (!socket_.valid()) return;
  gate_frame frame{};
  frame.length = static_cast<uint32_t>(payload.size());
  frame.type = static_cast<uint8_t>(type);
  frame.flag = static_cast<uint8_t>(flag);
  frame.id = static_cast<uint16_t>(id);
  out_.append(reinterpret_cast<const char*>(&frame), sizeof frame);
  out_.append(payload.data(), payload.size());
  Flush();
}

void GateLink::SendNumber(int type, uint64_t number) {
  Send(type, 0, 0, absl::string_view(reinterpret_cast<const char*>(&number), sizeof number));
}

void GateLink::Flush() {
  const ssize_t n = send(socket_.get(), out_.data(), out_.size(), MSG_NOSIGNAL);
  if (n > 0) out_.erase(0, static_cast<size_t>(n));
  const bool broken = (n < 0 && errno != EAGAIN && errno != EINTR) || out_.size() > kMostUnsent;
  reactor_.Modify(socket_.get(), EPOLLIN | (out_.empty() ? 0u : unsigned{EPOLLOUT})).IgnoreError();
  // Never inline: whoever sends does not expect to be destroyed by it.
  if (broken && !std::exchange(flushing_later_, true)) {
    reactor_.AddTimer(absl::ZeroDuration(), [weak = std::weak_ptr<GateLink*>(self_)] {
      if (const auto self = weak.lock()) (*self)->Lose();
    });
  }
}

void GateLink::OnEvent(uint32_t events) {
  const std::weak_ptr<GateLink*> weak = self_;
  if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0 && !Read()) return;
  if (weak.lock() == nullptr || !socket_.valid()) return;
  if (!out_.empty()) Flush();
}

bool GateLink::Read() {
  static thread_local char buffer[128 * 1024];
  const ssize_t n = recv(socket_.get(), buffer, sizeof buffer, MSG_DONTWAIT);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return true;
  if (n <= 0) {
    Lose();
    return false;
  }
  in_.append(buffer, static_cast<size_t>(n));
  size_t at = 0;
  while (in_.size() - at >= sizeof(gate_frame)) {
    gate_frame frame;
    memcpy(&frame, in_.data() + at, sizeof frame);
    if (frame.length > GATE_MAX_PAYLOAD) {
      Lose();
      return false;
    }
    if (in_.size() - at < sizeof frame + frame.length) break;
    // A copy: the handler may destroy us, and `in_` with us.
    const std::string payload = in_.substr(at + sizeof frame, frame.length);
    at += sizeof frame + frame.length;
    if (!Dispatch(frame, payload)) return false;
  }
  in_.erase(0, at);
  return true;
}

bool GateLink::Dispatch(const gate_frame& frame, absl::string_view payload) {
  const std::weak_ptr<GateLink*> weak = self_;
  if (frame.type >= GATE_OPENED && frame.type <= GATE_CREDIT) {
    OnStreamFrame(frame, payload);
  } else if (callbacks_.on_frame) {
    const auto on_frame = callbacks_.on_frame;
    on_frame(frame, payload);
  }
  return weak.lock() != nullptr && socket_.valid();
}

void GateLink::OnStreamFrame(const gate_frame& frame, absl::string_view payload) {
  const auto it = streams_.find(frame.id);
  if (it == streams_.end()) return;  // Closed by us a moment ago.
  const StreamEvents& events = it->second.events;
  switch (frame.type) {
    case GATE_OPENED:
      if (const auto fn = events.on_opened) fn();
      return;
    case GATE_DATA:
      it->second.untaken += payload.size();
      // Our memory is not its to fill.
      if (it->second.untaken > GATE_STREAM_WINDOW) return Lose();
      if (const auto fn = events.on_data) fn(payload);
      return;
    case GATE_CREDIT: {
      uint32_t bytes = 0;
      memcpy(&bytes, payload.data(), std::min(payload.size(), sizeof bytes));
      if (const auto fn = events.on_written) fn(bytes);
      return;
    }
    default:
      break;
  }
  if (frame.flag == 1) {
    if (const auto fn = events.on_read_end) fn();
    return;
  }
  int error = EPROTO, code = 0;
  sscanf(std::string(payload).c_str(), "%d %d", &error, &code);
  const auto on_end = events.on_end;
  streams_.erase(it);
  if (on_end) on_end(error, code);
}

uint16_t GateLink::OpenStream(int type, absl::string_view payload, StreamEvents events) {
  do {
    ++last_stream_;
    if (last_stream_ >= GATE_FIRST_OUT) last_stream_ = 1;
  } while (last_stream_ == 0 || streams_.count(last_stream_) > 0);
  const uint16_t id = last_stream_;
  streams_[id].events = std::move(events);
  Send(type, 0, id, payload);
  return id;
}

bool GateLink::AcceptStream(uint16_t id, StreamEvents events) {
  const size_t accepted = static_cast<size_t>(std::distance(streams_.lower_bound(GATE_FIRST_OUT), streams_.end()));
  if (id < GATE_FIRST_OUT || streams_.count(id) > 0 || accepted >= kMostAccepted) {
    Send(GATE_CLOSE, 0, id, "");
    return false;
  }
  streams_[id].events = std::move(events);
  return true;
}

void GateLink::WriteStream(uint16_t id, absl::string_view bytes) {
  while (!bytes.empty() && streams_.count(id) > 0) {
    const absl::string_view part = bytes.substr(0, GATE_MAX_PAYLOAD);
    Send(GATE_WRITE, 0, id, part);
    bytes.remove_prefix(part.size());
  }
}

void GateLink::CloseStream(uint16_t id, bool half) {
  if (streams_.count(id) == 0) return;
  Send(GATE_CLOSE, half ? 1 : 0, id, "");
  if (!half) streams_.erase(id);
}

void GateLink::Taken(uint16_t id, uint32_t bytes) {
  const auto it = streams_.find(id);
  if (it == streams_.end()) return;
  it->second.untaken -= std::min<size_t>(it->second.untaken, bytes);
  Send(GATE_TAKEN, 0, id, absl::string_view(reinterpret_cast<const char*>(&bytes), sizeof bytes));
}

}  // namespace mayfly::kubernetes
