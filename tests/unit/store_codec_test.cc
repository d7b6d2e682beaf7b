// JSON of the store: what is written is read back, what is damaged is told and never trusted.
#include <random>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/store/codec.h"
#include "tests/support/status_matchers.h"
#include "tests/support/store_records.h"

namespace mayfly {
namespace {

using testing::HasSubstr;

constexpr auto kDataLoss = absl::StatusCode::kDataLoss;

TEST(StoreCodecTest, TimesAndDurationsKeepTheirInfinities) {
  for (const absl::Time time : {absl::InfiniteFuture(), absl::InfinitePast(), absl::UnixEpoch(), TestTime(7)}) {
    EXPECT_EQ(DecodeTime(EncodeTime(time)), time);
  }
  for (const absl::Duration duration : {absl::InfiniteDuration(), -absl::InfiniteDuration(), absl::Nanoseconds(-1)}) {
    EXPECT_EQ(DecodeDuration(EncodeDuration(duration)), duration);
  }
}

TEST(StoreCodecTest, DefaultsTakeNoSpace) {
  EXPECT_EQ(EncodeEventDetail(Event()), "");
  EXPECT_EQ(EncodeCause(Cause()), "");
  EXPECT_EQ(EncodeRequest(EnvironmentRequest()), "{}");
}

TEST(StoreCodecTest, TheFolderThatASourceMustBeBelowIsKept) {
  EnvironmentRequest request;
  request.source_below = "/srv/checkouts";
  EXPECT_EQ(DecodeRequest(EncodeRequest(request))->source_below, "/srv/checkouts");
}

TEST(StoreCodecTest, KeysOfANewerVersionAreSkipped) {
  const auto event = DecodeEventDetail(TestEvent(1, EventKind::kNode), R"({"node":"a","later":{"x":[1]}})");
  ASSERT_OK(event);
  EXPECT_EQ(event->node, "a");
  EXPECT_OK(DecodeRequest(R"({"name":"a","later":true})"));
}

TEST(StoreCodecTest, ACauseOfANewerVersionIsAnInternalOneWithItsNumber) {
  const auto cause = DecodeCause(R"({"code":998,"node":"a","message":"m"})");
  ASSERT_OK(cause);
  EXPECT_EQ(cause->code, CauseCode::kInternal);
  EXPECT_THAT(cause->hint, HasSubstr("998"));
}

TEST(StoreCodecTest, WhatIsWrongIsNamed) {
  const Event event = TestEvent(1, EventKind::kNode);
  EXPECT_THAT(DecodeEventDetail(event, R"({"node":7})"), StatusIs(kDataLoss, HasSubstr("'node' is not text")));
  EXPECT_THAT(DecodeEventDetail(event, R"({"node_state":70})"), StatusIs(kDataLoss, HasSubstr("'node_state' is 70")));
  EXPECT_THAT(DecodeEventDetail(event, R"({"plan":[{"name":[]}]})"), StatusIs(kDataLoss, HasSubstr("plan: 'name'")));
  EXPECT_THAT(DecodeEventDetail(event, "[]"), StatusIs(kDataLoss, HasSubstr("not an object")));
  EXPECT_THAT(DecodeEventDetail(event, std::string(100000, '[')), StatusIs(kDataLoss, HasSubstr("not JSON")));
  EXPECT_THAT(DecodeRequest(""), StatusIs(kDataLoss, HasSubstr("request: not JSON")));
}

TEST(StoreCodecTest, DamagedTextIsReadOrRefusedAndNeverACrash) {
  const std::string whole = EncodeEventDetail(FullEvent(1));
  std::mt19937 random(20261121);
  for (int round = 0; round < 2000; ++round) {
    std::string damaged = whole;
    for (int change = random() % 3; change >= 0; --change) {
      damaged[random() % damaged.size()] =
          random() % 2 == 0 ? "{}[]\",:0-e\\"[random() % 11] : static_cast<char>(random());
    }
    const auto event = DecodeEventDetail(TestEvent(1, EventKind::kNode), damaged);
    EXPECT_TRUE(event.ok() || event.status().code() == kDataLoss) << damaged;
  }
}

}  // namespace
}  // namespace mayfly
