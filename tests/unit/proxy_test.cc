#include "server/engine/parts/proxy.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/network.h"
#include "tests/support/reactor_server.h"
#include "tests/support/status_matchers.h"

namespace mayfly::local {
namespace {

using testing::_;

class ProxyTest : public testing::Test {
 protected:
  void SetUp() override { Begin(ConnectToAddress("127.0.0.1", target_.port())); }
  void TearDown() override {
    proxy_.reset();
    for (const int fd : fds_) close(fd);
  }
  void Begin(ConnectFn connect, TcpProxy::Options options = TcpProxy::Options()) {
    proxy_.reset();
    const auto fd = ListenOn("127.0.0.1", 0);
    ASSERT_OK(fd);
    auto proxy = TcpProxy::Create(reactor_, *fd, std::move(connect), options);
    ASSERT_OK(proxy);
    proxy_ = *std::move(proxy);
  }
  int Keep(int fd) {
    EXPECT_GE(fd, 0);
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    fds_.push_back(fd);
    return fd;
  }
  int Client() { return Keep(ConnectTo(proxy_->port())); }
  // The service's end of the next connection that came through.
  int Service() {
    pollfd waiting = {.fd = target_.fd(), .events = POLLIN};
    EXPECT_TRUE(RunUntil(reactor_, [&] { return poll(&waiting, 1, 0) == 1; }));
    return Keep(target_.Accept());
  }
  static void Say(int fd, const std::string& text) {
    EXPECT_EQ(send(fd, text.data(), text.size(), MSG_NOSIGNAL), static_cast<ssize_t>(text.size()));
  }
  // All that comes until `size` bytes, the end ("|" is added) or an error (its number is).
  std::string Hear(int fd, size_t size) {
    std::string heard;
    RunUntil(reactor_, [&] {
      char buffer[65536];
      const ssize_t n = recv(fd, buffer, std::min(sizeof buffer, size - heard.size()), 0);
      if (n > 0) heard.append(buffer, static_cast<size_t>(n));
      if (n < 0 && errno == EAGAIN) return false;
      if (n == 0) heard += "|";
      if (n < 0) heard += strerror(errno);
      return n <= 0 || heard.size() >= size;
    });
    return heard;
  }
  // Sends until nothing more is taken.
  size_t Stuff(int fd) {
    const std::string chunk(65536, 's');
    size_t sent = 0;
    for (int idle = 0; idle < 20;) {
      const ssize_t n = send(fd, chunk.data(), chunk.size(), MSG_NOSIGNAL);
      idle = n > 0 ? 0 : idle + 1;
      sent += static_cast<size_t>(std::max<ssize_t>(n, 0));
      reactor_.RunOnce(absl::Milliseconds(1));
    }
    return sent;
  }

