// What a hostile peer of the launcher, of an init or of the server can send: none of it may crash, be read beyond its
// end, be kept without bound, or leave a descriptor behind.
#include "server/engine/local/channel.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <tuple>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/engine/local/messages.h"
#include "tests/support/seed.h"

namespace mayfly::local {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

constexpr int kRounds = 300;

int OpenDescriptors() {
  int count = 0;
  DIR* dir = opendir("/proc/self/fd");
  while (readdir(dir) != nullptr) ++count;
  closedir(dir);
  return count;
}

// Every message that anybody decodes, so that a new field type is tried, too.
using AllMessages = std::tuple<TakeRequest, TakeReply, ReleaseRequest, ReleaseReply, DescribeReply, EgressRequest,
                               EgressReply, InitBorn, InitWarm, Assign, Snapshot, PrepareRequest, StartRequest,
                               StopRequest, ExposeRequest, ExecCommand, ConnectRequest, CollectRequest, CallDone,
                               NodeEvent, KillCommand, UsageReply, EgressOpen, EgressOpened, ShimWarm, ShimSetup,
                               ShimFailed, ShimStarted, ShimSignal, ShimExited, ShimSpawn, ShimSpawnDone, ShimCollect>;

template <class F>
void ForEachMessage(F f) {
  std::apply([&f](auto... message) { (f(message), ...); }, AllMessages());
}

PrepareRequest FullRequest() {
  PrepareRequest request;
  request.node = "web";
  request.process.argv = {"./web", "--port", "8080"};
  request.process.variables = {{"A", "1"}, {"B", std::string(300, 'b')}};
  request.process.files.push_back({"/etc/web.conf", "x=1\n", 0644});
  request.process.probe.command = {"true"};
  request.process.egress = {"example.org:443"};
  return request;
}

TEST(CodecTest, NothingButTheWholeMessageDecodes) {
  const std::string whole = Encode(FullRequest());
  PrepareRequest decoded;
  ASSERT_TRUE(Decode(whole, decoded));
  EXPECT_EQ(decoded.process.variables, FullRequest().process.variables);
  for (size_t size = 0; size < whole.size(); ++size) {
    // Its own allocation, so that a sanitizer sees a read beyond it.
    const std::vector<char> cut(whole.begin(), whole.begin() + static_cast<long>(size));
    EXPECT_FALSE(Decode(absl::string_view(cut.data(), cut.size()), decoded)) << size << " of " << whole.size();
  }
  EXPECT_FALSE(Decode(whole + "x", decoded));
}

TEST(CodecTest, ALieAboutACountAllocatesNoMoreThanTheInput) {
  Encoder encoder;
  encoder(std::string("scope"), 1, uint32_t{0xffffffff});  // PrepareRequest: node, attempt, 4 billion arguments.
  PrepareRequest decoded;
  EXPECT_FALSE(Decode(encoder.Take(), decoded));
  EXPECT_LE(decoded.process.argv.size(), 1u);
}

TEST(CodecTest, RandomBytesOfAnyMessageAreRefusedOrRead) {
  std::mt19937 random(TestSeed());
  ForEachMessage([&random](auto message) {
    for (int round = 0; round < kRounds; ++round) {
      std::vector<char> bytes(random() % 200);
      // Small numbers make believable counts and lengths.
      for (char& byte : bytes) byte = static_cast<char>(random() % 4 == 0 ? random() : random() % 3);
      Decode(absl::string_view(bytes.data(), bytes.size()), message);
    }
  });
}

TEST(CodecTest, AFlippedByteOfARealMessageIsRefusedOrRead) {
  std::mt19937 random(TestSeed());
  const std::string whole = Encode(FullRequest());
  for (int round = 0; round < kRounds * 10; ++round) {
    std::vector<char> bytes(whole.begin(), whole.end());
    for (int flips = 1 + static_cast<int>(random() % 4); flips > 0; --flips) {
      bytes[random() % bytes.size()] = static_cast<char>(random());
    }
    PrepareRequest decoded;
    Decode(absl::string_view(bytes.data(), bytes.size()), decoded);
  }
}

// One end is a Channel, the other a raw socket in the test's hands.
class HostilePeerTest : public testing::Test {
 protected:
  HostilePeerTest() {
    auto pair = SocketPair(SOCK_STREAM);
    peer_ = std::move(pair->first);
    fcntl(peer_.get(), F_SETFL, O_NONBLOCK);
    channel_ = std::make_unique<Channel>(
        &reactor_, std::move(pair->second), [this](Frame frame) { frames_.push_back(std::move(frame)); },
        [this] { closed_ = true; });
  }

  static std::string Header(uint32_t length, uint16_t type, uint16_t fds) {
    std::string bytes(8, '\0');
    std::memcpy(bytes.data(), &length, 4);
    std::memcpy(bytes.data() + 4, &type, 2);
    std::memcpy(bytes.data() + 6, &fds, 2);
    return bytes;
  }

