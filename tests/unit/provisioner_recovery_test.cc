// A server that died and came back: it adopts what is its own, finishes what was begun, and leaves others alone.
#include "gtest/gtest-spi.h"
#include "mayfly/base/ids.h"
#include "server/run/recovery.h"
#include "tests/support/run_fixture.h"

namespace mayfly {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

class ProvisionerRecoveryTest : public RunTest {
 protected:
  void Restart(absl::Duration down = absl::Seconds(1)) {
    h.KillServer();
    h.loop.Advance(down);
    h.StartServer();
    h.loop.RunReady();
  }
};

TEST_F(ProvisionerRecoveryTest, WhatIsActiveIsAdoptedUntouched) {
  ASSERT_TRUE(Up({{"db"}, {"api", {"db"}}}));
  Restart();
  EXPECT_EQ(Record().state, EnvironmentState::kActive);
  EXPECT_THAT(Story(), ElementsAre("+db#1", "+api#1"));
  EXPECT_EQ(h.Node("env", "api").state, NodeState::kReady);
}

TEST_F(ProvisionerRecoveryTest, WhatWasStartingGoesOn) {
  runs["db"] = Ready(absl::Seconds(5));
  h.plans["source"] = PlanOf({{"db"}, {"api", {"db"}}});
  ASSERT_OK(h.Create("source").status);
  h.loop.Advance(absl::Seconds(1));
  Restart(absl::Seconds(10));
  ASSERT_TRUE(h.RunUntil("env", EnvironmentState::kActive));
  EXPECT_THAT(Story(), ElementsAre("+db#1", "+api#1"));
}

TEST_F(ProvisionerRecoveryTest, WhatDiedMeanwhileIsAFailure) {
  ASSERT_TRUE(Up({{"db"}}));
  const std::string scope = Record().scope;
  h.KillServer();
  h.world.Crash(scope, "db", 3);
  h.StartServer();
  ASSERT_TRUE(h.RunUntil("env", EnvironmentState::kFailed));
  EXPECT_EQ(Record().cause.node, "db");
}

TEST_F(ProvisionerRecoveryTest, ATestJobIsNotRunAgain) {
  runs["e2e"] = Exit(absl::Seconds(5), 0);
  h.plans["source"] = PlanOf({{"api"}, TestJob("e2e", {"api"})});
  ASSERT_OK(h.Create("source", Keep::kNever).status);
  h.loop.Advance(absl::Seconds(1));
  Restart(absl::Seconds(10));
  ASSERT_TRUE(h.RunUntil("env", EnvironmentState::kDeleted));
  EXPECT_EQ(Record().verdict, Verdict::kPassed);
  EXPECT_EQ(h.world.CountStarted("e2e"), 1);
}

TEST_F(ProvisionerRecoveryTest, ATeardownIsFinished) {
  h.world.destroy_takes = absl::Seconds(5);
  ASSERT_TRUE(Up({{"db"}}));
  ASSERT_OK(h.Delete("env"));
  Restart();
  ASSERT_TRUE(h.RunUntil("env", EnvironmentState::kDeleted));
  EXPECT_THAT(h.world.scopes(), IsEmpty());
}

TEST_F(ProvisionerRecoveryTest, WhatThePlatformHasNotForgottenYetIsFollowedFurther) {
  h.world.ending = "kube namespace x";
  ASSERT_TRUE(Up({{"db"}}));
  ASSERT_OK(h.Delete("env"));
  ASSERT_TRUE(h.RunUntil("env", EnvironmentState::kDeleted));
  h.loop.RunReady();
  const std::string scope = Record().scope;
  Restart();
  h.loop.RunReady();
  EXPECT_EQ(h.View("env")->ending, "kube namespace x");
  h.world.Hold(scope, {"why"});
  h.loop.RunReady();
  EXPECT_THAT(h.View("env")->held, ElementsAre("why"));
  h.world.Forget(scope);
  h.loop.RunReady();
  EXPECT_EQ(h.View("env")->ending, "");
  EXPECT_EQ(EventsOf(EventKind::kGone).size(), 1u);
  EXPECT_EQ(EventsOf(EventKind::kReceipt).size(), 1u);
}

TEST_F(ProvisionerRecoveryTest, WhatThePlatformForgotWhileNobodyListenedIsGone) {
  h.world.ending = "kube namespace x";
  ASSERT_TRUE(Up({{"db"}}));
  ASSERT_OK(h.Delete("env"));
  ASSERT_TRUE(h.RunUntil("env", EnvironmentState::kDeleted));
  h.loop.RunReady();
  const std::string scope = Record().scope;
  EXPECT_EQ(h.View("env")->gone_time, absl::InfiniteFuture());
  h.KillServer();
  h.world.Forget(scope);
  h.StartServer();
  h.loop.RunReady();
  EXPECT_EQ(h.View("env")->ending, "");
  EXPECT_NE(h.View("env")->gone_time, absl::InfiniteFuture());
  EXPECT_EQ(EventsOf(EventKind::kGone).size(), 1u);
  // Once is enough.
  Restart();
  h.loop.RunReady();
  EXPECT_EQ(EventsOf(EventKind::kGone).size(), 1u);
}

TEST_F(ProvisionerRecoveryTest, AScopeThatVanishedMeanwhileIsLost) {
  ASSERT_TRUE(Up({{"db"}}));
  const std::string scope = Record().scope;
  h.KillServer();
  h.world.LoseScope(scope);
  h.StartServer();
  ASSERT_TRUE(h.RunUntil("env", EnvironmentState::kFailed));
  EXPECT_EQ(Record().cause.code, CauseCode::kScopeLost);
}

TEST_F(ProvisionerRecoveryTest, WhatWasOnlyAcceptedIsBegun) {
  h.plans["source"] = PlanOf({{"db"}});
  h.world.fuse.Arm(2);  // The record, and no more.
  ASSERT_OK(h.Create("source").status);
  h.loop.RunReady();
  ASSERT_THAT(h.world.scopes(), IsEmpty());
  Restart();
  EXPECT_TRUE(h.RunUntil("env", EnvironmentState::kActive));
}

TEST_F(ProvisionerRecoveryTest, AChangedSourceEndsWhatWasBeingCreated) {
  runs["db"] = Ready(absl::Seconds(5));
  h.plans["source"] = PlanOf({{"db"}, {"api", {"db"}}});
  ASSERT_OK(h.Create("source", Keep::kNever).status);
  h.loop.Advance(absl::Seconds(1));
  h.plans.erase("source");
  Restart();
  ASSERT_TRUE(h.RunUntil("env", EnvironmentState::kDeleted));
  EXPECT_EQ(Record().verdict, Verdict::kError);
  EXPECT_EQ(Record().cause.code, CauseCode::kSpecInvalid);
}

TEST_F(ProvisionerRecoveryTest, AChangedSourceLeavesWhatIsActiveAlone) {
  ASSERT_TRUE(Up({{"db"}, {"api", {"db"}}}));
  h.plans.erase("source");
  Restart();
  EXPECT_EQ(Record().state, EnvironmentState::kActive);
  EXPECT_EQ(h.world.running(), 2);
  EXPECT_THAT(h.Restart("env", {"db"}), StatusIs(absl::StatusCode::kFailedPrecondition, testing::_));
  ASSERT_OK(h.Delete("env", true));
  ASSERT_TRUE(h.RunUntil("env", EnvironmentState::kDeleted));
}

TEST_F(ProvisionerRecoveryTest, AnOwnScopeWithoutARecordIsRemovedAndAForeignOneIsNot) {
  h.KillServer();
  EngineEventQueue nobody;
  {
    FakeEngine engine(&h.world, &nobody);
    for (const std::string& id : {ScopeId(h.memory.installation(), "lost", 7), ScopeId("another", "lost", 7)}) {
      EXPECT_OK(engine.CreateScope({id, "lost", "", "", ""}));
    }
  }
  h.StartServer();
  h.loop.RunReady();
  ASSERT_EQ(h.world.scopes().size(), 1);
  EXPECT_EQ(h.world.scopes().begin()->first, ScopeId("another", "lost", 7));
}

TEST_F(ProvisionerRecoveryTest, ANameWhoseRecordWasLostGetsAScopeThatWasNeverUsed) {
  h.world.destroy_takes = absl::Seconds(5);
  h.KillServer();
  EngineEventQueue nobody;
  const std::string lost = ScopeId(h.memory.installation(), "env", 1);
  EXPECT_OK(FakeEngine(&h.world, &nobody).CreateScope({lost, "env", "", "", ""}));
  h.StartServer();
  h.loop.RunReady();
  ASSERT_TRUE(Up({{"db"}})) << "while the old one is still being removed";
  EXPECT_EQ(Record().scope, ScopeId(h.memory.installation(), "env", 2));
  h.loop.Advance(absl::Seconds(10));
  EXPECT_EQ(h.world.scopes().count(lost), 0);
  EXPECT_EQ(Record().state, EnvironmentState::kActive);
}

TEST_F(ProvisionerRecoveryTest, AWorldThatCannotBeReadStopsTheServerFromConcluding) {
  ASSERT_TRUE(Up({{"db"}}));
  h.KillServer();
  h.world.FailVerb("Recover", "", absl::UnavailableError("no launcher"));
  EXPECT_NONFATAL_FAILURE(h.StartServer(), "no launcher");
  EXPECT_EQ(h.world.running(), 1);
  EXPECT_EQ(h.memory.GetEnvironment("env")->state, EnvironmentState::kActive);
}

TEST_F(ProvisionerRecoveryTest, OffsetsGoOnAcrossServers) {
  ASSERT_TRUE(Up({{"db"}}));
  h.loop.Advance(absl::Seconds(10));
  Restart(absl::Seconds(5));
  ASSERT_OK(h.Delete("env"));
  ASSERT_TRUE(h.RunUntil("env", EnvironmentState::kDeleted));
  EXPECT_EQ(h.Events("env").back().offset, absl::Seconds(15));
}

TEST(PlanKeyTest, TheOrderOfNodesDoesNotCountBecauseItFollowsMeasurements) {
  PlanNode base, left, top;
  base.name = "base";
  left.name = "left";
  top.name = "top";
  Plan one, other, without;
  one.nodes = {base, left, top};
  one.nodes[2].needs = {PlanEdge{0, Condition::kReady, {}}};
  other.nodes = {left, base, top};
  other.nodes[2].needs = {PlanEdge{1, Condition::kReady, {}}};
  without.nodes = {left, base, top};
  EXPECT_EQ(PlanKey(one), PlanKey(other));
  EXPECT_NE(PlanKey(one), PlanKey(without));
}

}  // namespace
}  // namespace mayfly
