// The report as a fold of hand-written event logs.
#include "server/report/report_builder.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/report/json_writer.h"
#include "server/report/summary.h"
#include "server/report/text_writer.h"
#include "tests/support/log_builder.h"

namespace mayfly {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

// "node phase from-to", in milliseconds.
std::vector<std::string> Chain(const Report& report) {
  std::vector<std::string> out;
  for (const ChainLink& link : report.critical_chain) {
    out.push_back(absl::StrCat(link.node.empty() ? "-" : link.node, " ", link.phase, " ",
                               absl::ToDoubleMilliseconds(link.from), "-", absl::ToDoubleMilliseconds(link.to)));
  }
  return out;
}

const ReportNode& Find(const Report& report, const std::string& name) {
  for (const ReportNode& node : report.services) {
    if (node.name == name) return node;
  }
  ADD_FAILURE() << name << " is not in the report";
  return report.services.front();
}

TEST(ReportBuilderTest, NoEventsGiveAnEmptyReport) {
  const Report report = BuildReport({});
  EXPECT_EQ(report.verdict, Verdict::kNone);
  EXPECT_THAT(report.services, IsEmpty());
  EXPECT_THAT(report.critical_chain, IsEmpty());
}

TEST(ReportBuilderTest, TheChainGoesBackThroughTheNodesThatReleasedEachOther) {
  LogBuilder log;
  log.Accepted().Planned(2, {PlannedService("db"), PlannedService("cache"), PlannedJob("migrate", {"db"}),
                             PlannedService("api", {"cache", "migrate:completed"}), PlannedTest("e2e", {"api"})});
  log.Launch(5, "db").Launch(5, "cache").Ready(25, "cache").Ready(105, "db");
  log.Launch(106, "migrate").Succeeded(156, "migrate").Launch(156, "api").Ready(206, "api");
  log.State(206, EnvironmentState::kActive).Launch(207, "e2e").Succeeded(407, "e2e").Verdict(410, Verdict::kPassed);
  const Report report = BuildReport(log.events());
  EXPECT_THAT(Chain(report),
              ElementsAre("- plan 0-5", "db start 5-105", "migrate wait 105-106", "migrate run 106-156",
                          "api start 156-206", "e2e wait 206-207", "e2e test 207-407", "- wait 407-410"));
  EXPECT_EQ(report.overhead, absl::Milliseconds(10));
  EXPECT_NEAR(report.explained, 400.0 / 410, 1e-9);
  EXPECT_EQ(Find(report, "api").released, absl::Milliseconds(156)) << "the last of its needs";
  EXPECT_EQ(report.ready_after, absl::Milliseconds(206));
  EXPECT_EQ(report.verdict_after, absl::Milliseconds(410));
}

TEST(ReportBuilderTest, WithoutTestsTheChainEndsWhenTheLastServiceIsReady) {
  LogBuilder log;
  log.Accepted().Planned(1, {PlannedService("a"), PlannedService("b", {"a"})});
  log.Launch(2, "a").Ready(52, "a").Launch(52, "b").Ready(92, "b").State(93, EnvironmentState::kActive);
  log.Exposed(5000, "b", "http://127.0.0.1:20480");
  const Report report = BuildReport(log.events());
  EXPECT_THAT(Chain(report), ElementsAre("- plan 0-2", "a start 2-52", "b start 52-92", "- wait 92-93"));
  EXPECT_EQ(report.total, absl::Seconds(5));
  EXPECT_THAT(Find(report, "b").urls, ElementsAre("http://127.0.0.1:20480"));
}

TEST(ReportBuilderTest, AFailureEndsTheChainAtTheNodeAtFault) {
  LogBuilder log;
  const Cause cause = {CauseCode::kNeverListened, "b", "nothing listened on port 8080 for 100 ms"};
  log.Accepted().Planned(1, {PlannedService("a"), PlannedService("b", {"a"}), PlannedService("late", {"a"})});
  log.Launch(2, "a").Ready(12, "a").Launch(12, "b").Launch(12, "late").Failed(112, "b", cause).Ready(150, "late");
  log.Verdict(162, Verdict::kError, cause);
  const Report report = BuildReport(log.events());
  EXPECT_THAT(Chain(report), ElementsAre("- plan 0-2", "a start 2-12", "b start 12-112", "- wait 112-162"));
  EXPECT_EQ(report.cause, cause);
  EXPECT_EQ(Find(report, "b").ready, absl::Milliseconds(112)) << "decided: it failed";
}

TEST(ReportBuilderTest, AServiceThatBreaksWhileReadyIsALinkUntilItBroke) {
  LogBuilder log;
  const Cause cause = {CauseCode::kSignaled, "a", "ended by signal 11"};
  log.Accepted().Planned(1, {PlannedService("a"), PlannedTest("e2e", {"a"})});
  log.Launch(2, "a").Ready(52, "a").Launch(52, "e2e").Failed(252, "a", cause);
  log.Verdict(300, Verdict::kError, cause);
  EXPECT_THAT(Chain(BuildReport(log.events())),
              ElementsAre("- plan 0-2", "a start 2-52", "a run 52-252", "- wait 252-300"));
}

TEST(ReportBuilderTest, AStartedNeedReleasesWhenItRuns) {
  LogBuilder log;
  log.Accepted().Planned(1, {PlannedService("slow"), PlannedService("b", {"slow:started"})});
  log.Launch(2, "slow").Running(3, "slow").Launch(3, "b").Ready(40, "slow").Ready(60, "b");
  log.State(60, EnvironmentState::kActive);
  const Report report = BuildReport(log.events());
  EXPECT_THAT(Chain(report), ElementsAre("- plan 0-2", "slow start 2-3", "b start 3-60"));
  EXPECT_EQ(Find(report, "b").released, absl::Milliseconds(3));
}

TEST(ReportBuilderTest, ANodeThatWaitedForASlotFollowsTheNodeThatGaveItsSlotUp) {
  LogBuilder log;
  log.Accepted().Planned(1, {PlannedService("a"), PlannedTest("t1", {"a"}), PlannedTest("t2", {"a"})});
  log.Launch(1, "a").Ready(11, "a").State(11, EnvironmentState::kActive);
  log.Launch(11, "t1").Succeeded(111, "t1").Launch(112, "t2").Succeeded(212, "t2").Verdict(212, Verdict::kPassed);
  EXPECT_THAT(Chain(BuildReport(log.events())),
              ElementsAre("- plan 0-1", "a start 1-11", "t1 test 11-111", "t2 wait 111-112", "t2 test 112-212"));
}

TEST(ReportBuilderTest, ACancelledRunEndsWithWhatWasOnItsWayForLongest) {
  LogBuilder log;
  log.Accepted().Planned(1, {PlannedService("a"), PlannedService("b", {"a"}), PlannedService("c", {"a"})});
  log.Launch(2, "a").Ready(12, "a").Launch(12, "b").Launch(14, "c");
  log.Verdict(500, Verdict::kCancelled, {CauseCode::kCancelled, "", "by ci"});
  EXPECT_THAT(Chain(BuildReport(log.events())), ElementsAre("- plan 0-2", "a start 2-12", "b start 12-500"));
}

TEST(ReportBuilderTest, ARetriedTestCountsFromItsFirstTryAndIsFlaky) {
  LogBuilder log;
  log.Accepted().Planned(1, {PlannedTest("e2e")});
  log.Launch(2, "e2e").Waiting(50, "e2e", 2, "retry").Launch(60, "e2e", 2).Succeeded(100, "e2e", Used(5, 10), 2);
  log.JobResult(100, "e2e", {{"tries", "2"}, {"tests", "7"}, {"skipped", "1"}, {"junit", "e2e/report.xml"}});
  const Report report = BuildReport(log.Verdict(101, Verdict::kPassed).events());
  ASSERT_EQ(report.tests.size(), 1u);
  EXPECT_TRUE(report.tests[0].flaky);
  EXPECT_EQ(report.tests[0].tries, 2);
  EXPECT_EQ(report.tests[0].took, absl::Milliseconds(98));
  EXPECT_EQ(report.tests[0].tests, 7);
  EXPECT_EQ(report.tests[0].skipped, 1);
  EXPECT_EQ(report.tests[0].junit, "e2e/report.xml");
}

TEST(ReportBuilderTest, CostsOfAllAttemptsAreAddedUpAndMemoryIsTheHighest) {
  LogBuilder log;
  log.Accepted().Planned(1, {PlannedService("a")});
  log.Launch(2, "a").Failed(10, "a", {CauseCode::kExited, "a"}, Used(30, 64)).Waiting(11, "a", 2, "restart");
  log.Launch(20, "a", 2).Ready(30, "a", 2).Stopped(90, "a", Used(12.5, 20), 2);
  const ReportNode node = Find(BuildReport(log.events()), "a");
  EXPECT_EQ(node.usage.cpu, absl::Microseconds(42500));
  EXPECT_EQ(node.usage.peak_memory_bytes, 64 << 20);
  EXPECT_EQ(node.attempts, 2);
  EXPECT_EQ(node.started, absl::Milliseconds(2));
  EXPECT_EQ(node.state, NodeState::kStopped);
  EXPECT_TRUE(node.cause.empty());
}

TEST(ReportBuilderTest, TeardownDoesNotHideHowANodeEnded) {
  LogBuilder log;
  log.Accepted().Planned(1, {PlannedService("a"), PlannedJob("j"), PlannedService("s", {"a"})});
  log.Launch(2, "j").Succeeded(3, "j").Launch(2, "a").Failed(10, "a", {CauseCode::kExited, "a"}).Skipped(10, "s", "a");
  log.Stopped(20, "a").Stopped(20, "j").Stopped(20, "s");
  const Report report = BuildReport(log.events());
  EXPECT_EQ(Find(report, "a").state, NodeState::kFailed);
  EXPECT_EQ(Find(report, "j").state, NodeState::kSucceeded);
  EXPECT_EQ(Find(report, "s").state, NodeState::kSkipped);
}

TEST(ReportBuilderTest, AnUpdateIsExplainedFromItsOwnPlan) {
  LogBuilder log;
  log.Accepted().Planned(1, {PlannedService("a"), PlannedService("b", {"a"})});
  log.Launch(2, "a").Ready(52, "a").Launch(52, "b").Ready(92, "b").State(92, EnvironmentState::kActive);
  log.Planned(9000, {PlannedService("a"), PlannedService("b", {"a"})}).State(9000, EnvironmentState::kUpdating);
  log.Stopped(9001, "b").Waiting(9002, "b", 2, "").Launch(9003, "b", 2).Ready(9043, "b", 2);
  log.State(9043, EnvironmentState::kActive);
  const Report report = BuildReport(log.events());
  EXPECT_THAT(Chain(report), ElementsAre("- plan 9000-9003", "b start 9003-9043"));
  EXPECT_EQ(report.overhead, absl::Milliseconds(3));
  EXPECT_EQ(Find(report, "b").started, absl::Milliseconds(9003));
  EXPECT_EQ(Find(report, "a").started, absl::Milliseconds(2)) << "it was not touched";
}

TEST(ReportBuilderTest, AJobsResultSaysMoreThanItsEnd) {
  LogBuilder log;
  log.Accepted().Planned(1, {PlannedTest("t")}).Launch(2, "t");
  log.Failed(3, "t", {CauseCode::kTestsFailed, "t", "exited with code 1"});
  log.JobResult(4, "t", {{"tests", "9"}, {"failures", "2"}}, {CauseCode::kTestsFailed, "t", "2 of 9 tests failed"});
  EXPECT_EQ(BuildReport(log.events()).tests[0].cause.message, "2 of 9 tests failed");
}

TEST(ReportBuilderTest, TheFirstLineDoesNotHideWhatJunitSaysOfAJobThatEndedWell) {
  LogBuilder log;
  log.Accepted().Planned(1, {PlannedTest("t")}).Launch(2, "t").Succeeded(3, "t");
  log.JobResult(4, "t", {{"tests", "9"}, {"failures", "2"}, {"note", "its JUnit file says otherwise"}});
  EXPECT_THAT(WriteText(BuildReport(log.events())), HasSubstr("note  t: its JUnit file says otherwise"));
  EXPECT_THAT(Headline(BuildReport(log.events())),
              HasSubstr("1 test job passed (9 tests), though JUnit counts 2 failures"));
}

TEST(ReportBuilderTest, WhatIsAskedForAgainBeginsAnew) {
  LogBuilder log;
  log.Accepted().Planned(1, {PlannedTest("t")}).Launch(2, "t").Failed(3, "t", {CauseCode::kTestsFailed, "t"});
  log.JobResult(3, "t", {{"tries", "3"}, {"failures", "2"}, {"tests", "9"}}).Waiting(50, "t", 4, "").Launch(60, "t", 4);
  const ReportTest test = BuildReport(log.events()).tests[0];
  EXPECT_EQ(test.tries, 1);
  EXPECT_EQ(test.tests, -1);
  EXPECT_TRUE(test.cause.empty());
}

TEST(ReportBuilderTest, ANewPlanTakesTheOldVerdictBack) {
  LogBuilder log;
  log.Accepted().Planned(1, {PlannedTest("t")}).Launch(2, "t").Failed(3, "t", {CauseCode::kTestsFailed, "t"});
  log.Verdict(4, Verdict::kFailed, {CauseCode::kTestsFailed, "t"}).Planned(100, {PlannedTest("t")});
  EXPECT_EQ(BuildReport(log.events()).verdict, Verdict::kNone);
  log.Launch(101, "t", 2).Succeeded(102, "t", {}, 2).Verdict(103, Verdict::kPassed);
  const Report report = BuildReport(log.events());
  EXPECT_EQ(report.verdict, Verdict::kPassed);
  EXPECT_EQ(report.tests[0].tries, 1);
  EXPECT_TRUE(report.cause.empty());
}

TEST(ReportBuilderTest, TheLastReceiptCounts) {
  LogBuilder log;
  log.Accepted().State(10, EnvironmentState::kDeleting);
  log.Receipt(20, {.processes = 3, .took = absl::Milliseconds(10), .blockers = {"mount /x: busy"}});
  EXPECT_FALSE(BuildReport(log.events()).torn_down);
  log.Receipt(50, {.processes = 3, .mounts = 1, .took = absl::Milliseconds(40)});
  const Report report = BuildReport(log.events());
  EXPECT_TRUE(report.torn_down);
  EXPECT_EQ(report.teardown.mounts, 1);
  EXPECT_THAT(Chain(report), ElementsAre("- plan 0-10", "- teardown 10-50"));
}

// Logs that no orchestrator writes must do no harm.
TEST(ReportBuilderTest, AContradictingLogGivesAReportThatCoversTheTimeWithoutGaps) {
  LogBuilder log;
  log.Accepted().Planned(50, {PlannedService("a", {"b"}), PlannedService("b", {"a"}), PlannedService("c", {"nobody"})});
  log.Ready(60, "a").Launch(10, "b").Launch(20, "a").Ready(5, "b").Launch(70, "c").Launch(71, "ghost");
  log.Verdict(100, Verdict::kError, {CauseCode::kInternal, "ghost"});
  const Report report = BuildReport(log.events());
  ASSERT_FALSE(report.critical_chain.empty());
  absl::Duration at;
  for (const ChainLink& link : report.critical_chain) {
    EXPECT_EQ(link.from, at);
    EXPECT_GT(link.to, link.from);
    at = link.to;
  }
  EXPECT_EQ(at, absl::Milliseconds(100));
}

TEST(ReportBuilderTest, TheSameLogGivesTheSameBytes) {
  LogBuilder log;
  log.Accepted().Planned(1, {PlannedService("a"), PlannedTest("t", {"a"})});
  log.Launch(2, "a").Ready(3, "a").Launch(4, "t").Succeeded(5, "t").Verdict(6, Verdict::kPassed);
  EXPECT_EQ(WriteJson(BuildReport(log.events())), WriteJson(BuildReport(log.events())));
}

}  // namespace
}  // namespace mayfly
