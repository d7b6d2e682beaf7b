// What comes out of a scope: logs, commands, connections, exposed ports, files; and scopes that outlive their engine.
#include <filesystem>
#include <fstream>

#include "tests/conformance/engine_conformance.h"

namespace mayfly {
namespace {

using Kind = EngineEvent::Kind;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::Not;

class AccessConformanceTest : public EngineConformanceTest {
 protected:
  // What a stream has said.
  struct Heard {
    Mutex mutex;
    std::string data ABSL_GUARDED_BY(mutex);
    bool closed ABSL_GUARDED_BY(mutex) = false;
    int exit_code ABSL_GUARDED_BY(mutex) = -1;
  };
  std::shared_ptr<Heard> heard_ = std::make_shared<Heard>();
  Stream::Callbacks Hear() {
    return {[heard = heard_](std::string bytes, bool) {
              MutexLock lock(heard->mutex);
              heard->data += bytes;
            },
            [heard = heard_](absl::Status, int exit_code) {
              MutexLock lock(heard->mutex);
              heard->closed = true;
              heard->exit_code = exit_code;
            }};
  }
  bool Closed() {
    MutexLock lock(heard_->mutex);
    return heard_->closed;
  }
  std::string Data() {
    MutexLock lock(heard_->mutex);
    return heard_->data;
  }
  int ExitCode() {
    MutexLock lock(heard_->mutex);
    return heard_->exit_code;
  }
  std::vector<FoundScope> RecoverOwn() {
    const absl::StatusOr<std::vector<FoundScope>> all = engine().Recover();
    EXPECT_OK(all);
    std::vector<FoundScope> own;
    for (const FoundScope& scope : all.value_or(std::vector<FoundScope>())) {
      if (std::count(scopes_.begin(), scopes_.end(), scope.id) > 0) own.push_back(scope);
    }
    return own;
  }
};
INSTANTIATE_TEST_SUITE_P(Engines, AccessConformanceTest, testing::ValuesIn(ConformanceEngines()),
                         [](const auto& info) { return info.param.name; });

TEST_P(AccessConformanceTest, LogsKeepBothStreams) {
  if (under_test_->logs() == nullptr) GTEST_SKIP() << "no logs";
  Await(Launch("a", Workload({"say", "one", "sleep", "20", "err", "two", "exit", "0"}), true), Kind::kExited);
  EXPECT_TRUE(WaitUntil([&] { return Lines("a").size() == 2; }));
  EXPECT_THAT(Lines("a"), ElementsAre("out one", "err two"));
}

TEST_P(AccessConformanceTest, LogsOutliveTheScope) {
  if (under_test_->logs() == nullptr) GTEST_SKIP() << "no logs";
  const NodeRef node = Launch("a", Workload({"say", "one", "exit", "0"}), true);
  Await(node, Kind::kExited);
  EXPECT_OK(engine().Destroy(node.scope));
  Await({node.scope, ""}, Kind::kScopeReleased);
  EXPECT_THAT(Lines("a"), ElementsAre("out one"));
}

TEST_P(AccessConformanceTest, LogOfWhatNeverRanIsNotFound) {
  if (under_test_->logs() == nullptr) GTEST_SKIP() << "no logs";
  EXPECT_THAT(under_test_->logs()->ReadLog(log_dir_, "nobody", 0, 100),
              StatusIs(absl::StatusCode::kNotFound, testing::_));
}

TEST_P(AccessConformanceTest, ExecRunsBesideTheNode) {
  if (under_test_->execer() == nullptr) GTEST_SKIP() << "no exec";
  const NodeRef node = Launch("a", Workload({}));
  Await(node, Kind::kReady);
  ExecRequest request;
  request.node = node;
  request.argv = {folder_ + "/mayfly-workload", "say", "hello", "exit", "7"};
  const absl::StatusOr<std::unique_ptr<Stream>> stream = under_test_->execer()->Exec(request, Hear());
  ASSERT_OK(stream);
  EXPECT_TRUE(WaitUntil([&] { return Closed(); }));
  EXPECT_EQ(Data(), "hello\n");
  EXPECT_EQ(ExitCode(), 7);
}

TEST_P(AccessConformanceTest, ExecInWhatDoesNotRunIsRefused) {
  if (under_test_->execer() == nullptr) GTEST_SKIP() << "no exec";
  ExecRequest request;
  request.node = {MakeScope().scope, "nobody"};
  request.argv = {"true"};
  EXPECT_THAT(under_test_->execer()->Exec(request, Hear()), Not(IsOk()));
}

TEST_P(AccessConformanceTest, ConnectReachesAPort) {
  if (under_test_->connector() == nullptr) GTEST_SKIP() << "no connections";
  const NodeRef node = Launch("a", Listening("tcp", 7000, Probe::Kind::kTcp));
  Await(node, Kind::kReady);
  const absl::StatusOr<std::unique_ptr<Stream>> stream = under_test_->connector()->Connect(node, 7000, Hear());
  ASSERT_OK(stream);
  (*stream)->Write("ping");
  EXPECT_TRUE(WaitUntil([&] { return Data() == "ping"; }));
}

TEST_P(AccessConformanceTest, AnExposedPortIsReachableFromOutside) {
  const NodeRef node = Launch("a", Listening("tcp", 7000, Probe::Kind::kTcp));
  Await(node, Kind::kReady);
  EXPECT_OK(engine().Expose(node, 7000, 0));
  const EngineEvent exposed = Await(node, Kind::kExposed);
  EXPECT_EQ(exposed.port, 7000);
  const absl::StatusOr<std::string> answer = under_test_->Dial(exposed.address, "ping\n");
  ASSERT_OK(answer);
  EXPECT_EQ(*answer, "ping\n");
}

TEST_P(AccessConformanceTest, ExposeTwiceKeepsTheAddress) {
  const NodeRef node = Launch("a", Listening("tcp", 7000, Probe::Kind::kTcp));
  EXPECT_OK(engine().Expose(node, 7000, 0));
  const std::string first = Await(node, Kind::kExposed).address;
  EXPECT_OK(engine().Expose(node, 7000, 0));
  EXPECT_EQ(Await(node, Kind::kExposed, 2).address, first);
}

TEST_P(AccessConformanceTest, NothingIsReachableAfterDestroy) {
  const NodeRef node = Launch("a", Listening("tcp", 7000, Probe::Kind::kTcp));
  EXPECT_OK(engine().Expose(node, 7000, 0));
  const std::string address = Await(node, Kind::kExposed).address;
  EXPECT_OK(engine().Destroy(node.scope));
  Await({node.scope, ""}, Kind::kScopeReleased);
  EXPECT_THAT(under_test_->Dial(address, "ping\n"), Not(IsOk()));
}

TEST_P(AccessConformanceTest, FilesOfAFinishedJobAreCollected) {
  if (under_test_->collector() == nullptr) GTEST_SKIP() << "no files";
  const NodeRef node = Launch("a", Workload({"write", "report.xml", "<testsuites/>", "exit", "0"}), true);
  Await(node, Kind::kExited);
  const std::string kept = log_dir_ + "/kept";
  auto status = std::make_shared<std::optional<absl::Status>>();
  auto mutex = std::make_shared<Mutex>();
  under_test_->collector()->Collect(node, {"report.xml"}, kept, 1 << 20, [=](absl::Status given) {
    MutexLock lock(*mutex);
    *status = given;
  });
  EXPECT_TRUE(WaitUntil([&] {
    MutexLock lock(*mutex);
    return status->has_value();
  }));
  EXPECT_OK(**status);
  std::string content;
  std::getline(std::ifstream(kept + "/report.xml"), content);
  EXPECT_EQ(content, "<testsuites/>");
}

TEST_P(AccessConformanceTest, ScopesOutliveTheEngine) {
  const NodeRef node = Launch("a", Workload({}));
  Await(node, Kind::kReady);
  under_test_->Restart();
  const std::vector<FoundScope> found = RecoverOwn();
  ASSERT_EQ(found.size(), 1);
  EXPECT_EQ(found[0].environment, "conf");
  ASSERT_EQ(found[0].nodes.size(), 1);
  EXPECT_TRUE(found[0].nodes[0].running);
  EXPECT_TRUE(found[0].nodes[0].ready);
  EXPECT_OK(engine().Stop(node));
  EXPECT_TRUE(Await(node, Kind::kExited).stopped);
}

TEST_P(AccessConformanceTest, WhatHappenedWhileNobodyListenedIsKnown) {
  const NodeRef node = Launch("job", Workload({"sleep", "100", "exit", "3"}), true);
  Await(node, Kind::kStarted);
  under_test_->Restart();
  RecoverOwn();
  EXPECT_EQ(Await(node, Kind::kExited).exit_code, 3);
}

TEST_P(AccessConformanceTest, AnEndIsToldAgainAfterRecovery) {
  const NodeRef node = Launch("job", Workload({"exit", "3"}), true);
  Await(node, Kind::kExited);
  under_test_->Restart();
  const std::vector<FoundScope> found = RecoverOwn();
  ASSERT_EQ(found.size(), 1);
  ASSERT_EQ(found[0].nodes.size(), 1);
  EXPECT_TRUE(found[0].nodes[0].exited);
  EXPECT_EQ(found[0].nodes[0].exit_code, 3);
  EXPECT_OK(engine().Start(node, true));
  EXPECT_EQ(Await(node, Kind::kExited, 2).exit_code, 3);
}

TEST_P(AccessConformanceTest, APreparedNodeIsStartedAfterRecovery) {
  const NodeRef ref = {MakeScope().scope, "a"};
  EXPECT_OK(engine().Prepare(ref, Workload({})));
  Await(ref, Kind::kPrepared);
  under_test_->Restart();
  RecoverOwn();
  EXPECT_OK(engine().Prepare(ref, Workload({})));
  Await(ref, Kind::kPrepared, 2);
  EXPECT_OK(engine().Start(ref, false));
  Await(ref, Kind::kReady);
}

TEST_P(AccessConformanceTest, AScopeIsDestroyedWithoutBeingRecovered) {
  const NodeRef node = Launch("a", Workload({}));
  Await(node, Kind::kReady);
  under_test_->Restart();
  EXPECT_OK(engine().Recover());
  EXPECT_OK(engine().Destroy(node.scope));
  EXPECT_THAT(Await({node.scope, ""}, Kind::kScopeReleased).receipt.blockers, IsEmpty());
  EXPECT_THAT(RecoverOwn(), IsEmpty());
}

}  // namespace
}  // namespace mayfly
