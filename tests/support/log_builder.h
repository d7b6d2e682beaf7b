// Event logs written by hand, one short line per event.
#ifndef MAYFLY_TESTS_SUPPORT_LOG_BUILDER_H_
#define MAYFLY_TESTS_SUPPORT_LOG_BUILDER_H_

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "mayfly/report/event.h"

namespace mayfly {

// Times are milliseconds since acceptance.
class LogBuilder {
 public:
  LogBuilder& Accepted() {
    Event& event = Add(0, EventKind::kAccepted);
    event.attributes = {{"environment", "shop-pr-12"}, {"catalogue", "shop"}, {"engine", "local"}, {"owner", "ci"}};
    return *this;
  }
  LogBuilder& Planned(double ms, std::vector<PlannedNode> plan) {
    Add(ms, EventKind::kPlanned).plan = std::move(plan);
    return *this;
  }
  LogBuilder& State(double ms, EnvironmentState state, Cause cause = {}) {
    Event& event = Add(ms, EventKind::kState);
    event.environment_state = state;
    event.cause = std::move(cause);
    return *this;
  }
  LogBuilder& Launch(double ms, const std::string& node, int attempt = 1) {
    Node(ms, node, NodeState::kStarting, attempt).attributes = {{"phase", "launch"}};
    return *this;
  }
  LogBuilder& Running(double ms, const std::string& node, int attempt = 1) {
    Node(ms, node, NodeState::kStarting, attempt).attributes = {{"phase", "running"}};
    return *this;
  }
  LogBuilder& Ready(double ms, const std::string& node, int attempt = 1) {
    Node(ms, node, NodeState::kReady, attempt);
    return *this;
  }
  // `reason`: "retry" of a test job, "restart" by policy; empty: a new beginning, because somebody asked for it.
  LogBuilder& Waiting(double ms, const std::string& node, int attempt, const std::string& reason) {
    Event& event = Node(ms, node, NodeState::kWaiting, attempt);
    if (!reason.empty()) event.attributes["reason"] = reason;
    return *this;
  }
  LogBuilder& Succeeded(double ms, const std::string& node, Usage usage = {}, int attempt = 1) {
    Node(ms, node, NodeState::kSucceeded, attempt).usage = usage;
    return *this;
  }
  LogBuilder& Failed(double ms, const std::string& node, Cause cause, Usage usage = {}, int attempt = 1) {
    Event& event = Node(ms, node, NodeState::kFailed, attempt);
    event.cause = std::move(cause);
    event.usage = usage;
    return *this;
  }
  LogBuilder& Skipped(double ms, const std::string& node, const std::string& root) {
    Node(ms, node, NodeState::kSkipped, 0).cause = {CauseCode::kDependencyFailed, root, "needs " + root};
    return *this;
  }
  LogBuilder& Stopped(double ms, const std::string& node, Usage usage = {}, int attempt = 1) {
    Node(ms, node, NodeState::kStopped, attempt).usage = usage;
    return *this;
  }
  LogBuilder& Exposed(double ms, const std::string& node, const std::string& url) {
    Event& event = Add(ms, EventKind::kExposed);
    event.node = node;
    event.attributes = {{"port", "8080"}, {"url", url}};
    return *this;
  }
  LogBuilder& Images(double ms, const std::string& node, const std::map<std::string, std::string>& digests) {
    Event& event = Add(ms, EventKind::kNote);
    event.node = node;
    for (const auto& [name, digest] : digests) event.attributes["image " + name] = digest;
    return *this;
  }
  LogBuilder& JobResult(double ms, const std::string& node, std::map<std::string, std::string> attributes,
                        Cause cause = {}) {
    Event& event = Add(ms, EventKind::kJobResult);
    event.node = node;
    event.cause = std::move(cause);
    event.attributes = std::move(attributes);
    return *this;
  }
  LogBuilder& Verdict(double ms, mayfly::Verdict verdict, Cause cause = {}) {
    Event& event = Add(ms, EventKind::kVerdict);
    event.verdict = verdict;
    event.cause = std::move(cause);
    return *this;
  }
  LogBuilder& Receipt(double ms, mayfly::Receipt receipt) {
    Add(ms, EventKind::kReceipt).receipt = std::move(receipt);
    return *this;
  }

  const std::vector<Event>& events() const { return events_; }

 private:
  Event& Add(double ms, EventKind kind) {
    Event& event = events_.emplace_back();
    event.sequence = static_cast<int64_t>(events_.size());
    event.offset = absl::Microseconds(static_cast<int64_t>(ms * 1000));
    event.time = absl::FromUnixSeconds(1700000000) + event.offset;
    event.kind = kind;
    return event;
  }
  Event& Node(double ms, const std::string& node, NodeState state, int attempt) {
    Event& event = Add(ms, EventKind::kNode);
    event.node = node;
    event.node_state = state;
    event.attempt = attempt;
    return event;
  }

  std::vector<Event> events_;
};

inline PlannedNode PlannedService(std::string name, std::vector<std::string> needs = {},
                                  std::vector<std::string> why = {"asked for"}) {
  return {std::move(name), NodeKind::kService, std::move(needs), std::move(why), absl::Milliseconds(100), false};
}
inline PlannedNode PlannedJob(std::string name, std::vector<std::string> needs = {}) {
  return {std::move(name), NodeKind::kJob, std::move(needs), {"asked for"}, absl::Milliseconds(100), false};
}
inline PlannedNode PlannedTest(std::string name, std::vector<std::string> needs = {}, bool flaky = false) {
  return {std::move(name), NodeKind::kTestJob, std::move(needs), {"asked for"}, absl::Seconds(1), flaky};
}
inline Usage Used(double cpu_ms, int mib) {
  return {absl::Microseconds(static_cast<int64_t>(cpu_ms * 1000)), int64_t{mib} << 20};
}

}  // namespace mayfly

#endif  // MAYFLY_TESTS_SUPPORT_LOG_BUILDER_H_
