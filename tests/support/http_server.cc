#include "tests/support/http_server.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <optional>
#include <thread>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "mayfly/base/mutex.h"
#include "tests/support/network.h"

namespace mayfly {
namespace {

std::string Decode(absl::string_view text) {
  std::string decoded;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size()) {
      decoded += static_cast<char>(std::strtol(std::string(text.substr(i + 1, 2)).c_str(), nullptr, 16));
      i += 2;
    } else {
      decoded += text[i] == '+' ? ' ' : text[i];
    }
  }
  return decoded;
}

HttpRequest ParseHead(absl::string_view head) {
  HttpRequest request;
  const std::vector<absl::string_view> lines = absl::StrSplit(head, "\r\n");
  const std::vector<absl::string_view> words = absl::StrSplit(lines[0], ' ');
  request.method = std::string(words[0]);
  request.target = std::string(words.size() > 1 ? words[1] : "");
  const std::pair<absl::string_view, absl::string_view> target =
      absl::StrSplit(request.target, absl::MaxSplits('?', 1));
  request.path = std::string(target.first);
  for (const absl::string_view pair : absl::StrSplit(target.second, '&', absl::SkipEmpty())) {
    const std::pair<absl::string_view, absl::string_view> entry = absl::StrSplit(pair, absl::MaxSplits('=', 1));
    request.query[std::string(entry.first)] = Decode(entry.second);
  }
  for (size_t i = 1; i < lines.size(); ++i) {
    const std::pair<absl::string_view, absl::string_view> entry = absl::StrSplit(lines[i], absl::MaxSplits(':', 1));
    request.headers[absl::AsciiStrToLower(entry.first)] = std::string(absl::StripAsciiWhitespace(entry.second));
  }
  return request;
}

// Waits for bytes and adds them to `buffer`; false at the end of the connection or of the server.
bool ReadMore(int fd, int stop, std::string& buffer) {
  pollfd fds[] = {{fd, POLLIN, 0}, {stop, POLLIN, 0}};
  if (poll(fds, 2, -1) < 0 || fds[1].revents != 0) return false;
  char piece[65536];
  const ssize_t count = recv(fd, piece, sizeof(piece), 0);
  if (count <= 0) return false;
  buffer.append(piece, static_cast<size_t>(count));
  return true;
}

std::optional<HttpRequest> ReadRequest(int fd, int stop, std::string& buffer) {
  size_t end = 0;
  while ((end = buffer.find("\r\n\r\n")) == std::string::npos) {
    if (!ReadMore(fd, stop, buffer)) return std::nullopt;
  }
  HttpRequest request = ParseHead(absl::string_view(buffer).substr(0, end));
  buffer.erase(0, end + 4);
  size_t length = 0;
  if (const auto found = request.headers.find("content-length"); found != request.headers.end()) {
    if (!absl::SimpleAtoi(found->second, &length)) return std::nullopt;
  }
  while (buffer.size() < length) {
    if (!ReadMore(fd, stop, buffer)) return std::nullopt;
  }
  request.body = buffer.substr(0, length);
  buffer.erase(0, length);
  return request;
}

std::string HeadText(int status, const std::map<std::string, std::string>& headers) {
  std::string head = absl::StrCat("HTTP/1.1 ", status, " Text\r\n");
  for (const auto& [name, value] : headers) absl::StrAppend(&head, name, ": ", value, "\r\n");
  return head;
}

}  // namespace

HttpExchange::HttpExchange(int fd, int stop, HttpRequest request)
    : fd_(fd), stop_(stop), wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)), request_(std::move(request)) {}

HttpExchange::~HttpExchange() {
  close(wake_);
}

bool HttpExchange::SendAll(absl::string_view data) {
  while (!data.empty()) {
    const ssize_t count = send(fd_, data.data(), data.size(), MSG_NOSIGNAL);
    if (count <= 0) return false;
    data.remove_prefix(static_cast<size_t>(count));
  }
  return true;
}

void HttpExchange::Answer(int status, absl::string_view body, const std::map<std::string, std::string>& headers) {
  begun_ = ended_ = true;
  SendAll(absl::StrCat(HeadText(status, headers), "Content-Length: ", body.size(), "\r\n\r\n", body));
}

