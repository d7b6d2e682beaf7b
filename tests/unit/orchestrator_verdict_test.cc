// Test jobs and what they say about an environment.
#include <csignal>
#include <fstream>

#include "tests/support/run_fixture.h"

namespace mayfly {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

class OrchestratorVerdictTest : public RunTest {
 protected:
  // A run with one test job that the fixture's `change` may alter.
  void RunOne(const std::function<void(PlanNode&)>& change = [](PlanNode&) {}) {
    Plan plan = PlanOf({{"api"}, TestJob("e2e", {"api"})});
    change(plan.nodes[1]);
    h.plans["source"] = plan;
    ASSERT_OK(h.Create("source", Keep::kNever).status);
    ASSERT_TRUE(h.RunUntil("env", EnvironmentState::kDeleted));
  }
  std::map<std::string, std::string> Result() {
    const std::vector<Event> results = EventsOf(EventKind::kJobResult);
    return results.empty() ? std::map<std::string, std::string>() : results.back().attributes;
  }
};

TEST_F(OrchestratorVerdictTest, PassedWhenEveryTestJobExits0) {
  RunOne();
  EXPECT_EQ(Record().verdict, Verdict::kPassed);
  EXPECT_EQ(Result()["tries"], "1");
  EXPECT_THAT(h.world.scopes(), IsEmpty());
}

TEST_F(OrchestratorVerdictTest, PassedWithoutTestsWhenEverythingIsReady) {
  ASSERT_TRUE(Up({{"api"}}, Keep::kNever, EnvironmentState::kDeleted));
  EXPECT_EQ(Record().verdict, Verdict::kPassed);
}

TEST_F(OrchestratorVerdictTest, FailedWhenATestExitsNonZero) {
  runs["e2e"] = Exit(absl::Seconds(1), 1);
  RunOne();
  EXPECT_EQ(Record().verdict, Verdict::kFailed);
  EXPECT_EQ(Record().cause.code, CauseCode::kTestsFailed);
  EXPECT_EQ(Record().cause.node, "e2e");
}

TEST_F(OrchestratorVerdictTest, FailedWhenATestCrashesByItself) {
  runs["e2e"] = Exit(absl::Seconds(1), 0, SIGABRT);
  RunOne();
  EXPECT_EQ(Record().verdict, Verdict::kFailed);
}

TEST_F(OrchestratorVerdictTest, ErrorWhenATestIsKilledFromOutside) {
  runs["e2e"] = Exit(absl::Seconds(1), 0, SIGKILL);
  runs["e2e"].end_cause = {CauseCode::kOutOfMemory, "", "used 64 MiB of 64 MiB"};
  RunOne();
  EXPECT_EQ(Record().verdict, Verdict::kError);
  EXPECT_EQ(Record().cause.code, CauseCode::kTestBroken);
  EXPECT_THAT(Record().cause.message, HasSubstr("OUT_OF_MEMORY"));
}

TEST_F(OrchestratorVerdictTest, ErrorWhenATestCannotStart) {
  runs["e2e"].start_failure = {CauseCode::kCommandNotFound, "", "no such file: pytest"};
  RunOne();
  EXPECT_EQ(Record().verdict, Verdict::kError);
  EXPECT_THAT(FormatCause(Record().cause), HasSubstr("e2e: TEST_BROKEN: COMMAND_NOT_FOUND: no such file: pytest"));
}

TEST_F(OrchestratorVerdictTest, FailedWhenATestOverrunsItsDeadline) {
  runs["e2e"] = Runs();
  RunOne([](PlanNode& node) { node.process.probe.within = absl::Seconds(20); });
  EXPECT_EQ(Record().verdict, Verdict::kFailed);
  EXPECT_EQ(Record().cause.code, CauseCode::kTestDeadline);
}

TEST_F(OrchestratorVerdictTest, ErrorWhenAServiceDiesDuringTheTests) {
  runs["e2e"] = Exit(absl::Seconds(5), 1);
  runs["api"] = Exit(absl::Seconds(5), 0, SIGSEGV);
  RunOne();
  EXPECT_EQ(Record().verdict, Verdict::kError);
  EXPECT_EQ(Record().cause.node, "api");
}

TEST_F(OrchestratorVerdictTest, ErrorWhenAServiceWasRestartedWhileTheTestFailed) {
  runs["e2e"] = Exit(absl::Seconds(5), 1);
  runs["api#1"] = Exit(absl::Seconds(3), 0, SIGSEGV);
  Plan plan = PlanOf({{"api"}, TestJob("e2e", {"api"})});
  plan.nodes[0].restart = RestartPolicy::kOnFailure;
  plan.nodes[0].max_restarts = 3;
  h.plans["source"] = plan;
  ASSERT_OK(h.Create("source", Keep::kNever).status);
  ASSERT_TRUE(h.RunUntil("env", EnvironmentState::kDeleted));
  EXPECT_EQ(Record().verdict, Verdict::kError);
  EXPECT_EQ(Record().cause.node, "api");
}

TEST_F(OrchestratorVerdictTest, ARetryThatPassesIsFlaky) {
  runs["e2e#1"] = Exit(absl::Seconds(1), 1);
  RunOne([](PlanNode& node) { node.retries = 2; });
  EXPECT_EQ(Record().verdict, Verdict::kPassed);
  EXPECT_EQ(Result()["tries"], "2");
  EXPECT_EQ(Result()["flaky"], "true");
}

TEST_F(OrchestratorVerdictTest, RetriesAreCounted) {
  runs["e2e"] = Exit(absl::Seconds(1), 1);
  RunOne([](PlanNode& node) { node.retries = 2; });
  EXPECT_EQ(Record().verdict, Verdict::kFailed);
  EXPECT_EQ(h.world.CountStarted("e2e"), 3);
}

TEST_F(OrchestratorVerdictTest, ATestDeclaredFlakyDoesNotFailTheVerdict) {
  runs["e2e"] = Exit(absl::Seconds(1), 1);
  RunOne([](PlanNode& node) { node.flaky = true; });
  EXPECT_EQ(Record().verdict, Verdict::kPassed);
  EXPECT_EQ(h.Node("env", "e2e").state, NodeState::kFailed);
}

TEST_F(OrchestratorVerdictTest, TestsRunBesideEachOtherUpToTheirSlots) {
  std::vector<TestNode> nodes;
  for (int i = 0; i < 8; ++i) {
    nodes.push_back(TestJob("t" + std::to_string(i)));
    runs[nodes.back().name] = Exit(absl::Seconds(1), 0);
  }
  ASSERT_TRUE(Up(nodes, Keep::kNever, EnvironmentState::kDeleted));
  EXPECT_EQ(EventsOf(EventKind::kVerdict)[0].offset, absl::Seconds(2));  // Four at a time.
}

TEST_F(OrchestratorVerdictTest, JunitAndArtifactsAreKeptAndCounted) {
  h.KillServer();
  std::string read;
  h.read_junit = [&](const std::string& path) -> absl::StatusOr<JunitCounts> {
    std::getline(std::ifstream(path), read);
    return JunitCounts{5, 2, 0, 1};
  };
  h.StartServer();
  runs["e2e"] = Exit(absl::Seconds(1), 1);
  runs["e2e"].files = {{"report.xml", "<testsuites/>"}, {"shots/1.png", "png"}};
  RunOne([](PlanNode& node) {
    node.junit = "report.xml";
    node.artifacts = {"shots"};
  });
  EXPECT_EQ(read, "<testsuites/>");
  EXPECT_EQ(Record().cause.message, "2 of 5 tests failed");
  EXPECT_EQ(Result()["failures"], "2");
  std::string kept;
  std::getline(std::ifstream(Result()["artifacts"] + "/shots/1.png"), kept);
  EXPECT_EQ(kept, "png");
}

TEST_F(OrchestratorVerdictTest, KeepOnFailureKeepsWhatFailedOnly) {
  ASSERT_TRUE(Up({{"api"}, TestJob("e2e", {"api"})}, Keep::kOnFailure, EnvironmentState::kDeleted));
  runs["e2e"] = Exit(absl::Seconds(1), 1);
  ASSERT_TRUE(Up({{"api"}, TestJob("e2e", {"api"})}, Keep::kOnFailure, EnvironmentState::kFailed));
  EXPECT_EQ(Record().verdict, Verdict::kFailed);
  EXPECT_EQ(h.world.running(), 1);
}

TEST_F(OrchestratorVerdictTest, UpWithTestsStaysActiveWithItsVerdict) {
  ASSERT_TRUE(Up({{"api"}, TestJob("e2e", {"api"})}));
  h.loop.Advance(absl::Seconds(1));
  EXPECT_EQ(Record().state, EnvironmentState::kActive);
  EXPECT_EQ(Record().verdict, Verdict::kPassed);
}

}  // namespace
}  // namespace mayfly
