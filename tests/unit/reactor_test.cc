#include "server/engine/parts/reactor.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace mayfly::local {
namespace {

using testing::_;
using testing::ElementsAre;

struct Pipe {
  Pipe() { EXPECT_EQ(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0); }
  ~Pipe() {
    close(fds[0]);
    close(fds[1]);
  }
  void Fill() { EXPECT_EQ(write(fds[1], "x", 1), 1); }
  int fds[2] = {-1, -1};
};

constexpr absl::Duration kLong = absl::Seconds(30);

TEST(ReactorTest, CallsTheHandlerUntilTheDescriptorIsDrained) {
  Reactor reactor;
  Pipe pipe;
  int calls = 0;
  ASSERT_OK(reactor.Add(pipe.fds[0], EPOLLIN, [&](uint32_t events) {
    EXPECT_TRUE(events & EPOLLIN);
    char c;
    if (++calls < 2) return;
    EXPECT_EQ(read(pipe.fds[0], &c, 1), 1);
  }));
  pipe.Fill();
  reactor.RunOnce(kLong);
  reactor.RunOnce(kLong);
  reactor.RunOnce(absl::ZeroDuration());
  EXPECT_EQ(calls, 2);
  reactor.Remove(pipe.fds[0]);
}

TEST(ReactorTest, RefusesADescriptorTwiceAndABadOne) {
  Reactor reactor;
  Pipe pipe;
  ASSERT_OK(reactor.Add(pipe.fds[0], EPOLLIN, [](uint32_t) {}));
  EXPECT_THAT(reactor.Add(pipe.fds[0], EPOLLIN, [](uint32_t) {}), StatusIs(absl::StatusCode::kAlreadyExists, _));
  EXPECT_THAT(reactor.Add(-1, EPOLLIN, [](uint32_t) {}), StatusIs(absl::StatusCode::kInvalidArgument, _));
  EXPECT_THAT(reactor.Modify(pipe.fds[1], EPOLLIN), StatusIs(absl::StatusCode::kNotFound, _));
  reactor.Remove(pipe.fds[0]);
  reactor.Remove(pipe.fds[0]);
}

TEST(ReactorTest, ModifyChangesWhatIsWaitedFor) {
  Reactor reactor;
  Pipe pipe;
  int calls = 0;
  ASSERT_OK(reactor.Add(pipe.fds[1], 0, [&](uint32_t) { ++calls; }));
  reactor.RunOnce(absl::ZeroDuration());
  EXPECT_EQ(calls, 0);
  ASSERT_OK(reactor.Modify(pipe.fds[1], EPOLLOUT));
  reactor.RunOnce(kLong);
  EXPECT_EQ(calls, 1);
  reactor.Remove(pipe.fds[1]);
}

TEST(ReactorTest, AnEventOfTheSameRoundDoesNotReachARemovedHandler) {
  Reactor reactor;
  Pipe a, b;
  std::vector<std::string> called;
  const auto take_both = [&](std::string name) {
    return [&, name](uint32_t) {
      called.push_back(name);
      reactor.Remove(a.fds[0]);
      reactor.Remove(b.fds[0]);
      // The number is watched again at once, as after close and a new socket: the old event is not for this handler.
      EXPECT_OK(reactor.Add(a.fds[0], 0, [&](uint32_t) { called.push_back("new a"); }));
      EXPECT_OK(reactor.Add(b.fds[0], 0, [&](uint32_t) { called.push_back("new b"); }));
    };
  };
  ASSERT_OK(reactor.Add(a.fds[0], EPOLLIN, take_both("first")));
  ASSERT_OK(reactor.Add(b.fds[0], EPOLLIN, take_both("first")));
  a.Fill();
  b.Fill();
  reactor.RunOnce(kLong);
  EXPECT_THAT(called, ElementsAre("first"));
}

TEST(ReactorTest, AHandlerMayOwnWhatItsRemovalDestroys) {
  Reactor reactor;
  Pipe pipe;
  auto owned = std::make_shared<int>(7);
  std::weak_ptr<int> watch = owned;
  ASSERT_OK(reactor.Add(pipe.fds[0], EPOLLIN, [&reactor, &pipe, owned](uint32_t) {
    reactor.Remove(pipe.fds[0]);
    EXPECT_EQ(*owned, 7);
  }));
  owned.reset();
  pipe.Fill();
  reactor.RunOnce(kLong);
  EXPECT_TRUE(watch.expired());
}

TEST(ReactorTest, TimersRunInOrderOfTimeAndAfterDescriptors) {
  Reactor reactor;
  Pipe pipe;
  std::vector<std::string> order;
  reactor.AddTimer(absl::Milliseconds(200), [&] {
    order.push_back("later");
    reactor.Stop();
  });
  reactor.AddTimer(absl::ZeroDuration(), [&] { order.push_back("now"); });
  ASSERT_OK(reactor.Add(pipe.fds[0], EPOLLIN, [&](uint32_t) {
    order.push_back("pipe");
    reactor.Remove(pipe.fds[0]);
  }));
  pipe.Fill();
  reactor.Run();
  EXPECT_THAT(order, ElementsAre("pipe", "now", "later"));
}

TEST(ReactorTest, ATimerNeverRunsEarly) {
  Reactor reactor;
  const absl::Duration start = reactor.Now();
  absl::Duration ran;
  reactor.AddTimer(absl::Microseconds(1500), [&] {
    ran = reactor.Now();
    reactor.Stop();
  });
  reactor.AddTimer(absl::InfiniteDuration(), [] { FAIL() << "never due"; });
  reactor.Run();
  EXPECT_GE(ran - start, absl::Microseconds(1500));
}

TEST(ReactorTest, ACancelledTimerDoesNotRunEvenWhenDueInTheSameRound) {
  Reactor reactor;
  std::vector<int> ran;
  Reactor::TimerId second = 0;
  reactor.AddTimer(absl::ZeroDuration(), [&] {
    ran.push_back(1);
    reactor.CancelTimer(second);
  });
  second = reactor.AddTimer(absl::ZeroDuration(), [&] { ran.push_back(2); });
  reactor.CancelTimer(0);
  reactor.CancelTimer(12345);
  reactor.RunOnce(kLong);
  reactor.RunOnce(absl::ZeroDuration());
  EXPECT_THAT(ran, ElementsAre(1));
}

TEST(ReactorTest, ATimerThatRearmsItselfDoesNotStarveDescriptors) {
  Reactor reactor;
  Pipe pipe;
  pipe.Fill();
  std::function<void()> again = [&] { reactor.AddTimer(absl::ZeroDuration(), again); };
  again();
  bool seen = false;
  ASSERT_OK(reactor.Add(pipe.fds[0], EPOLLIN, [&](uint32_t) { seen = true; }));
  for (int round = 0; round < 3; ++round) reactor.RunOnce(kLong);
  EXPECT_TRUE(seen);
  reactor.Remove(pipe.fds[0]);
}

TEST(ReactorTest, StopEndsRunAndRunMayBeCalledAgain) {
  Reactor reactor;
  int runs = 0;
  for (int i = 0; i < 2; ++i) {
    reactor.AddTimer(absl::ZeroDuration(), [&] {
      ++runs;
      reactor.Stop();
    });
    reactor.Run();
  }
  EXPECT_EQ(runs, 2);
}

}  // namespace
}  // namespace mayfly::local
