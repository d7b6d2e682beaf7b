// The launcher has the server's rights and no reason to trust it: a server that has gone mad may send anything.
#include "server/engine/local/launcher.h"

#include <sys/socket.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <memory>
#include <random>
#include <string>

#include "absl/strings/numbers.h"
#include "gtest/gtest.h"
#include "server/engine/local/channel.h"
#include "server/engine/local/messages.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace mayfly::local {
namespace {

namespace fs = std::filesystem;

class LauncherTest : public testing::Test {
 protected:
  LauncherTest() {
    fs::create_directories(state_ / "scopes");
    LauncherOptions options;
    options.state_dir = state_ / "";
    options.state_dir.pop_back();
    options.pool = 0;
    options.slots = 1;
    auto handle = ForkLauncher(options);
    EXPECT_OK(handle.status());
    handle_ = *std::move(handle);
    raw_ = handle_.channel.get();
    channel_ = std::make_unique<Channel>(
        &reactor_, std::move(handle_.channel), [this](Frame frame) { last_ = std::move(frame); },
        [this] { closed_ = true; });
  }

  ~LauncherTest() override {
    channel_.reset();
    EXPECT_OK(AwaitLauncherEnd(handle_.pid));
  }

  // It has read all that was sent before, and lives.
  bool Answers() {
    channel_->Send(ReleaseRequest{"asked"});
    ReleaseReply reply;
    while (!closed_ && !(last_.type == ReleaseReply::kType && Decode(last_.body, reply) && reply.scope == "asked")) {
      reactor_.RunOnce(absl::Seconds(1));
    }
    last_ = Frame();
    return !closed_;
  }

  TempDir state_;
  Reactor reactor_;
  LauncherHandle handle_;
  int raw_ = -1;
  std::unique_ptr<Channel> channel_;
  Frame last_;
  bool closed_ = false;
};

TEST_F(LauncherTest, ANameThatIsAPathRemovesNothing) {
  fs::create_directories(state_ / "victim/below");
  for (const char* name : {"../victim", "..", ".", "", ".lock", "x/../../victim", "/"}) {
    channel_->Send(ReleaseRequest{name});
    channel_->Send(EgressRequest{name});
    channel_->Send(TakeRequest{name, "e", "o", "", "", 1});
  }
  EXPECT_TRUE(Answers());
  EXPECT_TRUE(fs::exists(state_ / "victim/below"));
  EXPECT_TRUE(fs::exists(state_ / "scopes/.lock"));
}

TEST_F(LauncherTest, ALineBreakCannotForgeADescriptor) {
  channel_->Send(TakeRequest{"forged", "env\npid=1\nstart_time=1", "o", "", "", 1});
  EXPECT_TRUE(Answers());
  EXPECT_FALSE(fs::exists(state_ / "scopes/forged"));
}

TEST_F(LauncherTest, RandomMessagesDoNotEndIt) {
  unsigned seed = std::random_device()();
  const char* given = std::getenv("MAYFLY_SEED");
  if (given != nullptr) {
    ASSERT_TRUE(absl::SimpleAtoi(given, &seed));
  }
  std::cout << "MAYFLY_SEED=" << seed << "\n";
  std::mt19937 random(seed);
  for (int round = 0; round < 2000; ++round) {
    std::string body(random() % 60, '\0');
    for (char& byte : body) byte = static_cast<char>(random() % 4 == 0 ? random() : random() % 3);
    channel_->SendBody(static_cast<uint16_t>(random() % 90), body, {});
  }
  EXPECT_TRUE(Answers());
}

TEST_F(LauncherTest, RubbishOnTheLineEndsIt) {
  ASSERT_TRUE(Answers());
  const std::string rubbish(100, '\xff');
  ASSERT_EQ(send(raw_, rubbish.data(), rubbish.size(), MSG_NOSIGNAL), 100);
  while (!closed_) reactor_.RunOnce(absl::Seconds(1));
}

}  // namespace
}  // namespace mayfly::local
