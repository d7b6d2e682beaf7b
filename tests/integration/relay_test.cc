// The relay of gates (gate/relay.c) as a process, in a network of its own, with the server's end of it. No cluster is
// needed: what the API server does between the two is a connection here.
#include <arpa/inet.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/engine/kubernetes/gate_program.h"
#include "server/engine/kubernetes/gate_relay.h"
#include "server/engine/parts/fd_stream.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace mayfly::kubernetes {
namespace {

constexpr timeval kPatience = {20, 0};

UniqueFd Call(int port) {
  UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(static_cast<uint16_t>(port));
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &kPatience, sizeof kPatience);
  if (connect(fd.get(), reinterpret_cast<sockaddr*>(&to), sizeof to) != 0) fd.reset();
  return fd;
}

void Say(const UniqueFd& fd, const std::string& text) {
  ASSERT_EQ(send(fd.get(), text.data(), text.size(), MSG_NOSIGNAL), static_cast<ssize_t>(text.size()));
}

// The next `size` bytes; fewer when it ended.
std::string Hear(const UniqueFd& fd, size_t size) {
  std::string heard(size, '\0');
  size_t got = 0;
  for (ssize_t n = 1; got < size && n > 0; got += n > 0 ? static_cast<size_t>(n) : 0) {
    n = recv(fd.get(), heard.data() + got, size - got, 0);
  }
  heard.resize(got);
  return heard;
}

std::string Line(const UniqueFd& fd) {
  std::string line;
  for (std::string byte; (byte = Hear(fd, 1)).size() == 1 && byte != "\n";) line += byte;
  return line;
}

bool Ended(const UniqueFd& fd) {
  char byte;
  const ssize_t n = recv(fd.get(), &byte, 1, 0);
  return n == 0 || (n < 0 && errno == ECONNRESET);
}

