// A scripted TCP server on the test's own Reactor, so that client and server take turns on one thread.
#ifndef MAYFLY_TESTS_SUPPORT_REACTOR_SERVER_H_
#define MAYFLY_TESTS_SUPPORT_REACTOR_SERVER_H_

#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <functional>
#include <map>
#include <string>
#include <utility>

#include "server/engine/parts/reactor.h"
#include "tests/support/network.h"

namespace mayfly::local {

// Runs the reactor until `condition` holds; false after a generous limit. The condition may have effects: it is not
// asked again once it held.
inline bool RunUntil(Reactor& reactor, const std::function<bool()>& condition) {
  const absl::Duration end = reactor.Now() + absl::Seconds(30);
  while (reactor.Now() < end) {
    if (condition()) return true;
    // Short, since what the condition looks at need not be the reactor's.
    reactor.RunOnce(absl::Milliseconds(1));
  }
  return false;
}

class ReactorServer {
 public:
  struct Reply {
    std::string bytes;
    bool close = false;
  };
  // Called with all that a connection has said so far, whenever it says more.
  using Script = std::function<Reply(const std::string& heard)>;

  ReactorServer(Reactor& reactor, Script script, const std::string& address = "127.0.0.1", int port = 0)
      : reactor_(reactor), listener_(address, port), script_(std::move(script)) {
    reactor_.Add(listener_.fd(), EPOLLIN, [this](uint32_t) { Accept(); }).IgnoreError();
  }
  ~ReactorServer() {
    reactor_.Remove(listener_.fd());
    while (!heard_.empty()) Close(heard_.begin()->first);
  }

  int port() const { return listener_.port(); }
  int accepted() const { return accepted_; }
  const std::string& last_heard() const { return last_heard_; }

 private:
  void Accept() {
    const int fd = listener_.Accept();
    ++accepted_;
    heard_[fd];
    reactor_.Add(fd, EPOLLIN, [this, fd](uint32_t) { Read(fd); }).IgnoreError();
  }
  void Read(int fd) {
    char buffer[4096];
    const ssize_t n = recv(fd, buffer, sizeof buffer, MSG_DONTWAIT);
    if (n <= 0) return Close(fd);
    last_heard_ = heard_[fd].append(buffer, static_cast<size_t>(n));
    const Reply reply = script_(last_heard_);
    if (!reply.bytes.empty() && send(fd, reply.bytes.data(), reply.bytes.size(), MSG_NOSIGNAL) < 0) return Close(fd);
    if (reply.close) Close(fd);
  }
  void Close(int fd) {
    reactor_.Remove(fd);
    close(fd);
    heard_.erase(fd);
  }

  Reactor& reactor_;
  Listener listener_;
  Script script_;
  std::map<int, std::string> heard_;
  std::string last_heard_;
  int accepted_ = 0;
};

}  // namespace mayfly::local

#endif  // MAYFLY_TESTS_SUPPORT_REACTOR_SERVER_H_
