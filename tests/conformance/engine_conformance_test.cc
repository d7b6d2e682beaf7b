// Scopes and the life of nodes.
#include "tests/conformance/engine_conformance.h"

#include <csignal>

#include "absl/strings/str_cat.h"

namespace mayfly {
namespace {

using testing::AnyOf;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::Not;

INSTANTIATE_TEST_SUITE_P(Engines, EngineConformanceTest, testing::ValuesIn(ConformanceEngines()),
                         [](const auto& info) { return info.param.name; });

TEST_P(EngineConformanceTest, DescribesItself) {
  const Capabilities capabilities = engine().Describe();
  EXPECT_TRUE(capabilities.usable);
  EXPECT_THAT(capabilities.engine, Not(IsEmpty()));
}

TEST_P(EngineConformanceTest, CreateScopeTwiceIsOneScope) {
  const NodeRef scope = MakeScope();
  EXPECT_OK(engine().CreateScope(Spec(scope.scope)));
  Await(scope, Kind::kScopeReady, 2);
}

TEST_P(EngineConformanceTest, AScopeOfThatNameWithOtherContentsIsRefused) {
  const NodeRef scope = MakeScope();
  ScopeSpec other = Spec(scope.scope);
  other.owner = "somebody else";
  EXPECT_THAT(engine().CreateScope(other), StatusIs(absl::StatusCode::kAlreadyExists, testing::_));
}

TEST_P(EngineConformanceTest, DestroyOfAnUnknownScopeIsReleasedAtOnce) {
  EXPECT_OK(engine().Destroy("conf-unknown"));
  EXPECT_THAT(Await({"conf-unknown", ""}, Kind::kScopeReleased).receipt.blockers, IsEmpty());
}

TEST_P(EngineConformanceTest, DestroyTwiceIsReleasedAgain) {
  const NodeRef scope = MakeScope();
  EXPECT_OK(engine().Destroy(scope.scope));
  Await(scope, Kind::kScopeReleased);
  EXPECT_OK(engine().Destroy(scope.scope));
  Await(scope, Kind::kScopeReleased, 2);
}

TEST_P(EngineConformanceTest, AScopeIsNeverGoneBeforeItIsReleased) {
  const NodeRef scope = MakeScope();
  EXPECT_OK(engine().Destroy(scope.scope));
  Await(scope, Kind::kScopeGone);
  for (const EngineEvent& event : EventsOf(scope)) {
    if (event.kind == Kind::kScopeReleased) return;
    ASSERT_NE(event.kind, Kind::kScopeGone);
  }
}

TEST_P(EngineConformanceTest, DestroyRightAfterCreate) {
  const std::string id = "conf-early";
  EXPECT_OK(engine().CreateScope(Spec(id)));
  EXPECT_OK(engine().Destroy(id));
  EXPECT_THAT(Await({id, ""}, Kind::kScopeReleased).receipt.blockers, IsEmpty());
}

TEST_P(EngineConformanceTest, DestroyWhileNodesArePreparedAndStarting) {
  const NodeRef scope = MakeScope();
  for (const char* name : {"a", "b", "c"})
    EXPECT_OK(engine().Prepare({scope.scope, name}, Workload({"sleep", "60000"})));
  Await({scope.scope, "a"}, Kind::kPrepared);
  EXPECT_OK(engine().Start({scope.scope, "a"}, false));
  EXPECT_OK(engine().Destroy(scope.scope));
  EXPECT_THAT(Await(scope, Kind::kScopeReleased).receipt.blockers, IsEmpty());
}

TEST_P(EngineConformanceTest, AScopeTakesMoreNodesThanItExpected) {
  const NodeRef scope = MakeScope();
  const int expected = Spec(scope.scope).expected_nodes;
  std::vector<NodeRef> nodes;
  for (int i = 0; i < 4 * expected; ++i) {
    nodes.push_back({scope.scope, absl::StrCat("n", i)});
    EXPECT_OK(engine().Prepare(nodes.back(), Listening("tcp", 7000, Probe::Kind::kTcp)));
  }
  for (const NodeRef& node : nodes) {
    Await(node, Kind::kPrepared);
    EXPECT_OK(engine().Start(node, false));
  }
  for (const NodeRef& node : nodes) Await(node, Kind::kReady);
  // The last reaches the first, as any two do.
  const NodeRef caller = Launch("caller", Workload({"connect", "n0:7000", "exit", "0"}), /*one_shot=*/true);
  EXPECT_EQ(Await(caller, Kind::kExited).exit_code, 0);
  EXPECT_OK(engine().Destroy(scope.scope));
  EXPECT_THAT(Await(scope, Kind::kScopeReleased).receipt.blockers, IsEmpty());
}

TEST_P(EngineConformanceTest, AnUnexpectedNodeIsStoppedBeforeItHasAPlace) {
  const NodeRef scope = MakeScope();
  NodeRef last;
  for (int i = 0; i < 10; ++i) {
    last = {scope.scope, absl::StrCat("n", i)};
    EXPECT_OK(engine().Prepare(last, Workload({"sleep", "60000"})));
  }
  EXPECT_OK(engine().Stop(last));
  EXPECT_TRUE(Await(last, Kind::kExited).stopped);
}

TEST_P(EngineConformanceTest, DestroyEndsWhatRuns) {
  ProcessSpec deaf = Workload({"ignore-term", "sleep", "60000"});
  const NodeRef node = Launch("deaf", deaf);
  Await(node, Kind::kReady);
  EXPECT_OK(engine().Destroy(node.scope));
  const EngineEvent released = Await({node.scope, ""}, Kind::kScopeReleased);
  EXPECT_GE(released.receipt.processes, 1);
  EXPECT_TRUE(Await(node, Kind::kExited).stopped);
}

TEST_P(EngineConformanceTest, VerbsOnAnUnknownScopeAreNotFound) {
  const NodeRef ref = {"conf-unknown", "a"};
  EXPECT_THAT(engine().Prepare(ref, Workload({})), StatusIs(absl::StatusCode::kNotFound, testing::_));
  EXPECT_THAT(engine().Start(ref, false), StatusIs(absl::StatusCode::kNotFound, testing::_));
  EXPECT_THAT(engine().Stop(ref), StatusIs(absl::StatusCode::kNotFound, testing::_));
  EXPECT_THAT(engine().Expose(ref, 80, 0), StatusIs(absl::StatusCode::kNotFound, testing::_));
}

TEST_P(EngineConformanceTest, VerbsOnAnUnknownNodeAreNotFound) {
  const NodeRef ref = {MakeScope().scope, "nobody"};
  EXPECT_THAT(engine().Start(ref, false), AnyOf(StatusIs(absl::StatusCode::kNotFound, testing::_),
                                                StatusIs(absl::StatusCode::kFailedPrecondition, testing::_)));
  EXPECT_THAT(engine().Stop(ref), StatusIs(absl::StatusCode::kNotFound, testing::_));
}

TEST_P(EngineConformanceTest, NothingToRunIsRefused) {
  const NodeRef scope = MakeScope();
  EXPECT_THAT(engine().Prepare({scope.scope, "a"}, ProcessSpec()),
              StatusIs(absl::StatusCode::kInvalidArgument, testing::_));
}

TEST_P(EngineConformanceTest, ANodeGoesPreparedStartedReady) {
  const NodeRef node = Launch("a", Workload({}));
  Await(node, Kind::kReady);
  std::vector<Kind> kinds;
  for (const EngineEvent& event : EventsOf(node)) {
    // Advisory: an engine may tell more or less. And some have images.
    if (event.kind != Kind::kProbe && event.kind != Kind::kImages) kinds.push_back(event.kind);
  }
  EXPECT_THAT(kinds, ElementsAre(Kind::kPrepared, Kind::kStarted, Kind::kReady));
}

TEST_P(EngineConformanceTest, PrepareStartsNothing) {
  const NodeRef scope = MakeScope();
  EXPECT_OK(engine().Prepare({scope.scope, "a"}, Workload({"say", "hello"})));
  Await({scope.scope, "a"}, Kind::kPrepared);
  EXPECT_OK(engine().Prepare({scope.scope, "a"}, Workload({"say", "hello"})));
  Await({scope.scope, "a"}, Kind::kPrepared, 2);
  EXPECT_EQ(Count({scope.scope, "a"}, Kind::kStarted), 0);
}

TEST_P(EngineConformanceTest, StartTwiceStartsOnce) {
  const NodeRef node = Launch("a", Workload({"say", "hello", "exit", "0"}), true);
  Await(node, Kind::kExited);
  EXPECT_OK(engine().Start(node, true));
  EXPECT_EQ(Await(node, Kind::kExited, 2).exit_code, 0);
  if (under_test_->logs() == nullptr) return;
  EXPECT_THAT(Lines("a"), ElementsAre("out hello"));
}

TEST_P(EngineConformanceTest, AOneShotNodeSucceedsByExit0) {
  const NodeRef node = Launch("job", Workload({"sleep", "5", "exit", "0"}), true);
  const EngineEvent exited = Await(node, Kind::kExited);
  EXPECT_EQ(exited.exit_code, 0);
  EXPECT_FALSE(exited.stopped);
  EXPECT_TRUE(exited.cause.empty());
  EXPECT_EQ(Count(node, Kind::kReady), 0);
}

TEST_P(EngineConformanceTest, AnExitCodeIsTold) {
  const EngineEvent exited = Await(Launch("job", Workload({"exit", "3"}), true), Kind::kExited);
  EXPECT_EQ(exited.exit_code, 3);
  EXPECT_EQ(exited.signal, 0);
  EXPECT_FALSE(exited.cause.empty());
}

TEST_P(EngineConformanceTest, ACrashIsTold) {
  const EngineEvent exited = Await(Launch("a", Workload({"crash"})), Kind::kExited);
  EXPECT_EQ(exited.signal, SIGSEGV);
  EXPECT_EQ(exited.cause.code, CauseCode::kSignaled);
}

TEST_P(EngineConformanceTest, AMissingCommandIsTold) {
  ProcessSpec process = Workload({});
  process.argv = {"/no/such/program"};
  const EngineEvent failed = Await(Launch("a", process), Kind::kStartFailed);
  EXPECT_EQ(failed.cause.code, CauseCode::kCommandNotFound);
}

TEST_P(EngineConformanceTest, AFileThatIsNoProgramIsTold) {
  ProcessSpec process = Workload({});
  process.argv = {folder_ + "/plain.txt"};
  EXPECT_EQ(Await(Launch("a", process), Kind::kStartFailed).cause.code, CauseCode::kNotExecutable);
}

TEST_P(EngineConformanceTest, StopEndsByTheStopSignal) {
  const NodeRef node = Launch("a", Workload({}));
  Await(node, Kind::kReady);
  EXPECT_OK(engine().Stop(node));
  const EngineEvent exited = Await(node, Kind::kExited);
  EXPECT_TRUE(exited.stopped);
  EXPECT_EQ(exited.exit_code, 0);
  EXPECT_TRUE(exited.cause.empty());
}

TEST_P(EngineConformanceTest, StopKillsAfterTheGrace) {
  ProcessSpec process = Workload({"ignore-term", "say", "deaf"});
  process.stop.grace = absl::Milliseconds(50);
  process.probe.kind = Probe::Kind::kLog;
  process.probe.pattern = "deaf";
  const NodeRef node = Launch("a", process);
  Await(node, Kind::kReady);
  EXPECT_OK(engine().Stop(node));
  const EngineEvent exited = Await(node, Kind::kExited);
  EXPECT_TRUE(exited.stopped);
  EXPECT_EQ(exited.signal, SIGKILL);
}

TEST_P(EngineConformanceTest, StopOfAPreparedNodeEndsItsAttempt) {
  const NodeRef ref = {MakeScope().scope, "a"};
  EXPECT_OK(engine().Prepare(ref, Workload({})));
  Await(ref, Kind::kPrepared);
  EXPECT_OK(engine().Stop(ref));
  EXPECT_TRUE(Await(ref, Kind::kExited).stopped);
  EXPECT_EQ(Count(ref, Kind::kStarted), 0);
}

TEST_P(EngineConformanceTest, StopOfAnEndedNodeRepeatsItsEnd) {
  const NodeRef node = Launch("a", Workload({"exit", "3"}), true);
  Await(node, Kind::kExited);
  EXPECT_OK(engine().Stop(node));
  EXPECT_EQ(Await(node, Kind::kExited, 2).exit_code, 3);
}

TEST_P(EngineConformanceTest, TheNextAttemptRunsAfterTheFirstOneEnded) {
  Await(Launch("a", Workload({"exit", "3"})), Kind::kExited);
  const NodeRef second = Launch("a", Workload({}), false, 2);
  EXPECT_EQ(Await(second, Kind::kReady).node.attempt, 2);
}

TEST_P(EngineConformanceTest, TheNextAttemptRunsAfterAStop) {
  const NodeRef first = Launch("a", Workload({}));
  Await(first, Kind::kReady);
  EXPECT_OK(engine().Stop(first));
  Await(first, Kind::kExited);
  Await(Launch("a", Workload({}), false, 2), Kind::kReady);
}

TEST_P(EngineConformanceTest, NoTwoAttemptsAtOnce) {
  const NodeRef first = Launch("a", Workload({}));
  Await(first, Kind::kReady);
  EXPECT_THAT(engine().Prepare({first.scope, "a", 2}, Workload({})),
              StatusIs(absl::StatusCode::kFailedPrecondition, testing::_));
}

TEST_P(EngineConformanceTest, VariablesReachTheProcess) {
  ProcessSpec process = Workload({"env", "GREETING", "exit", "0"});
  process.variables["GREETING"] = "hello you";
  Await(Launch("a", process, true), Kind::kExited);
  if (under_test_->logs() == nullptr) return;
  EXPECT_THAT(Lines("a"), ElementsAre("out env GREETING=hello you"));
}

TEST_P(EngineConformanceTest, MemoryPastItsLimitIsTheCause) {
  ProcessSpec process = Workload({"eat", "256"});
  process.resources.memory_bytes = 64 << 20;
  const EngineEvent exited = Await(Launch("a", process), Kind::kExited);
  if (!engine().Describe().memory_limits) GTEST_SKIP() << "this host gives no memory limits";
  EXPECT_EQ(exited.cause.code, CauseCode::kOutOfMemory);
}

TEST_P(EngineConformanceTest, EventsComeInOrderOfTime) {
  const NodeRef node = Launch("a", Workload({"sleep", "5", "exit", "1"}), true);
  Await(node, Kind::kExited);
  absl::Duration last;
  for (const EngineEvent& event : EventsOf(node)) {
    EXPECT_GE(event.when, last);
    last = event.when;
  }
}

}  // namespace
}  // namespace mayfly