class RelayTest : public testing::Test {
 protected:
  void SetUp() override {
    static const bool alone = [] {
      if (unshare(CLONE_NEWNET | (geteuid() == 0 ? 0 : CLONE_NEWUSER)) != 0) return false;
      const UniqueFd fd(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
      ifreq loopback{};
      std::strcpy(loopback.ifr_name, "lo");
      loopback.ifr_flags = IFF_UP | IFF_RUNNING;
      return ioctl(fd.get(), SIOCSIFFLAGS, &loopback) == 0;
    }();
    if (!alone) GTEST_SKIP() << "no network of its own here: " << strerror(errno);
    const std::string program = folder_ / "gate";
    std::ofstream(program, std::ios::binary) << GateProgram();
    chmod(program.c_str(), 0755);
    relay_ = fork();
    if (relay_ == 0) {
      execl(program.c_str(), program.c_str(), "--relay", std::to_string(kRelayPort).c_str(),
            std::to_string(kRelayBackPort).c_str(), nullptr);
      _exit(99);
    }
    // The second port is the last that it opens.
    while (!Call(kRelayBackPort).valid() && waitpid(relay_, nullptr, WNOHANG) == 0) usleep(1000);
  }
  void TearDown() override {
    if (relay_ <= 0) return;
    kill(relay_, SIGTERM);
    int status = 0;
    ASSERT_EQ(waitpid(relay_, &status, 0), relay_);
    EXPECT_EQ(status, 0);
  }

  TempDir folder_;
  pid_t relay_ = -1;
};

TEST_F(RelayTest, AGateAndTheServerHearEachOther) {
  const UniqueFd server = Call(kRelayBackPort);
  EXPECT_EQ(Line(server), "0.0.0.0");  // There is no network but the loopback here.
  const UniqueFd gate = Call(kRelayPort);
  Say(gate, "hello");
  EXPECT_EQ(Line(server), "127.0.0.1");
  EXPECT_EQ(Hear(server, 5), "hello");
  Say(server, "welcome");
  EXPECT_EQ(Hear(gate, 7), "welcome");
}

TEST_F(RelayTest, AGateThatCallsFirstIsHeardWhenTheServerComes) {
  const UniqueFd first = Call(kRelayPort), second = Call(kRelayPort);
  Say(first, "one");
  Say(second, "two");
  const UniqueFd server = Call(kRelayBackPort), next = Call(kRelayBackPort);
  Line(server);
  Line(next);
  EXPECT_EQ(Line(server), "127.0.0.1");
  EXPECT_EQ(Line(next), "127.0.0.1");
  EXPECT_EQ(Hear(server, 3), "one");
  EXPECT_EQ(Hear(next, 3), "two");
}

TEST_F(RelayTest, SilentCallersTakeNoConnectionAndKeepNobodyOut) {
  const UniqueFd server = Call(kRelayBackPort);
  Line(server);
  std::vector<UniqueFd> silent;
  for (int i = 0; i < 700; ++i) silent.push_back(Call(kRelayPort));
  const UniqueFd gate = Call(kRelayPort);
  Say(gate, "hello");
  EXPECT_EQ(Line(server), "127.0.0.1");
  EXPECT_EQ(Hear(server, 5), "hello");
  EXPECT_TRUE(Ended(silent.front()));
}

TEST_F(RelayTest, AnEndIsPassedOnBothWays) {
  UniqueFd server = Call(kRelayBackPort), gate = Call(kRelayPort);
  Line(server);
  Say(gate, "x");
  Line(server);
  Hear(server, 1);
  gate.reset();
  EXPECT_TRUE(Ended(server));
  UniqueFd other = Call(kRelayBackPort), again = Call(kRelayPort);
  Line(other);
  Say(again, "y");
  Line(other);
  EXPECT_EQ(Hear(other, 1), "y");
  other.reset();
  EXPECT_TRUE(Ended(again));
}

TEST_F(RelayTest, MegabytesArriveWholeAtAReaderThatIsSlow) {
  const UniqueFd server = Call(kRelayBackPort), gate = Call(kRelayPort);
  Line(server);
  Say(gate, "x");
  Line(server);
  Hear(server, 1);
  std::string sent(16 << 20, '\0');
  for (size_t i = 0; i < sent.size(); ++i) sent[i] = static_cast<char>(i * 2654435761U >> 13);
  for (const auto& [from, to] : {std::make_pair(gate.get(), &server), std::make_pair(server.get(), &gate)}) {
    const pid_t writer = fork();
    if (writer == 0) {
      for (size_t done = 0; done < sent.size();) {
        const ssize_t n = send(from, sent.data() + done, sent.size() - done, MSG_NOSIGNAL);
        if (n <= 0) _exit(1);
        done += static_cast<size_t>(n);
      }
      _exit(0);
    }
    // Whatever fits in between is full by now.
    pollfd readable{to->get(), POLLIN, 0};
    ASSERT_EQ(poll(&readable, 1, 20000), 1);
    EXPECT_TRUE(Hear(*to, sent.size()) == sent);
    int status = 0;
    waitpid(writer, &status, 0);
    EXPECT_EQ(status, 0);
  }
}

class Refused final : public Stream {
 public:
  void Write(std::string) override {}
  void Taken(size_t) override {}
  void CloseWrite() override {}
  void Resize(int, int) override {}
};

// The server's end, with a connection in place of the API server's stream.
class RelayStreamTest : public RelayTest {
 protected:
  void Open() {
    RelayStream::Callbacks callbacks;
    callbacks.on_greeting = [this](const std::string& address) { greeting_ = address; };
    callbacks.on_gate = [this](UniqueFd socket, const std::string& peer) {
      gate_ = std::move(socket);
      EXPECT_EQ(peer, "127.0.0.1");
    };
    callbacks.on_end = [this](const absl::Status& status) { ended_ = std::make_unique<absl::Status>(status); };
    const auto post = [this](std::function<void()> fn) { reactor_.AddTimer(absl::ZeroDuration(), std::move(fn)); };
    stream_ = std::make_unique<RelayStream>(
        reactor_, post,
        [this, post](Stream::Callbacks events) {
          UniqueFd connection = Call(kRelayBackPort);
          if (!connection.valid()) {
            post([events] { events.on_close(absl::UnavailableError("refused"), 0); });
            return std::unique_ptr<Stream>(new Refused);
          }
          FdStreamOptions options;
          options.kind = FdStreamOptions::Kind::kSocket;
          options.output = connection.release();
          options.reactor = &reactor_;
          options.post = post;
          return StartFdStream(std::move(options), std::move(events)).stream;
        },
        std::move(callbacks));
  }
  bool Until(const std::function<bool()>& condition) {
    for (const absl::Duration end = reactor_.Now() + absl::DurationFromTimeval(kPatience); !condition();) {
      if (reactor_.Now() > end) return false;
      reactor_.RunOnce(absl::Milliseconds(50));
    }
    return true;
  }

