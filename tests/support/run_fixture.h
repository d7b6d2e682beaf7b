// The fixture of tests about environments: a harness whose nodes do what their FakeRun in `runs` says.
#ifndef MAYFLY_TESTS_SUPPORT_RUN_FIXTURE_H_
#define MAYFLY_TESTS_SUPPORT_RUN_FIXTURE_H_

#include <map>
#include <string>
#include <vector>

#include "tests/support/run_harness.h"
#include "tests/support/status_matchers.h"

namespace mayfly {

class RunTest : public testing::Test {
 protected:
  RunTest() {
    h.world.script = [this](const NodeRef& ref, const ProcessSpec&, bool one_shot) {
      const auto attempt = runs.find(ref.node + "#" + std::to_string(ref.attempt));
      if (attempt != runs.end()) return attempt->second;
      const auto node = runs.find(ref.node);
      if (node != runs.end()) return node->second;
      FakeRun run;
      if (one_shot) run.end = absl::ZeroDuration();
      return run;
    };
  }

  static FakeRun Ready(absl::Duration after) {
    FakeRun run;
    run.ready = after;
    return run;
  }
  static FakeRun Exit(absl::Duration after, int code, int signal = 0) {
    FakeRun run;
    run.end = after;
    run.exit_code = code;
    run.signal = signal;
    return run;
  }
  static FakeRun Never() { return Ready(absl::InfiniteDuration()); }
  static FakeRun Runs() { return FakeRun(); }  // For ever; a service is ready at once.

  // "kind node#attempt" of what happened in the world, for kStarted and kEnded: "+db#1", "-db#1".
  std::vector<std::string> Story() const {
    std::vector<std::string> out;
    for (const FakeHistory& entry : h.world.history()) {
      const bool started = entry.kind == FakeHistory::Kind::kStarted;
      if (!started && entry.kind != FakeHistory::Kind::kEnded) continue;
      out.push_back((started ? "+" : "-") + entry.node.node + "#" + std::to_string(entry.node.attempt));
    }
    return out;
  }
  std::vector<Event> EventsOf(EventKind kind) {
    std::vector<Event> out;
    for (const Event& event : h.Events("env")) {
      if (event.kind == kind) out.push_back(event);
    }
    return out;
  }
  // Brings `nodes` up under the name "env" and waits for that state.
  bool Up(const std::vector<TestNode>& nodes, Keep keep = Keep::kAlways,
          EnvironmentState state = EnvironmentState::kActive) {
    h.plans["source"] = PlanOf(nodes);
    const CreateOutcome created = h.Create("source", keep, true);
    EXPECT_OK(created.status);
    return h.RunUntil("env", state);
  }
  EnvironmentRecord Record() { return h.View("env")->record; }

  RunHarness h;
  std::map<std::string, FakeRun> runs;  // By "node#attempt" or "node".
};

}  // namespace mayfly

#endif  // MAYFLY_TESTS_SUPPORT_RUN_FIXTURE_H_