  Reactor reactor_;
  Listener target_;
  std::unique_ptr<TcpProxy> proxy_;
  std::vector<int> fds_;
};

TEST_F(ProxyTest, BytesGoBothWays) {
  const int client = Client(), service = Service();
  Say(client, "ping");
  EXPECT_EQ(Hear(service, 4), "ping");
  Say(service, "pong");
  EXPECT_EQ(Hear(client, 4), "pong");
  EXPECT_EQ(proxy_->connections(), 1);
  close(fds_[0]);
  close(fds_[1]);
  fds_.clear();
  EXPECT_TRUE(RunUntil(reactor_, [this] { return proxy_->connections() == 0; }));
}

TEST_F(ProxyTest, TheEndOfOneDirectionLeavesTheOtherOpen) {
  const int client = Client();
  Say(client, "request");
  shutdown(client, SHUT_WR);
  const int service = Service();
  EXPECT_EQ(Hear(service, 100), "request|");
  Say(service, "long answer");
  EXPECT_EQ(Hear(client, 11), "long answer");
  shutdown(service, SHUT_WR);
  EXPECT_EQ(Hear(client, 1), "|");
  EXPECT_TRUE(RunUntil(reactor_, [this] { return proxy_->connections() == 0; }));
}

TEST_F(ProxyTest, AClientThatSaysNothingButItsEndStillHears) {
  const int client = Client();
  shutdown(client, SHUT_WR);
  const int service = Service();
  Say(service, "banner");
  EXPECT_EQ(Hear(client, 6), "banner");
  EXPECT_EQ(Hear(service, 1), "|");
}

TEST_F(ProxyTest, TheEndOfAClientDoesNotEndAConnectionThatIsStillBeingMade) {
  // With its queue full the service drops what knocks; there is room again before it knocks a second time, after a
  // second.
  listen(target_.fd(), 0);
  const int filler = Keep(ConnectTo(target_.port()));
  const int client = Client();
  shutdown(client, SHUT_WR);
  EXPECT_TRUE(RunUntil(reactor_, [this] { return proxy_->accepted() == 1; }));
  for (int i = 0; i < 5; ++i) reactor_.RunOnce(absl::Milliseconds(1));
  Keep(target_.Accept());
  const int service = Service();
  Say(service, "banner");
  EXPECT_EQ(Hear(client, 6), "banner");
  EXPECT_EQ(Hear(service, 1), "|");
  EXPECT_GE(filler, 0);
}

TEST_F(ProxyTest, AReaderThatStopsHoldsBackTheSenderAndLosesNothing) {
  const int client = Client(), service = Service();
  const size_t sent = Stuff(client);
  EXPECT_LT(sent, 64u << 20) << "kernel buffers and 64 KiB of ours";
  EXPECT_EQ(Hear(service, sent).size(), sent);
  Say(service, "still alive");
  EXPECT_EQ(Hear(client, 11), "still alive");
}

TEST_F(ProxyTest, AReaderThatStopsAndThenGoesEndsTheConnection) {
  const int client = Client();
  {
    Service();
    Stuff(client);
    close(fds_.back());
    fds_.pop_back();
  }
  EXPECT_EQ(Hear(client, 1), "Connection reset by peer");
  EXPECT_TRUE(RunUntil(reactor_, [this] { return proxy_->connections() == 0; }));
}

TEST_F(ProxyTest, ARefusedConnectionResetsTheClient) {
  target_.Close();
  EXPECT_EQ(Hear(Client(), 1), "Connection reset by peer");
  Begin([](const auto& done) { done(absl::UnavailableError("not allowed")); });
  EXPECT_EQ(Hear(Client(), 1), "Connection reset by peer");
  EXPECT_EQ(proxy_->connections(), 0);
}

TEST_F(ProxyTest, AConnectionMayComeLaterFromElsewhere) {
  std::function<void(absl::StatusOr<int>)> done;
  Begin([&](auto asked) { done = asked; });
  const int client = Client();
  Say(client, "early");
  EXPECT_TRUE(RunUntil(reactor_, [&] { return done != nullptr; }));
  int pair[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
  done(pair[0]);
  EXPECT_EQ(Hear(Keep(pair[1]), 5), "early");
}

TEST_F(ProxyTest, AConnectionThatNeverComesOrComesTooLateIsGivenUp) {
  std::function<void(absl::StatusOr<int>)> done;
  Begin([&](auto asked) { done = asked; }, {.connect_limit = absl::Milliseconds(1)});
  EXPECT_EQ(Hear(Client(), 1), "Connection reset by peer");
  int pair[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
  done(pair[0]);
  EXPECT_EQ(Hear(Keep(pair[1]), 1), "|");
  proxy_.reset();
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
  done(pair[0]);
  EXPECT_EQ(Hear(Keep(pair[1]), 1), "|");
}

TEST_F(ProxyTest, BeyondTheCapConnectionsWaitTheirTurn) {
  Begin(ConnectToAddress("127.0.0.1", target_.port()), {.max_connections = 1});
  const int first = Client();
  const int first_service = Service();
  const int second = Client();
  Say(second, "me too");
  for (int i = 0; i < 10; ++i) reactor_.RunOnce(absl::ZeroDuration());
  EXPECT_EQ(proxy_->accepted(), 1);
  shutdown(first, SHUT_WR);
  shutdown(first_service, SHUT_WR);
  EXPECT_EQ(Hear(Service(), 6), "me too");
}

TEST_F(ProxyTest, RunningOutOfDescriptorsIsSurvived) {
  struct rlimit before;
  getrlimit(RLIMIT_NOFILE, &before);
  const int client = Client();
  const int probe = dup(0);
  close(probe);
  const struct rlimit tight = {static_cast<rlim_t>(probe), before.rlim_max};
  setrlimit(RLIMIT_NOFILE, &tight);
  for (int i = 0; i < 10; ++i) reactor_.RunOnce(absl::ZeroDuration());
  EXPECT_EQ(proxy_->accepted(), 0);
  setrlimit(RLIMIT_NOFILE, &before);
  Say(client, "later");
  EXPECT_EQ(Hear(Service(), 5), "later");
}

TEST_F(ProxyTest, ItsEndClosesEverything) {
  const int client = Client(), service = Service();
  const int port = proxy_->port();
  proxy_.reset();
  EXPECT_EQ(Hear(client, 1), "|");
  EXPECT_EQ(Hear(service, 1), "|");
  EXPECT_LT(ConnectTo(port), 0);
}

TEST(ListenOnTest, SaysWhenAPortIsTaken) {
  Listener taken;
  EXPECT_THAT(ListenOn("127.0.0.1", taken.port()),
              StatusIs(absl::StatusCode::kAlreadyExists, testing::HasSubstr("taken")));
  EXPECT_THAT(ListenOn("localhost", 0), StatusIs(absl::StatusCode::kInvalidArgument, _));
  Reactor reactor;
  const int deaf = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  EXPECT_THAT(TcpProxy::Create(reactor, deaf, ConnectToAddress("127.0.0.1", 1)),
              StatusIs(absl::StatusCode::kFailedPrecondition, _));
}

}  // namespace
}  // namespace mayfly::local