  Reactor reactor_;
  std::unique_ptr<RelayStream> stream_;
  std::string greeting_;
  UniqueFd gate_;
  std::unique_ptr<absl::Status> ended_;
};

TEST_F(RelayStreamTest, BecomesASocketWhenAGateSpeaks) {
  Open();
  ASSERT_TRUE(Until([this] { return !greeting_.empty(); }));
  EXPECT_EQ(greeting_, "0.0.0.0");
  EXPECT_FALSE(gate_.valid());
  const UniqueFd caller = Call(kRelayPort);
  Say(caller, "hello");
  ASSERT_TRUE(Until([this] { return gate_.valid(); }));
  char said[6] = "";
  ASSERT_TRUE(Until([&] { return recv(gate_.get(), said, 5, MSG_DONTWAIT) == 5; }));
  EXPECT_STREQ(said, "hello");
  Say(gate_, "welcome");
  Until([&] {
    pollfd readable{caller.get(), POLLIN, 0};
    return poll(&readable, 1, 0) == 1;
  });
  EXPECT_EQ(Hear(caller, 7), "welcome");
}

TEST_F(RelayStreamTest, MegabytesBothWaysWithoutLoss) {
  Open();
  const UniqueFd caller = Call(kRelayPort);
  std::string sent(4 << 20, '\0');
  for (size_t i = 0; i < sent.size(); ++i) sent[i] = static_cast<char>(i * 2654435761U >> 13);
  const pid_t echo = fork();
  if (echo == 0) {
    // Says all of it, and only then reads the answer.
    for (size_t done = 0; done < sent.size();) {
      const ssize_t n = send(caller.get(), sent.data() + done, sent.size() - done, MSG_NOSIGNAL);
      if (n <= 0) _exit(1);
      done += static_cast<size_t>(n);
    }
    _exit(Hear(caller, sent.size()) == sent ? 0 : 2);
  }
  ASSERT_TRUE(Until([this] { return gate_.valid(); }));
  std::string heard;
  ASSERT_TRUE(Until([&] {
    char bytes[65536];
    const ssize_t n = recv(gate_.get(), bytes, sizeof bytes, MSG_DONTWAIT);
    if (n > 0) heard.append(bytes, static_cast<size_t>(n));
    return heard.size() >= sent.size();
  }));
  EXPECT_TRUE(heard == sent);
  size_t done = 0;
  ASSERT_TRUE(Until([&] {
    const ssize_t n = send(gate_.get(), sent.data() + done, sent.size() - done, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n > 0) done += static_cast<size_t>(n);
    return done == sent.size();
  }));
  int status = -1;
  ASSERT_TRUE(Until([&] { return waitpid(echo, &status, WNOHANG) == echo; }));
  EXPECT_EQ(status, 0);
}

TEST_F(RelayStreamTest, TellsItsEndOnceWhoeverEndsIt) {
  Open();
  const UniqueFd caller = Call(kRelayPort);
  Say(caller, "hello");
  ASSERT_TRUE(Until([this] { return gate_.valid(); }));
  gate_.reset();
  ASSERT_TRUE(Until([this] { return ended_ != nullptr; }));
  EXPECT_OK(*ended_);
  stream_.reset();
  EXPECT_TRUE(Until([&] {
    pollfd over{caller.get(), POLLIN, 0};
    return poll(&over, 1, 0) == 1;
  }));
  EXPECT_TRUE(Ended(caller));
}

TEST_F(RelayStreamTest, WhereNobodyListensItEndsWithoutAGreeting) {
  kill(relay_, SIGTERM);
  waitpid(relay_, nullptr, 0);
  relay_ = -1;
  Open();
  ASSERT_TRUE(Until([this] { return ended_ != nullptr; }));
  EXPECT_TRUE(greeting_.empty());
  EXPECT_FALSE(gate_.valid());
}

}  // namespace
}  // namespace mayfly::kubernetes
