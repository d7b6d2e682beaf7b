// When a node is READY, and what is told while it is not.
#include "tests/conformance/engine_conformance.h"

namespace mayfly {
namespace {

using ProbeConformanceTest = EngineConformanceTest;
INSTANTIATE_TEST_SUITE_P(Engines, ProbeConformanceTest, testing::ValuesIn(ConformanceEngines()),
                         [](const auto& info) { return info.param.name; });

using Kind = EngineEvent::Kind;

TEST_P(ProbeConformanceTest, TcpIsReadyOnceThePortAccepts) {
  ProcessSpec process = Listening("tcp", 7000, Probe::Kind::kTcp);
  process.argv.insert(process.argv.begin() + 1, {"sleep", "50"});
  const NodeRef node = Launch("a", process);
  const EngineEvent ready = Await(node, Kind::kReady);
  EXPECT_GE(ready.when - Await(node, Kind::kStarted).when, absl::Milliseconds(45));
}

TEST_P(ProbeConformanceTest, HttpIsReadyOnceTheAnswerIsGood) {
  ProcessSpec process = Workload({"status", "503", "http", "7000", "sleep", "50", "status", "200"});
  process.ports = {Port{"http", 7000}};
  process.probe.kind = Probe::Kind::kHttp;
  process.probe.port = 7000;
  process.probe.path = "/healthz";
  const NodeRef node = Launch("a", process);
  const EngineEvent ready = Await(node, Kind::kReady);
  EXPECT_GE(ready.when - Await(node, Kind::kStarted).when, absl::Milliseconds(45));
}

TEST_P(ProbeConformanceTest, LogIsReadyOnceALineMatches) {
  ProcessSpec process = Workload({"say", "warming up", "sleep", "20", "say", "serving on 8080"});
  process.probe.kind = Probe::Kind::kLog;
  process.probe.pattern = "serving on [0-9]+";
  Await(Launch("a", process), Kind::kReady);
}

TEST_P(ProbeConformanceTest, CommandIsReadyOnceItExits0) {
  ProcessSpec process = Workload({});
  process.probe.kind = Probe::Kind::kCommand;
  process.probe.command = {folder_ + "/mayfly-workload", "exit", "0"};
  Await(Launch("a", process), Kind::kReady);
}

TEST_P(ProbeConformanceTest, NotifyIsReadyOnceItIsTold) {
  ProcessSpec process = Workload({"sleep", "20", "notify", "READY=1"});
  process.probe.kind = Probe::Kind::kNotify;
  Await(Launch("a", process), Kind::kReady);
}

TEST_P(ProbeConformanceTest, NothingListensIsTold) {
  ProcessSpec process = Listening("tcp", 7000, Probe::Kind::kTcp);
  process.argv = Workload({}).argv;
  const NodeRef node = Launch("a", process);
  EXPECT_TRUE(WaitUntil([&] {
    for (const EngineEvent& event : EventsOf(node)) {
      if (event.kind == Kind::kProbe && event.cause.code == CauseCode::kNeverListened) return true;
    }
    return false;
  }));
  EXPECT_EQ(Count(node, Kind::kReady), 0);
}

TEST_P(ProbeConformanceTest, AnotherPortIsTold) {
  ProcessSpec process = Listening("tcp", 7001, Probe::Kind::kTcp);
  process.probe.port = 7000;
  const NodeRef node = Launch("a", process);
  EXPECT_TRUE(WaitUntil([&] {
    for (const EngineEvent& event : EventsOf(node)) {
      if (event.kind == Kind::kProbe && event.cause.code == CauseCode::kWrongPort) return true;
    }
    return false;
  }));
  EXPECT_EQ(Count(node, Kind::kReady), 0);
}

TEST_P(ProbeConformanceTest, ABadAnswerIsTold) {
  ProcessSpec process = Listening("http", 7000, Probe::Kind::kHttp);
  process.argv.insert(process.argv.begin() + 1, {"status", "500"});
  const NodeRef node = Launch("a", process);
  EXPECT_TRUE(WaitUntil([&] {
    for (const EngineEvent& event : EventsOf(node)) {
      if (event.kind == Kind::kProbe && event.cause.code == CauseCode::kProbeFailing) return true;
    }
    return false;
  }));
}

TEST_P(ProbeConformanceTest, AnEndBeforeReadyIsAnEnd) {
  ProcessSpec process = Listening("tcp", 7000, Probe::Kind::kTcp);
  process.argv = Workload({"exit", "0"}).argv;
  const NodeRef node = Launch("a", process);
  EXPECT_EQ(Await(node, Kind::kExited).exit_code, 0);
  EXPECT_EQ(Count(node, Kind::kReady), 0);
}

}  // namespace
}  // namespace mayfly
