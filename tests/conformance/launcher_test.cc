// The launcher has the server's rights and no reason to trust it: a server that has gone mad may send anything.
#include "server/engine/local/launcher.h"

#include <sys/socket.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/engine/local/channel.h"
#include "server/engine/local/messages.h"
#include "server/engine/local/plot.h"
#include "tests/support/seed.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace mayfly::local {
namespace {

namespace fs = std::filesystem;

class LauncherTest : public testing::Test {
 protected:
  explicit LauncherTest(int pool = 0) {
    fs::create_directories(state_ / "scopes");
    LauncherOptions options;
    options.state_dir = state_ / "";
    options.state_dir.pop_back();
    options.pool = pool;
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

// Its path was resolved when it was read. A link that stands there now was put there meanwhile.
TEST(SourceTreeTest, ASourceFolderThatBecameALinkIsNotFollowed) {
  const TempDir dir;
  fs::create_directories(dir / "real/shop");
  fs::create_symlink("real", dir / "link");
  for (const char* name : {"link", "link/shop"}) {
    EXPECT_THAT(std::string(CloneSourceTree(dir / name, 0).status().message()),
                testing::HasSubstr("Too many levels of symbolic links"));
  }
  EXPECT_EQ(CloneSourceTree(dir / "gone", 0).status().code(), absl::StatusCode::kNotFound);
}

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
  std::mt19937 random(TestSeed());
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

class PoolTest : public LauncherTest {
 protected:
  PoolTest() : LauncherTest(1) {}

  // As the kernel lists them: inits, and helpers that make one.
  size_t Children() const {
    std::ifstream file(absl::StrCat("/proc/", handle_.pid, "/task/", handle_.pid, "/children"));
    return std::distance(std::istream_iterator<int>(file), {});
  }

  void AwaitChildren(size_t count) {
    const absl::Duration limit = reactor_.Now() + absl::Seconds(60);
    while (Children() != count && reactor_.Now() < limit) reactor_.RunOnce(absl::Milliseconds(20));
    EXPECT_EQ(Children(), count);
  }

  // What the launcher says to each of the requests before it.
  void AwaitAnswers(uint16_t type, int count) {
    for (int seen = 0; seen < count && !closed_; last_ = Frame()) {
      reactor_.RunOnce(absl::Seconds(1));
      seen += last_.type == type;
    }
  }
};

TEST_F(PoolTest, IsAfterABurstWhatItWasBefore) {
  AwaitChildren(1);
  const std::vector<std::string> burst = {"a", "b", "c", "d", "e"};
  for (const std::string& scope : burst) {
    channel_->Send(TakeRequest{scope, "env", "owner", "", "", 1});
    AwaitAnswers(TakeReply::kType, 1);
  }
  EXPECT_GE(Children(), burst.size());
  for (const std::string& scope : burst) {
    channel_->Send(ReleaseRequest{scope});
    AwaitAnswers(ReleaseReply::kType, 1);
  }
  AwaitChildren(1);
  EXPECT_FALSE(closed_);
}

}  // namespace
}  // namespace mayfly::local
