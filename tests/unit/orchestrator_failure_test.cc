// What fails, who is blamed, and what happens to the rest.
#include "tests/support/run_fixture.h"

namespace mayfly {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

using OrchestratorFailureTest = RunTest;
constexpr EnvironmentState kFailed = EnvironmentState::kFailed;

TEST_F(OrchestratorFailureTest, DependantsAreSkippedWithTheRootCausesName) {
  runs["db"] = Exit(absl::Seconds(1), 3);
  runs["db"].ready = absl::InfiniteDuration();
  ASSERT_TRUE(Up({{"db"}, {"api", {"db"}}, {"web", {"api"}}}, Keep::kAlways, kFailed));
  for (const char* name : {"api", "web"}) {
    EXPECT_EQ(h.Node("env", name).state, NodeState::kSkipped);
    EXPECT_EQ(h.Node("env", name).cause.node, "db");
    EXPECT_EQ(h.world.CountStarted(name), 0);
  }
  EXPECT_THAT(FormatCause(Record().cause), HasSubstr("db: EXITED: exited with code 3"));
}

TEST_F(OrchestratorFailureTest, AServiceThatExits0HasFailed) {
  runs["db"] = Exit(absl::Seconds(1), 0);
  runs["db"].ready = absl::InfiniteDuration();
  ASSERT_TRUE(Up({{"db"}}, Keep::kAlways, kFailed));
  EXPECT_EQ(Record().cause.code, CauseCode::kExited);
}

TEST_F(OrchestratorFailureTest, AServiceThatDiesLaterBreaksTheEnvironment) {
  ASSERT_TRUE(Up({{"db"}, {"api", {"db"}}}));
  h.world.Crash(Record().scope, "db", 0, 11);
  ASSERT_TRUE(h.RunUntil("env", kFailed));
  EXPECT_EQ(Record().cause.node, "db");
  EXPECT_EQ(Record().cause.code, CauseCode::kSignaled);
  EXPECT_EQ(h.Node("env", "api").state, NodeState::kReady);
}

TEST_F(OrchestratorFailureTest, OverItsDeadlineTheProbesAnswerIsTheCause) {
  runs["db"] = Never();
  runs["db"].probe_cause = {CauseCode::kWrongPort, "", "listens on 5433, not on 5432"};
  TestNode db{"db"};
  db.within = absl::Seconds(10);
  ASSERT_TRUE(Up({db}, Keep::kAlways, kFailed));
  EXPECT_EQ(Record().cause.code, CauseCode::kWrongPort);
  EXPECT_THAT(Record().cause.message, HasSubstr("listens on 5433"));
  h.loop.Advance(absl::Seconds(10));
  EXPECT_EQ(h.world.running(), 0);
}

TEST_F(OrchestratorFailureTest, AHungJobIsStoppedAndBlamed) {
  runs["migrate"] = Runs();
  TestNode job = Job("migrate");
  job.within = absl::Seconds(30);
  ASSERT_TRUE(Up({job}, Keep::kAlways, kFailed));
  EXPECT_EQ(Record().cause.code, CauseCode::kDeadline);
  EXPECT_THAT(Record().cause.message, HasSubstr("has not ended within 30"));
}

TEST_F(OrchestratorFailureTest, AFailedJobSaysSo) {
  runs["migrate"] = Exit(absl::Seconds(1), 2);
  ASSERT_TRUE(Up({Job("migrate"), {"api", {"migrate:completed"}}}, Keep::kAlways, kFailed));
  EXPECT_EQ(Record().cause.code, CauseCode::kJobFailed);
  EXPECT_EQ(h.Node("env", "api").state, NodeState::kSkipped);
}

TEST_F(OrchestratorFailureTest, TheConsequenceIsNotTheCause) {
  // The dependant notices first that the database is gone.
  ASSERT_TRUE(Up({{"db"}, {"api", {"db"}}}));
  const std::string scope = Record().scope;
  h.world.Crash(scope, "api", 1);
  h.loop.Advance(absl::Milliseconds(10));
  h.world.Crash(scope, "db", 0, 9);
  ASSERT_TRUE(h.RunUntil("env", kFailed));
  EXPECT_EQ(Record().cause.node, "db");
}

TEST_F(OrchestratorFailureTest, WhatIsKeptGoesOnWithIndependentBranches) {
  runs["db"] = Exit(absl::ZeroDuration(), 1);
  runs["db"].ready = absl::InfiniteDuration();
  runs["slow"] = Ready(absl::Seconds(5));
  ASSERT_TRUE(Up({{"db"}, {"slow"}, {"other", {"slow"}}}, Keep::kAlways, kFailed));
  EXPECT_EQ(h.Node("env", "other").state, NodeState::kReady);
}

TEST_F(OrchestratorFailureTest, WhatIsTornDownAnywayStartsNothingMore) {
  runs["db"] = Exit(absl::ZeroDuration(), 1);
  runs["db"].ready = absl::InfiniteDuration();
  runs["slow"] = Ready(absl::Seconds(5));
  ASSERT_TRUE(Up({{"db"}, {"slow"}, {"other", {"slow"}}}, Keep::kNever, EnvironmentState::kDeleted));
  EXPECT_THAT(Story(), Not(Contains("+other#1")));
  EXPECT_EQ(Record().verdict, Verdict::kError);
  EXPECT_EQ(Record().cause.node, "db");
  EXPECT_LT(h.Events("env").back().offset, absl::Seconds(1));
}

TEST_F(OrchestratorFailureTest, RestartOnFailureIsCountedAndGivesUp) {
  runs["flappy"] = Exit(absl::Seconds(1), 1);
  Plan plan = PlanOf({{"flappy"}});
  plan.nodes[0].restart = RestartPolicy::kOnFailure;
  plan.nodes[0].max_restarts = 2;
  h.plans["source"] = plan;
  ASSERT_OK(h.Create("source").status);
  ASSERT_TRUE(h.RunUntil("env", kFailed));
  EXPECT_EQ(h.world.CountStarted("flappy"), 3);
}

TEST_F(OrchestratorFailureTest, ARestartedServiceIsReadyAgain) {
  Plan plan = PlanOf({{"db"}});
  plan.nodes[0].restart = RestartPolicy::kOnFailure;
  plan.nodes[0].max_restarts = 2;
  h.plans["source"] = plan;
  ASSERT_OK(h.Create("source").status);
  ASSERT_TRUE(h.RunUntil("env", EnvironmentState::kActive));
  h.world.Crash(Record().scope, "db", 1);
  h.loop.Advance(absl::Seconds(5));
  EXPECT_EQ(h.Node("env", "db").state, NodeState::kReady);
  EXPECT_EQ(Record().state, EnvironmentState::kActive);
}

TEST_F(OrchestratorFailureTest, TheLastLinesAreEvidence) {
  runs["db"] = Exit(absl::Seconds(1), 1);
  runs["db"].ready = absl::InfiniteDuration();
  runs["db"].lines = {{absl::ZeroDuration(), {absl::Time(), "FATAL: no data directory", true}}};
  ASSERT_TRUE(Up({{"db"}}, Keep::kAlways, kFailed));
  EXPECT_THAT(Record().cause.evidence, ElementsAre("FATAL: no data directory"));
}

TEST_F(OrchestratorFailureTest, AScopeThatCannotBeMadeIsAnError) {
  h.world.scope_failure = {CauseCode::kHostLimit, "", "no more processes"};
  ASSERT_TRUE(Up({{"db"}}, Keep::kNever, EnvironmentState::kDeleted));
  EXPECT_EQ(Record().verdict, Verdict::kError);
  EXPECT_EQ(Record().cause.code, CauseCode::kHostLimit);
}

TEST_F(OrchestratorFailureTest, ALostScopeIsAnErrorAndIsReplacedByUp) {
  ASSERT_TRUE(Up({{"db"}}));
  h.world.LoseScope(Record().scope);
  ASSERT_TRUE(h.RunUntil("env", kFailed));
  EXPECT_EQ(Record().cause.code, CauseCode::kScopeLost);
  ASSERT_TRUE(Up({{"db"}}));
  EXPECT_EQ(Record().generation, 2);
}

TEST_F(OrchestratorFailureTest, APortThatIsTakenIsTheCause) {
  h.world.FailVerb("Expose", "web", absl::AlreadyExistsError("127.0.0.1:80 is in use by nginx (pid 1)"));
  Plan plan = PlanOf({{"web"}});
  plan.nodes[0].process.ports = {Port{"http", 80, true, 80}};
  h.plans["source"] = plan;
  ASSERT_OK(h.Create("source", Keep::kNever).status);
  ASSERT_TRUE(h.RunUntil("env", EnvironmentState::kDeleted));
  EXPECT_EQ(Record().cause.code, CauseCode::kPortTaken);
}

TEST_F(OrchestratorFailureTest, ADiskThatStaysFullStartsNothingAndEndsTheEnvironment) {
  runs["db"] = Ready(absl::Seconds(5));
  h.plans["source"] = PlanOf({{"db"}, {"api", {"db"}}});
  ASSERT_OK(h.Create("source", Keep::kNever).status);
  h.memory.FailWrites(absl::ResourceExhaustedError("no space left"));
  h.loop.Advance(absl::Minutes(2));
  EXPECT_THAT(Story(), ElementsAre("+db#1", "-db#1"));
  h.memory.FailWrites(absl::OkStatus());
  ASSERT_TRUE(h.RunUntil("env", EnvironmentState::kDeleted));
  EXPECT_EQ(Record().cause.code, CauseCode::kHostLimit);
}

}  // namespace
}  // namespace mayfly
