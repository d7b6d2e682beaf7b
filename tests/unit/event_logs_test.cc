#include "server/run/event_logs.h"

#include "gmock/gmock.h"
#include "server/store/memory_store.h"
#include "tests/support/status_matchers.h"

namespace mayfly {
namespace {

using testing::ElementsAre;

class EventLogsTest : public testing::Test {
 protected:
  EventLogsTest() {
    EnvironmentRecord record;
    record.name = "pr-7";
    record.uid = "u";
    EXPECT_OK(store_.CreateEnvironment(record, Events(1, 3)));
    logs_.Open("u", 3);
  }
  static std::vector<Event> Events(int64_t from, int64_t to) {
    std::vector<Event> out;
    for (int64_t sequence = from; sequence <= to; ++sequence) {
      Event event;
      event.sequence = sequence;
      out.push_back(event);
    }
    return out;
  }
  std::unique_ptr<EventSubscription> Subscribe(int64_t after, int* wakes) {
    auto subscription = logs_.Subscribe("u", after, [wakes] { ++*wakes; });
    EXPECT_OK(subscription);
    return *std::move(subscription);
  }
  static std::vector<int64_t> Read(EventSubscription& subscription, int limit = 100) {
    std::vector<int64_t> out;
    for (const auto& event : subscription.Read(limit)) out.push_back(event->event.sequence);
    return out;
  }
  MemoryStore store_;
  EventLogs logs_{&store_};
};

TEST_F(EventLogsTest, ThePastComesFromTheStoreAndThePresentFromMemory) {
  logs_.Append("u", Events(4, 5));
  int wakes = 0;
  const auto subscription = Subscribe(1, &wakes);
  EXPECT_EQ(wakes, 1) << "there is something to read at once";
  EXPECT_THAT(Read(*subscription, 3), ElementsAre(2, 3, 4));
  EXPECT_THAT(Read(*subscription), ElementsAre(5));
  EXPECT_THAT(Read(*subscription), ElementsAre());
}

TEST_F(EventLogsTest, AWakeComesOncePerArming) {
  int wakes = 0;
  const auto subscription = Subscribe(3, &wakes);
  logs_.Append("u", Events(4, 4));
  logs_.Append("u", Events(5, 5));
  EXPECT_EQ(wakes, 1);
  EXPECT_THAT(Read(*subscription, 2), ElementsAre(4, 5));
  logs_.Append("u", Events(6, 6));
  EXPECT_EQ(wakes, 1) << "a full read does not arm";
  EXPECT_THAT(Read(*subscription), ElementsAre(6));
  logs_.Finish("u");
  EXPECT_EQ(wakes, 2);
  EXPECT_TRUE(subscription->finished());
}

TEST_F(EventLogsTest, WhoeverIsGoneIsNotWokenAndTheOthersAre) {
  int wakes[5] = {};
  std::vector<std::unique_ptr<EventSubscription>> subscriptions;
  for (int& count : wakes) subscriptions.push_back(Subscribe(3, &count));
  subscriptions[0].reset();
  subscriptions[4].reset();
  subscriptions[2].reset();
  logs_.Append("u", Events(4, 4));
  EXPECT_THAT(wakes, ElementsAre(0, 1, 0, 1, 0));
  Read(*subscriptions[1]);
  subscriptions[3].reset();
  logs_.Append("u", Events(5, 5));
  EXPECT_THAT(wakes, ElementsAre(0, 2, 0, 1, 0));
}

TEST_F(EventLogsTest, AnUnknownEnvironmentIsNotFound) {
  EXPECT_THAT(logs_.Subscribe("nobody", 0, [] {}), StatusIs(absl::StatusCode::kNotFound, testing::_));
}

}  // namespace
}  // namespace mayfly
