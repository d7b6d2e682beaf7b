// What every engine must do, tried against the contract in mayfly/engine and nothing else. A new engine is one line in
// engines.cc. Programs inside are mayfly-workload (tests/workloads), which the fake engine plays by itself.
#ifndef MAYFLY_TESTS_CONFORMANCE_ENGINE_CONFORMANCE_H_
#define MAYFLY_TESTS_CONFORMANCE_ENGINE_CONFORMANCE_H_

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "mayfly/base/mutex.h"
#include "mayfly/engine/interactive.h"
#include "tests/support/status_matchers.h"

namespace mayfly {

// An engine and the world below it. The world outlives Restart.
class EngineUnderTest {
 public:
  virtual ~EngineUnderTest() = default;
  virtual Engine& engine() = 0;
  // Optional interfaces; nullptr where the engine has none.
  virtual LogSource* logs() = 0;
  virtual Execer* execer() = 0;
  virtual Connector* connector() = 0;
  virtual FileCollector* collector() = 0;
  // The engine object is lost and another one made, as when the server dies and comes back. Recover was not called yet.
  virtual void Restart() = 0;
  // In virtual time: lets a millisecond pass and returns true. In real time: returns false at once.
  virtual bool Turn() = 0;
  // Connects to an exposed address from outside and sends a line; returns what comes back.
  virtual absl::StatusOr<std::string> Dial(const std::string& address, const std::string& line) = 0;
};

// `sink` outlives what is made. nullptr with a reason printed when the host cannot run it.
struct EngineFactory {
  std::string name;
  std::function<std::unique_ptr<EngineUnderTest>(EngineEventSink* sink)> make;
};
std::vector<EngineFactory> ConformanceEngines();  // engines.cc

// Dials a real address with real sockets.
absl::StatusOr<std::string> DialTcp(const std::string& address, const std::string& line);

class RecordingSink final : public EngineEventSink {
 public:
  void OnEngineEvent(const EngineEvent& event) override;
  std::vector<EngineEvent> events() const;
  // Until the next event, and `at_most` so long.
  void WaitForMore(std::chrono::milliseconds at_most);

 private:
  mutable Mutex mutex_;
  CondVar more_;
  std::vector<EngineEvent> events_ ABSL_GUARDED_BY(mutex_);
};

class EngineConformanceTest : public testing::TestWithParam<EngineFactory> {
 protected:
  using Kind = EngineEvent::Kind;

  void SetUp() override;
  void TearDown() override;

  Engine& engine() { return under_test_->engine(); }
  // A scope of this test's own, READY.
  NodeRef MakeScope();
  ScopeSpec Spec(const std::string& id) const;
  // A process of the workload's steps.
  ProcessSpec Workload(std::vector<std::string> steps) const;
  ProcessSpec Listening(const std::string& step, int port, Probe::Kind probe) const;
  // Prepares a node, waits for PREPARED and starts it.
  NodeRef Launch(const std::string& node, const ProcessSpec& process, bool one_shot = false, int attempt = 1);
  // The events of a node's attempt, or of the scope when `ref.node` is empty.
  std::vector<EngineEvent> EventsOf(const NodeRef& ref) const;
  int Count(const NodeRef& ref, Kind kind) const;
  std::string Told(const NodeRef& ref) const;  // The same, for messages.
  // Waits until there are `count` events of that kind; the last one of them.
  EngineEvent Await(const NodeRef& ref, Kind kind, int count = 1);
  bool WaitUntil(const std::function<bool()>& condition);
  // All lines of a node's log that are there now.
  std::vector<std::string> Lines(const std::string& node);

  RecordingSink sink_;
  std::unique_ptr<EngineUnderTest> under_test_;
  std::string folder_;  // Source root; holds mayfly-workload and "plain.txt", which is not executable.
  std::string log_dir_;
  std::vector<std::string> scopes_;
};

}  // namespace mayfly

#endif  // MAYFLY_TESTS_CONFORMANCE_ENGINE_CONFORMANCE_H_
