// The server's end of the connection with a gate. Whoever holds a pod's token can speak in its gate's place, so the
// other end here says what no gate of ours says, too.
#include "server/engine/kubernetes/gate_link.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "server/engine/kubernetes/gate_hub.h"
#include "server/engine/parts/proxy.h"
#include "tests/support/seed.h"
#include "tests/support/status_matchers.h"

namespace mayfly::kubernetes {
namespace {

constexpr char kSecret[] = "a secret of 128 bits";

std::string Frame(int type, absl::string_view payload, int id = 0, int flag = 0) {
  const gate_frame frame = {.length = static_cast<uint32_t>(payload.size()),
                            .type = static_cast<uint8_t>(type),
                            .flag = static_cast<uint8_t>(flag),
                            .id = static_cast<uint16_t>(id)};
  return absl::StrCat(absl::string_view(reinterpret_cast<const char*>(&frame), sizeof frame), payload);
}

// Both ends of a link in one thread.
class GateLinkTest : public testing::Test {
 protected:
  GateLinkTest() {
    int fds[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds), 0);
    gate_.reset(fds[0]);
    GateLink::Callbacks callbacks;
    callbacks.on_frame = [this](const gate_frame& frame, absl::string_view payload) {
      frames_.push_back(absl::StrCat(frame.type, ":", payload));
    };
    callbacks.on_lost = [this] { ++lost_; };
    link_ = std::make_unique<GateLink>(reactor_, UniqueFd(fds[1]), std::move(callbacks));
  }

  // From the gate; false when the server has hung up.
  bool Say(absl::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t n = send(gate_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (n > 0) bytes.remove_prefix(static_cast<size_t>(n));
      if (n < 0 && errno != EAGAIN) return false;
      Turn();
    }
    Turn();
    return true;
  }
  void Turn() {
    for (int i = 0; i < 8; ++i) reactor_.RunOnce(absl::ZeroDuration());
  }

  StreamEvents Noted() {
    StreamEvents events;
    events.on_data = [this](absl::string_view bytes) { data_ += bytes.size(); };
    events.on_end = [this](int error, int code) { ends_.push_back(absl::StrCat(error, " ", code)); };
    return events;
  }

  Reactor reactor_;
  UniqueFd gate_;
  std::vector<std::string> frames_, ends_;
  size_t data_ = 0;
  int lost_ = 0;
  std::unique_ptr<GateLink> link_;  // Its end is still noted in the above.
};

TEST_F(GateLinkTest, FramesArriveWholeHoweverTheyAreCut) {
  const std::string text = absl::StrCat(Frame(GATE_NOTIFIED, "READY=1"), Frame(GATE_STARTED, "12345678"));
  for (const char byte : text) ASSERT_TRUE(Say(absl::string_view(&byte, 1)));
  EXPECT_THAT(frames_,
              testing::ElementsAre(absl::StrCat(GATE_NOTIFIED, ":READY=1"), absl::StrCat(GATE_STARTED, ":12345678")));
}

TEST_F(GateLinkTest, AFrameThatIsTooLongEndsTheLink) {
  gate_frame frame{};
  frame.length = GATE_MAX_PAYLOAD + 1;
  frame.type = GATE_OUTPUT;
  Say(absl::string_view(reinterpret_cast<const char*>(&frame), sizeof frame));
  EXPECT_EQ(lost_, 1);
}

TEST_F(GateLinkTest, AStreamThatIsNotReadHoldsNoMoreThanItsWindow) {
  const uint16_t id = link_->OpenStream(GATE_DIAL, "xx", Noted());
  const std::string part(GATE_STREAM_WINDOW / 4, 'x');
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(Say(Frame(GATE_DATA, part, id)));
  EXPECT_EQ(lost_, 0);
  EXPECT_EQ(data_, size_t{GATE_STREAM_WINDOW});
  Say(Frame(GATE_DATA, "y", id));
  EXPECT_EQ(lost_, 1);
  EXPECT_EQ(data_, size_t{GATE_STREAM_WINDOW});
  EXPECT_THAT(ends_, testing::ElementsAre(absl::StrCat(ECONNRESET, " 0")));
}

TEST_F(GateLinkTest, WhatWasTakenMayComeAgain) {
  const uint16_t id = link_->OpenStream(GATE_DIAL, "xx", Noted());
  const std::string part(GATE_STREAM_WINDOW, 'x');
  for (int i = 0; i < 8; ++i) {
    ASSERT_TRUE(Say(Frame(GATE_DATA, part, id)));
    link_->Taken(id, GATE_STREAM_WINDOW);
    char discard[256];
    while (read(gate_.get(), discard, sizeof discard) > 0) continue;
  }
  EXPECT_EQ(lost_, 0);
  EXPECT_EQ(data_, size_t{8} * GATE_STREAM_WINDOW);
}

TEST_F(GateLinkTest, AGateThatDoesNotReadIsGivenUpBeforeItFillsTheMemory) {
  const std::string part(GATE_MAX_PAYLOAD, 'x');
  int sent = 0;
  for (; sent < 1000 && lost_ == 0; ++sent) {
    link_->Send(GATE_WRITE, 0, 1, part);
    Turn();
  }
  EXPECT_EQ(lost_, 1);
  EXPECT_LT(sent, 100);
}

TEST_F(GateLinkTest, LossEndsEveryStreamOnceAndThenTheLink) {
  link_->OpenStream(GATE_RUN, "true", Noted());
  link_->OpenStream(GATE_COLLECT, "", Noted());
  gate_.reset();
  Turn();
  const std::string reset = absl::StrCat(ECONNRESET, " 0");
  EXPECT_THAT(ends_, testing::ElementsAre(reset, reset));
  EXPECT_EQ(lost_, 1);
}

TEST_F(GateLinkTest, AnythingAtAllOnlyEverEndsTheLink) {
  std::mt19937_64 random(TestSeed());
  for (int round = 0; round < 200 && lost_ == 0; ++round) {
    link_->OpenStream(GATE_DIAL, "xx", Noted());
    std::string payload(random() % 40, '\0');
    for (char& c : payload) c = static_cast<char>(random());
    if (!Say(Frame(static_cast<int>(random() % 20), payload, static_cast<int>(random() % 64),
                   static_cast<int>(random() % 3))))
      break;
  }
  std::string noise(4096, '\0');
  for (char& c : noise) c = static_cast<char>(random() | 0x80);
  Say(noise);
  EXPECT_EQ(lost_, 1);  // 0x80808080 and more is no length.
}

class GateHubTest : public testing::Test {
 protected:
  GateHubTest() {
    auto hub = GateHub::Create(reactor_, "127.0.0.1:0", kSecret,
                               [this](const GateHello& hello, std::unique_ptr<GateLink> link) {
                                 hellos_.push_back(absl::StrCat(hello.scope, "/", hello.pod, " ", hello.address));
                                 links_.push_back(std::move(link));
                               });
    EXPECT_OK(hub);
    hub_ = *std::move(hub);
  }