  // False once the channel does not take it any more.
  bool Send(const std::string& bytes, int fds = 0) {
    iovec iov{const_cast<char*>(bytes.data()), bytes.size()};
    msghdr message{};
    message.msg_iov = &iov;
    message.msg_iovlen = 1;
    std::vector<char> control(CMSG_SPACE(sizeof(int) * static_cast<size_t>(fds)));
    if (fds > 0) {
      message.msg_control = control.data();
      message.msg_controllen = control.size();
      cmsghdr* cmsg = CMSG_FIRSTHDR(&message);
      cmsg->cmsg_level = SOL_SOCKET;
      cmsg->cmsg_type = SCM_RIGHTS;
      cmsg->cmsg_len = CMSG_LEN(sizeof(int) * static_cast<size_t>(fds));
      for (int i = 0; i < fds; ++i) std::memcpy(CMSG_DATA(cmsg) + i * sizeof(int), &devnull_, sizeof(int));
    }
    return sendmsg(peer_.get(), &message, MSG_NOSIGNAL) == static_cast<ssize_t>(bytes.size());
  }

  // Everything that was sent has been read and judged.
  void Settle() {
    for (int i = 0; i < 100; ++i) reactor_.RunOnce(absl::ZeroDuration());
  }

  const int devnull_ = open("/dev/null", O_RDONLY | O_CLOEXEC);
  Reactor reactor_;
  UniqueFd peer_;
  std::unique_ptr<Channel> channel_;
  std::vector<Frame> frames_;
  bool closed_ = false;
};

TEST_F(HostilePeerTest, WhatIsSaneArrives) {
  Send(Header(2, 7, 2) + "ab" + Header(0, 8, 0), 2);
  Settle();
  ASSERT_EQ(frames_.size(), 2u);
  EXPECT_EQ(frames_[0].body, "ab");
  EXPECT_EQ(frames_[0].fds.size(), 2u);
  EXPECT_FALSE(closed_);
}

TEST_F(HostilePeerTest, AnOverLongFrameClosesBeforeItsBodyComes) {
  Send(Header(Channel::kMaxBody + 1, 1, 0));
  Settle();
  EXPECT_TRUE(closed_);
  EXPECT_THAT(frames_, IsEmpty());
}

TEST_F(HostilePeerTest, FewerDescriptorsThanAnnouncedCloses) {
  Send(Header(0, 1, 2), 1);
  Settle();
  EXPECT_TRUE(closed_);
}

TEST_F(HostilePeerTest, MoreDescriptorsThanAnnouncedClosesAndKeepsNone) {
  const int before = OpenDescriptors();
  Send(Header(0, 1, 0), 3);
  Settle();
  EXPECT_TRUE(closed_);
  frames_.clear();
  EXPECT_EQ(OpenDescriptors(), before - 1);  // The channel's own.
}

TEST_F(HostilePeerTest, MoreDescriptorsThanAFrameMayHaveCloses) {
  Send(Header(0, 1, Channel::kMaxFds + 1), Channel::kMaxFds + 1);
  Settle();
  EXPECT_TRUE(closed_);
}

TEST_F(HostilePeerTest, DescriptorsWithEachByteOfAnUnfinishedFrameAreNotHoarded) {
  const int before = OpenDescriptors();
  Send(Header(1000, 1, 16), 16);
  for (int i = 0; i < 100 && !closed_; ++i) {
    Send("x", 16);
    Settle();
    EXPECT_LE(OpenDescriptors(), before + 40);
  }
  EXPECT_TRUE(closed_);
  EXPECT_EQ(OpenDescriptors(), before - 1);
}

TEST_F(HostilePeerTest, AnEndInMidFrameIsAnEnd) {
  Send(Header(100, 1, 0) + "only this");
  peer_.Reset();
  Settle();
  EXPECT_TRUE(closed_);
  EXPECT_THAT(frames_, IsEmpty());
}

TEST_F(HostilePeerTest, RandomStreamsLeaveNothing) {
  std::mt19937 random(TestSeed());
  const int before = OpenDescriptors();
  for (int round = 0; round < kRounds; ++round) {
    auto pair = SocketPair(SOCK_STREAM);
    peer_ = std::move(pair->first);
    fcntl(peer_.get(), F_SETFL, O_NONBLOCK);
    closed_ = false;
    channel_ = std::make_unique<Channel>(
        &reactor_, std::move(pair->second), [this](Frame frame) { frames_.push_back(std::move(frame)); },
        [this] { closed_ = true; });
    for (int piece = 0; piece < 20 && !closed_; ++piece) {
      std::string bytes(1 + random() % 300, '\0');
      for (char& byte : bytes) byte = static_cast<char>(random() % 8 == 0 ? random() : 0);
      if (random() % 2 == 0) bytes = Header(random() % 100, random() % 80, random() % 4) + bytes;
      Send(bytes, random() % 3 == 0 ? static_cast<int>(random() % 20) : 0);
      if (random() % 2 == 0) Settle();
    }
    Settle();
    for (const Frame& frame : frames_) ASSERT_LE(frame.fds.size(), Channel::kMaxFds);
    frames_.clear();
  }
  channel_.reset();
  EXPECT_EQ(OpenDescriptors(), before - 1);
}

}  // namespace
}  // namespace mayfly::local
