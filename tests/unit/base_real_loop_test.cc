// The loop of a running server. Order and promises only; nothing here measures time.
#include <algorithm>
#include <atomic>
#include <future>
#include <memory>
#include <set>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/base/real_loop.h"

namespace mayfly {
namespace {

using testing::ElementsAre;

// Runs everything that was posted before it.
void Drain(RealLoop& loop) {
  std::promise<void> done;
  loop.Post([&] { done.set_value(); });
  done.get_future().wait();
}

TEST(RealLoopTest, PostsRunInOrderOnOneOtherThread) {
  RealLoop loop;
  std::vector<int> order;
  std::set<std::thread::id> threads;
  for (int i = 0; i < 100; ++i) {
    loop.Post([&, i] {
      order.push_back(i);
      threads.insert(std::this_thread::get_id());
    });
  }
  Drain(loop);
  ASSERT_EQ(order.size(), 100u);
  EXPECT_TRUE(std::is_sorted(order.begin(), order.end()));
  EXPECT_EQ(threads.size(), 1u);
  EXPECT_EQ(threads.count(std::this_thread::get_id()), 0u);
}

TEST(RealLoopTest, TimersRunInOrderOfTheirTimeAndNotBeforeIt) {
  RealLoop loop;
  std::vector<int> order;
  std::promise<void> done;
  const absl::Duration start = loop.Monotonic();
  absl::Duration at;
  loop.PostAfter(absl::Milliseconds(20), [&] {
    order.push_back(2);
    at = loop.Monotonic();
    done.set_value();
  });
  loop.PostAfter(absl::Milliseconds(5), [&] { order.push_back(1); });
  loop.PostAfter(-absl::Seconds(5), [&] { order.push_back(0); });
  done.get_future().wait();
  EXPECT_THAT(order, ElementsAre(0, 1, 2));
  EXPECT_GE(at - start, absl::Milliseconds(20));
}

TEST(RealLoopTest, ACancelledTimerDoesNotRun) {
  RealLoop loop;
  std::atomic<int> ran = 0;
  const TimerId timer = loop.PostAfter(absl::Milliseconds(10), [&] { ++ran; });
  EXPECT_NE(timer, 0u);
  loop.Cancel(timer);
  loop.Cancel(timer);
  loop.Cancel(0);
  std::promise<void> later;
  loop.PostAfter(absl::Milliseconds(20), [&] { later.set_value(); });
  later.get_future().wait();
  EXPECT_EQ(ran, 0);
}

TEST(RealLoopTest, AFunctionMayPostAndCancel) {
  RealLoop loop;
  std::promise<void> done;
  std::atomic<bool> cancelled_ran = false;
  loop.Post([&] {
    const TimerId timer = loop.PostAfter(absl::ZeroDuration(), [&] { cancelled_ran = true; });
    loop.Cancel(timer);
    loop.Post([&] { done.set_value(); });
  });
  done.get_future().wait();
  EXPECT_FALSE(cancelled_ran);
}

TEST(RealLoopTest, StopDestroysWhatDidNotRun) {
  auto held = std::make_shared<int>(1);
  RealLoop loop;
  loop.PostAfter(absl::Hours(1), [held] {});
  loop.PostAfter(absl::InfiniteDuration(), [held] {});
  EXPECT_EQ(held.use_count(), 3);
  loop.Stop();
  EXPECT_EQ(held.use_count(), 1);
  loop.Post([held] { FAIL() << "posted after the stop"; });
  EXPECT_EQ(held.use_count(), 1);
  loop.Stop();
}

TEST(RealLoopTest, PostsOfManyThreadsAllRun) {
  RealLoop loop;
  int count = 0;  // Only touched on the loop.
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 500; ++i) loop.Post([&] { ++count; });
    });
  }
  for (std::thread& thread : threads) thread.join();
  Drain(loop);
  EXPECT_EQ(count, 2000);
}

}  // namespace
}  // namespace mayfly
