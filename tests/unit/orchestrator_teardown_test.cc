// The end of environments: asked for, expired, cancelled, superseded, blocked.
#include "tests/support/run_fixture.h"

namespace mayfly {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

using OrchestratorTeardownTest = RunTest;

TEST_F(OrchestratorTeardownTest, AGracefulDeleteStopsInReverseOrder) {
  for (const char* name : {"db", "api", "web"}) runs[name].stop = absl::Seconds(1);
  ASSERT_TRUE(Up({{"db"}, {"api", {"db"}}, {"web", {"api"}}}));
  ASSERT_OK(h.Delete("env", true));
  ASSERT_TRUE(h.RunUntil("env", EnvironmentState::kDeleted));
  EXPECT_THAT(Story(), ElementsAre("+db#1", "+api#1", "+web#1", "-web#1", "-api#1", "-db#1"));
}

TEST_F(OrchestratorTeardownTest, WhatIgnoresTheStopSignalHoldsNothingUpForEver) {
  runs["db"].ignores_term = true;
  h.world.FailVerb("Stop", "db", absl::UnavailableError("hung"), 1000);
  ASSERT_TRUE(Up({{"db"}}));
  ASSERT_OK(h.Delete("env", true));
  ASSERT_TRUE(h.RunUntil("env", EnvironmentState::kDeleted, absl::Seconds(30)));
}

TEST_F(OrchestratorTeardownTest, ADeleteWithoutGraceDoesNotWait) {
  runs["db"].stop = absl::Seconds(5);
  ASSERT_TRUE(Up({{"db"}}));
  const absl::Duration before = h.loop.Monotonic();
  ASSERT_OK(h.Delete("env"));
  ASSERT_TRUE(h.RunUntil("env", EnvironmentState::kDeleted));
  EXPECT_EQ(h.loop.Monotonic(), before);
}

TEST_F(OrchestratorTeardownTest, DeletingARunIsItsVerdictCancelled) {
  runs["api"] = Ready(absl::Seconds(5));
  h.plans["source"] = PlanOf({{"api"}});
  ASSERT_OK(h.Create("source", Keep::kNever).status);
  h.loop.Advance(absl::Seconds(1));
  ASSERT_OK(h.Delete("env"));
  ASSERT_TRUE(h.RunUntil("env", EnvironmentState::kDeleted));
  EXPECT_EQ(Record().verdict, Verdict::kCancelled);
  EXPECT_EQ(Record().cause.code, CauseCode::kCancelled);
}

TEST_F(OrchestratorTeardownTest, DeletingWhatIsActiveHasNoVerdict) {
  ASSERT_TRUE(Up({{"api"}}));
  ASSERT_OK(h.Delete("env"));
  ASSERT_TRUE(h.RunUntil("env", EnvironmentState::kDeleted));
  EXPECT_EQ(Record().verdict, Verdict::kNone);
}

TEST_F(OrchestratorTeardownTest, DeletingTwiceIsFine) {
  ASSERT_TRUE(Up({{"api"}}));
  ASSERT_OK(h.Delete("env"));
  ASSERT_OK(h.Delete("env"));
  ASSERT_TRUE(h.RunUntil("env", EnvironmentState::kDeleted));
  ASSERT_OK(h.Delete("env"));
  EXPECT_EQ(EventsOf(EventKind::kReceipt).size(), 1);
}

TEST_F(OrchestratorTeardownTest, ExpiresAfterItsTimeToLive) {
  EnvironmentRequest request;
  request.name = "env";
  request.source = "source";
  request.ttl = absl::Hours(3);
  h.plans["source"] = PlanOf({{"api"}});
  ASSERT_OK(h.Create(request, {}).status);
  ASSERT_FALSE(h.RunUntil("env", EnvironmentState::kDeleted, absl::Hours(2)));
  ASSERT_TRUE(h.RunUntil("env", EnvironmentState::kDeleted, absl::Hours(2)));
  EXPECT_EQ(Record().cause.code, CauseCode::kExpired);
}

TEST_F(OrchestratorTeardownTest, ALongerTimeToLiveIsHonoured) {
  ASSERT_TRUE(Up({{"api"}}));
  absl::StatusOr<EnvironmentViewRef> answer;
  h.server().Update("env", {"", absl::Hours(24), std::nullopt}, [&](auto given) { answer = std::move(given); });
  h.loop.RunReady();
  ASSERT_OK(answer);
  EXPECT_FALSE(h.RunUntil("env", EnvironmentState::kDeleted, absl::Hours(20)));
  EXPECT_TRUE(h.RunUntil("env", EnvironmentState::kDeleted, absl::Hours(5)));
}

TEST_F(OrchestratorTeardownTest, ANewRunSupersedesTheOldOne) {
  runs["api"] = Ready(absl::Seconds(50));
  h.plans["source"] = PlanOf({{"api"}});
  const CreateOutcome first = h.Create("source", Keep::kNever, true);
  h.loop.Advance(absl::Seconds(1));
  const CreateOutcome second = h.Create("source", Keep::kNever, true);
  ASSERT_OK(second.status);
  EXPECT_EQ(second.environment->record.generation, 2);
  const absl::StatusOr<EnvironmentRecord> old = h.memory.GetByUid(first.environment->record.uid);
  ASSERT_OK(old);
  EXPECT_EQ(old->state, EnvironmentState::kDeleted);
  EXPECT_EQ(old->verdict, Verdict::kCancelled);
  EXPECT_EQ(old->cause.code, CauseCode::kSuperseded);
}

TEST_F(OrchestratorTeardownTest, ACreateWaitsForTheTeardownOfItsName) {
  h.world.destroy_takes = absl::Seconds(2);
  ASSERT_TRUE(Up({{"api"}}));
  ASSERT_OK(h.Delete("env"));
  const CreateOutcome second = h.Create("source");
  ASSERT_OK(second.status);
  EXPECT_EQ(second.environment->record.generation, 2);
}

TEST_F(OrchestratorTeardownTest, ABlockedTeardownSaysWhatIsLeftAndGoesOn) {
  h.world.blocked_destroys = 3;
  ASSERT_TRUE(Up({{"api"}}));
  ASSERT_OK(h.Delete("env"));
  h.loop.RunReady();
  EXPECT_EQ(Record().state, EnvironmentState::kDeleting);
  EXPECT_THAT(EventsOf(EventKind::kNote).back().message, HasSubstr("pid 4711 (stuck) does not end"));
  ASSERT_TRUE(h.RunUntil("env", EnvironmentState::kDeleted, absl::Minutes(5)));
  EXPECT_THAT(EventsOf(EventKind::kReceipt)[0].receipt.blockers, IsEmpty());
}

TEST_F(OrchestratorTeardownTest, WhatThePlatformForgetsLaterIsToldUntilItHas) {
  h.world.ending = "kube namespace x";
  ASSERT_TRUE(Up({{"api"}}));
  ASSERT_OK(h.Delete("env"));
  ASSERT_TRUE(h.RunUntil("env", EnvironmentState::kDeleted));
  h.loop.RunReady();
  const std::string uid = Record().uid, scope = Record().scope;
  EXPECT_EQ(h.View("env")->ending, "kube namespace x");
  EXPECT_THAT(h.View("env")->held, IsEmpty());
  // The next one of that name comes up meanwhile, and is none of its business.
  ASSERT_TRUE(Up({{"api"}}));
  h.world.Hold(scope, {"NamespaceFinalizersRemaining: example.com/x in 1 resource instances"});
  h.loop.RunReady();
  EXPECT_THAT(h.server().GetByUid(uid).value()->held, testing::ElementsAre(HasSubstr("example.com/x")));
  EXPECT_EQ(Record().state, EnvironmentState::kActive);
  h.world.Forget(scope);
  h.loop.RunReady();
  const EnvironmentViewRef gone = h.server().GetByUid(uid).value();
  EXPECT_EQ(gone->ending, "");
  EXPECT_THAT(gone->held, IsEmpty());
  const std::vector<Event> all = h.memory.ReadEvents(uid, 0, 1000).value();
  ASSERT_GE(all.size(), 3u);
  EXPECT_EQ(all[all.size() - 3].environment_state, EnvironmentState::kDeleted);
  EXPECT_EQ(all[all.size() - 2].kind, EventKind::kHeld);
  EXPECT_EQ(all.back().kind, EventKind::kGone);
  EXPECT_EQ(all.back().receipt.ending, "kube namespace x");
  EXPECT_EQ(gone->last_sequence, all.back().sequence);
}

TEST_F(OrchestratorTeardownTest, ATeardownThatTheEngineForgotIsAskedForAgain) {
  h.world.lost_destroys = 2;
  ASSERT_TRUE(Up({{"api"}}));
  ASSERT_OK(h.Delete("env"));
  ASSERT_TRUE(h.RunUntil("env", EnvironmentState::kDeleted, absl::Minutes(1)));
}

TEST_F(OrchestratorTeardownTest, OldEnvironmentsAreForgottenWithTheirRecords) {
  ASSERT_TRUE(Up({{"api"}}));
  ASSERT_OK(h.Delete("env"));
  ASSERT_TRUE(h.RunUntil("env", EnvironmentState::kDeleted));
  h.loop.Advance(absl::Hours(24 * 8));
  EXPECT_THAT(h.memory.GetEnvironment("env"), StatusIs(absl::StatusCode::kNotFound, testing::_));
}

}  // namespace
}  // namespace mayfly