  UniqueFd Call() {
    const std::vector<std::string> parts = absl::StrSplit(hub_->address(), ':');
    UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(static_cast<uint16_t>(std::stoi(parts[1])));
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(connect(fd.get(), reinterpret_cast<sockaddr*>(&to), sizeof to), 0);
    return fd;
  }
  void Turn() {
    for (int i = 0; i < 8; ++i) reactor_.RunOnce(absl::ZeroDuration());
  }
  static std::string Hello(absl::string_view token, int version = GATE_VERSION) {
    return absl::StrCat(version, " env/web-1 ", token, " 10.0.0.9 waiting 17");
  }
  void Say(const UniqueFd& fd, absl::string_view hello) {
    const std::string frame = Frame(GATE_HELLO, hello);
    EXPECT_EQ(send(fd.get(), frame.data(), frame.size(), MSG_NOSIGNAL), static_cast<ssize_t>(frame.size()));
    Turn();
  }
  static bool HungUp(const UniqueFd& fd) {
    char byte;
    return recv(fd.get(), &byte, 1, MSG_DONTWAIT) == 0;
  }

  Reactor reactor_;
  std::unique_ptr<GateHub> hub_;
  std::vector<std::string> hellos_;
  std::vector<std::unique_ptr<GateLink>> links_;
};

TEST_F(GateHubTest, WhoProvesToBeThePodIsHeard) {
  const UniqueFd fd = Call();
  Say(fd, Hello(GateToken(kSecret, "env", "web-1")));
  EXPECT_THAT(hellos_, testing::ElementsAre("env/web-1 10.0.0.9"));
  EXPECT_FALSE(HungUp(fd));
}

TEST_F(GateHubTest, AnotherPodsTokenOpensNothing) {
  for (const std::string& token : {GateToken(kSecret, "env", "web-2"), GateToken(kSecret, "other", "web-1"),
                                   GateToken("guess", "env", "web-1"), std::string("x")}) {
    const UniqueFd fd = Call();
    Say(fd, Hello(token));
    EXPECT_TRUE(HungUp(fd)) << token;
  }
  EXPECT_THAT(hellos_, testing::IsEmpty());
}

TEST_F(GateHubTest, EveryVersionUpToItsOwnIsSpokenAndNoNewerOne) {
  std::vector<int> versions;
  auto later = GateHub::Create(
      reactor_, "127.0.0.1:0", kSecret,
      [&](const GateHello& hello, std::unique_ptr<GateLink>) { versions.push_back(hello.version); }, 3);
  ASSERT_OK(later);
  hub_ = *std::move(later);
  const std::string token = GateToken(kSecret, "env", "web-1");
  for (const int version : {1, 2, 3, 4, 0, -1}) Say(Call(), Hello(token, version));
  EXPECT_THAT(versions, testing::ElementsAre(1, 2, 3));
}

TEST_F(GateHubTest, AnythingButAHelloIsHungUpOn) {
  const std::string token = GateToken(kSecret, "env", "web-1");
  for (const std::string& text : {std::string(), Hello(token).substr(2), absl::StrCat(Hello(token), " more"),
                                  absl::StrCat("1 env ", token, " 10.0.0.9 waiting 17"),
                                  absl::StrCat("1 env/web-1 ", token, " 10.0.0.9 flying 17"),
                                  absl::StrCat("1 env/web-1 ", token, " 10.0.0.9 waiting soon")}) {
    const UniqueFd fd = Call();
    Say(fd, text);
    EXPECT_TRUE(HungUp(fd)) << text;
  }
  const UniqueFd http = Call();
  const char request[] = "GET / HTTP/1.1\r\n\r\n";
  EXPECT_GT(send(http.get(), request, strlen(request), MSG_NOSIGNAL), 0);
  Turn();
  EXPECT_TRUE(HungUp(http));
  EXPECT_THAT(hellos_, testing::IsEmpty());
}

TEST_F(GateHubTest, ManyWhoSayNothingKeepNobodyOut) {
  std::vector<UniqueFd> silent;
  for (int i = 0; i < 600; ++i) {
    silent.push_back(Call());
    Turn();
  }
  const UniqueFd fd = Call();
  Say(fd, Hello(GateToken(kSecret, "env", "web-1")));
  EXPECT_EQ(hellos_.size(), 1u);
  EXPECT_TRUE(HungUp(silent.front()));
}

}  // namespace
}  // namespace mayfly::kubernetes
