#include "server/engine/parts/probe_exchange.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "mayfly/base/text.h"

namespace mayfly {
namespace {

ProbeAnswer Refused(std::string message) {
  return {.healthy = false, .connected = false, .message = std::move(message)};
}

}  // namespace

std::string QuoteAnswer(absl::string_view text, size_t max) {
  text = absl::StripAsciiWhitespace(text);
  const bool cut = text.size() > max;
  return absl::StrCat("'", EscapeLine(text.substr(0, max)), cut ? "..." : "", "'");
}

ProbeExchange::ProbeExchange(Reactor& reactor, ProbeBudget* budget, std::unique_ptr<ProbeProtocol> protocol,
                             Limits limits)
    : reactor_(reactor), budget_(budget), protocol_(std::move(protocol)), limits_(limits) {}

ProbeExchange::~ProbeExchange() {
  Close();
}

void ProbeExchange::Close() {
  reactor_.CancelTimer(timer_);
  timer_ = 0;
  if (fd_ < 0) return;
  if (watched_) reactor_.Remove(fd_);
  close(fd_);
  fd_ = -1;
}

std::optional<ProbeAnswer> ProbeExchange::Begin(absl::string_view ipv4_address, int port, Done done) {
  address_ = std::string(ipv4_address);
  port_ = port;
  done_ = std::move(done);
  fd_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd_ < 0) return Refused(absl::StrCat("no socket for the probe: ", strerror(errno)));
  std::optional<ProbeAnswer> answer = TryConnect();
  // Between two ends of one kernel the first call has exchanged the packets by the time it returns, and the second one
  // tells the outcome: refused connections, which are most, never reach epoll.
  if (!answer && !connected_) answer = TryConnect();
  return Await(std::move(answer));
}

std::optional<ProbeAnswer> ProbeExchange::BeginOn(int fd, Done done) {
  done_ = std::move(done);
  fd_ = fd;
  return Await(Connected());
}

std::optional<ProbeAnswer> ProbeExchange::Await(std::optional<ProbeAnswer> answer) {
  if (answer) {
    Close();
    return answer;
  }
  const absl::Status status = reactor_.Add(fd_, connected_ ? EPOLLIN : EPOLLOUT, [this](uint32_t) {
    std::optional<ProbeAnswer> answer;
    {
      const ProbeBudget::Meter meter(budget_, reactor_);
      answer = OnEvent();
    }
    if (answer) Finish(*std::move(answer));
  });
  if (!status.ok()) {
    Close();
    return Refused(std::string(status.message()));
  }
  watched_ = true;
  timer_ = reactor_.AddTimer(limits_.time,
                             [this] { Finish(End(absl::StrCat("no answer within ", HumanDuration(limits_.time)))); });
  return std::nullopt;
}

std::optional<ProbeAnswer> ProbeExchange::TryConnect() {
  sockaddr_in addr = {};
  addr.sin_family = AF_INET;
  addr.sin_port = htons(static_cast<uint16_t>(port_));
  if (inet_pton(AF_INET, address_.c_str(), &addr.sin_addr) != 1) return Refused("not an IPv4 address");
  if (connect(fd_, reinterpret_cast<const sockaddr*>(&addr), sizeof addr) == 0 || errno == EISCONN) return Connected();
  if (errno == EINPROGRESS || errno == EALREADY) return std::nullopt;
  if (errno == ECONNREFUSED) return Refused("connection refused");
  return Refused(absl::StrCat("connecting: ", strerror(errno)));
}

std::optional<ProbeAnswer> ProbeExchange::Connected() {
  connected_ = true;
  if (protocol_ == nullptr) return ProbeAnswer{.healthy = true, .connected = true};
  const int on = 1;
  setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  unsent_ = protocol_->Request();
  return Flush();
}

std::optional<ProbeAnswer> ProbeExchange::OnEvent() {
  if (!connected_) {
    if (std::optional<ProbeAnswer> answer = TryConnect()) return answer;
    if (!connected_) return std::nullopt;
    reactor_.Modify(fd_, EPOLLIN | (unsent_.empty() ? 0u : unsigned{EPOLLOUT})).IgnoreError();
  }
  if (!unsent_.empty()) {
    if (std::optional<ProbeAnswer> answer = Flush()) return answer;
  }
  return Read();
}

std::optional<ProbeAnswer> ProbeExchange::Flush() {
  const ssize_t size = send(fd_, unsent_.data(), unsent_.size(), MSG_NOSIGNAL);
  // A peer that answers before it has heard us, such as "503" and close, is heard: the error is left for Read.
  if (size < 0) {
    if (errno != EAGAIN) unsent_.clear();
  } else {
    unsent_.erase(0, static_cast<size_t>(size));
  }
  if (watched_) reactor_.Modify(fd_, EPOLLIN | (unsent_.empty() ? 0u : unsigned{EPOLLOUT})).IgnoreError();
  return std::nullopt;
}

std::optional<ProbeAnswer> ProbeExchange::Read() {
  char buffer[16 * 1024];
  const ssize_t size = recv(fd_, buffer, sizeof buffer, 0);
  if (size < 0 && errno == EAGAIN) return std::nullopt;
  if (size == 0) return End("closed the connection");
  if (size < 0) return End(errno == ECONNRESET ? "reset the connection" : strerror(errno));
  read_ += static_cast<size_t>(size);
  ProbeProtocol::Step step = protocol_->OnBytes(absl::string_view(buffer, static_cast<size_t>(size)));
  if (step.answer) return std::move(step.answer);
  if (read_ >= limits_.bytes) return End("answered without an end");
  unsent_ += step.reply;
  return unsent_.empty() ? std::nullopt : Flush();
}

ProbeAnswer ProbeExchange::End(absl::string_view reason) {
  if (!connected_ || protocol_ == nullptr) return Refused(std::string(reason));
  ProbeAnswer answer = protocol_->OnEnd(reason);
  answer.connected = true;
  return answer;
}

void ProbeExchange::Finish(ProbeAnswer answer) {
  Close();
  // Moved out first: `done` may destroy this.
  const Done done = std::move(done_);
  done(std::move(answer));
}

}  // namespace mayfly