void HttpExchange::Begin(int status, const std::map<std::string, std::string>& headers) {
  begun_ = true;
  SendAll(absl::StrCat(HeadText(status, headers), "Transfer-Encoding: chunked\r\n\r\n"));
}

bool HttpExchange::Write(absl::string_view data) {
  return data.empty() || SendAll(absl::StrCat(absl::StrFormat("%x\r\n", data.size()), data, "\r\n"));
}

void HttpExchange::End() {
  ended_ = true;
  SendAll("0\r\n\r\n");
}

void HttpExchange::Reset() {
  ended_ = false;
  begun_ = true;
  const linger now = {1, 0};
  setsockopt(fd_, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
  shutdown(fd_, SHUT_RD);
}

HttpExchange::Woken HttpExchange::Wait(absl::Duration limit) {
  pollfd fds[] = {{fd_, POLLRDHUP, 0}, {stop_, POLLIN, 0}, {wake_, POLLIN, 0}};
  const int timeout = limit == absl::InfiniteDuration() ? -1 : static_cast<int>(absl::ToInt64Milliseconds(limit));
  if (poll(fds, 3, timeout) == 0) return Woken::kTimeout;
  if (fds[1].revents != 0) return Woken::kServerStops;
  if (fds[0].revents != 0) return Woken::kPeerGone;
  uint64_t count = 0;
  if (read(wake_, &count, sizeof(count)) < 0) return Woken::kTimeout;
  return Woken::kNotified;
}

bool HttpExchange::Delay(absl::Duration delay) {
  pollfd stop = {stop_, POLLIN, 0};
  return poll(&stop, 1, static_cast<int>(absl::ToInt64Milliseconds(delay))) == 0;
}

void HttpExchange::Notify() {
  const uint64_t one = 1;
  if (write(wake_, &one, sizeof(one)) < 0) std::abort();
}

class HttpServer::Impl {
 public:
  explicit Impl(Handler handler) : handler_(std::move(handler)), stop_(eventfd(0, EFD_CLOEXEC)) {
    acceptor_ = std::thread([this] { Accept(); });
  }

  ~Impl() {
    const uint64_t many = 1;
    if (write(stop_, &many, sizeof(many)) < 0) std::abort();
    acceptor_.join();
    std::vector<std::thread> threads;
    {
      MutexLock lock(mutex_);
      threads.swap(threads_);
    }
    for (std::thread& thread : threads) thread.join();
    close(stop_);
  }

  int port() const { return listener_.port(); }
  int connections() const { return connections_; }

 private:
  void Accept() {
    for (;;) {
      pollfd fds[] = {{listener_.fd(), POLLIN, 0}, {stop_, POLLIN, 0}};
      if (poll(fds, 2, -1) < 0 || fds[1].revents != 0) return;
      const int fd = listener_.Accept();
      if (fd < 0) return;
      ++connections_;
      MutexLock lock(mutex_);
      threads_.emplace_back([this, fd] { Serve(fd); });
    }
  }

  void Serve(int fd) {
    std::string buffer;
    while (std::optional<HttpRequest> request = ReadRequest(fd, stop_, buffer)) {
      HttpExchange exchange(fd, stop_, *std::move(request));
      handler_(exchange);
      if (!exchange.begun_) exchange.Reset();
      if (!exchange.ended_) break;
    }
    close(fd);
  }

  const Handler handler_;
  const int stop_;
  Listener listener_;
  std::atomic<int> connections_ = 0;
  std::thread acceptor_;
  Mutex mutex_;
  std::vector<std::thread> threads_ ABSL_GUARDED_BY(mutex_);
};

HttpServer::HttpServer(Handler handler) : impl_(std::make_unique<Impl>(std::move(handler))), port_(impl_->port()) {}
HttpServer::~HttpServer() = default;

std::string HttpServer::url() const {
  return absl::StrCat("http://127.0.0.1:", port_);
}

int HttpServer::connections() const {
  return impl_->connections();
}

}  // namespace mayfly
