#include "tests/support/run_checker.h"

#include <algorithm>
#include <map>
#include <set>

#include "absl/strings/str_cat.h"

namespace mayfly {
namespace {

using Kind = FakeHistory::Kind;

struct Past {
  int attempt = 0;
  bool launched = false;
  bool running = false;
  bool ready = false;
  bool succeeded = false;
  // An end in the very moment of a start may not have been heard yet.
  absl::Duration lost = -absl::InfiniteDuration();
  bool was_ready = false;
};

class Checker {
 public:
  explicit Checker(const RunToCheck& run) : run_(run) {}

  std::vector<std::string> Check() {
    for (const FakeHistory& entry : run_.history) Apply(entry);
    for (const auto& [name, past] : nodes_) {
      if (past.running) Wrong(name, " was started and has not ended");
    }
    CheckEvents();
    return std::move(wrong_);
  }

 private:
  template <typename... Parts>
  void Wrong(Parts&&... parts) {
    wrong_.push_back(absl::StrCat(std::forward<Parts>(parts)...));
  }

  // The plans that a launch at that moment may follow: the one in force, and in the very moment of a change both.
  std::vector<const Plan*> InForce(absl::Duration when) const {
    std::vector<const Plan*> plans;
    for (const PlanInForce& in_force : run_.plans) {
      if (in_force.since > when) break;
      if (in_force.since < when) plans.clear();
      plans.push_back(&in_force.plan);
    }
    return plans;
  }

  // The first need of `name` that is not met; "" when all are; "?" when it is not in the plan.
  std::string Unmet(const Plan& plan, const std::string& name, absl::Duration when) {
    const int at = plan.Find(name);
    if (at < 0) return "?";
    for (const PlanEdge& edge : plan.nodes[at].needs) {
      const std::string& need = plan.nodes[edge.node].name;
      if (!Met(nodes_[need], edge.condition, when)) return need;
    }
    return "";
  }

  bool Met(const Past& dep, Condition condition, absl::Duration when) const {
    if (dep.succeeded) return true;
    if (condition == Condition::kReady) return dep.ready || (dep.was_ready && dep.lost >= when);
    return condition == Condition::kStarted && (dep.running || dep.lost >= when);
  }

  void CheckLaunch(const FakeHistory& entry, const Past& past) {
    const std::string& name = entry.node.node;
    if (past.launched && past.attempt >= entry.node.attempt)
      Wrong(name, " attempt ", entry.node.attempt, " was launched twice");
    if (past.running) Wrong(name, " was launched while an attempt of it runs");
    std::string unmet = "?";
    bool test = false;
    for (const Plan* plan : InForce(entry.when)) {
      if (!unmet.empty()) unmet = Unmet(*plan, name, entry.when);
      const int at = plan->Find(name);
      test |= at >= 0 && plan->nodes[at].kind == NodeKind::kTestJob;
    }
    if (!unmet.empty()) {
      Wrong(name, " was launched at ", absl::FormatDuration(entry.when), " before ", unmet, " was there");
    }
    std::set<std::string>& busy = test ? testing_ : starting_;
    busy.insert(name);
    // What was given up counts no more, even while the engine is still being told.
    for (; heard_ < run_.events.size() && run_.accepted + run_.events[heard_].offset <= entry.when; ++heard_) {
      const Event& event = run_.events[heard_];
      if (event.kind != EventKind::kNode || event.node_state != NodeState::kFailed) continue;
      if (event.node != name || event.attempt == entry.node.attempt) busy.erase(event.node);
    }
    const int slots = test ? run_.test_slots : run_.start_slots;
    if (slots > 0 && static_cast<int>(busy.size()) > slots) {
      Wrong(busy.size(), " nodes start at the same time with ", slots, " slots");
    }
  }

  void Apply(const FakeHistory& entry) {
    const std::string& name = entry.node.node;
    if (name.empty()) return;
    Past& past = nodes_[name];
    switch (entry.kind) {
      case Kind::kLaunched:
        CheckLaunch(entry, past);
        past.launched = true;
        past.attempt = entry.node.attempt;
        past.ready = past.was_ready = past.succeeded = false;
        break;
      case Kind::kStarted:
        past.running = true;
        break;
      case Kind::kReady:
        past.ready = past.was_ready = true;
        ready_.insert(absl::StrCat(name, "#", entry.node.attempt));
        starting_.erase(name);
        break;
      case Kind::kStopping:
        starting_.erase(name);
        testing_.erase(name);
        break;
      case Kind::kEnded:
        past.running = past.ready = false;
        past.lost = entry.when;
        past.succeeded = entry.exit_code == 0 && entry.signal == 0 && !entry.stopped;
        [[fallthrough]];
      case Kind::kStartFailed:
        starting_.erase(name);
        testing_.erase(name);
        break;
      default:
        break;
    }
  }

  bool Needs(const std::string& name, const std::string& root) const {
    for (const PlanInForce& in_force : run_.plans) {
      std::set<int> seen;
      std::vector<int> todo = {in_force.plan.Find(name)};
      while (!todo.empty()) {
        const int at = todo.back();
        todo.pop_back();
        if (at < 0 || !seen.insert(at).second) continue;
        if (in_force.plan.nodes[at].name == root) return true;
        for (const PlanEdge& edge : in_force.plan.nodes[at].needs) todo.push_back(edge.node);
      }
    }
    return false;
  }

  void CheckNodeEvent(const Event& event) {
    state_[event.node] = event.node_state;
    const std::string id = absl::StrCat(event.node, "#", event.attempt);
    if (event.node_state == NodeState::kReady && ready_.count(id) == 0) Wrong(id, " is READY in the log only");
    if (event.node_state == NodeState::kFailed) failed_.insert(event.node);
    if (event.node_state != NodeState::kSkipped) return;
    if (failed_.count(event.cause.node) == 0)
      Wrong(event.node, " is SKIPPED for ", event.cause.node, ", which did not fail");
    if (!Needs(event.node, event.cause.node))
      Wrong(event.node, " is SKIPPED for ", event.cause.node, ", which it does not need");
  }

  void CheckVerdict(const Event& event) {
    if (++verdicts_ > 1) Wrong("two verdicts for one plan");
    const Plan& plan = run_.plans.back().plan;
    for (const auto& [name, state] : state_) {
      const int at = plan.Find(name);
      if (event.verdict != Verdict::kPassed || at < 0) continue;
      const bool counts = plan.nodes[at].kind != NodeKind::kTestJob || !plan.nodes[at].flaky;
      if (counts && (state == NodeState::kFailed || state == NodeState::kSkipped))
        Wrong("PASSED although ", name, " is not");
    }
    if (event.verdict == Verdict::kPassed) return;
    if (event.cause.empty()) Wrong("a verdict that is not PASSED has no cause");
    if (event.verdict == Verdict::kFailed) {
      const int at = plan.Find(event.cause.node);
      if (at >= 0 && plan.nodes[at].kind != NodeKind::kTestJob)
        Wrong("FAILED blames ", event.cause.node, ", which is no test");
    }
  }

  void CheckEvents() {
    absl::Duration last;
    int receipts = 0;
    for (const Event& event : run_.events) {
      if (event.offset < last) Wrong("event ", event.sequence, " goes back in time");
      last = event.offset;
      if (event.kind == EventKind::kNode) CheckNodeEvent(event);
      if (event.kind == EventKind::kPlanned) verdicts_ = 0;
      if (event.kind == EventKind::kVerdict) CheckVerdict(event);
      receipts += event.kind == EventKind::kReceipt;
    }
    if (receipts != 1) Wrong(receipts, " receipts");
    const size_t count = run_.events.size();
    if (count < 2 || run_.events[count - 2].kind != EventKind::kReceipt ||
        run_.events[count - 1].environment_state != EnvironmentState::kDeleted) {
      Wrong("the log does not end with a receipt and DELETED");
    }
    for (const PlanNode& node : run_.plans.back().plan.nodes) {
      const auto state = state_.find(node.name);
      const bool asked = node.kind != NodeKind::kTestJob || state != state_.end();
      if (!asked) continue;
      if (state == state_.end() || state->second == NodeState::kWaiting || state->second == NodeState::kStarting ||
          state->second == NodeState::kReady) {
        Wrong(node.name, " never came to an end in the log");
      }
    }
  }

  const RunToCheck& run_;
  std::vector<std::string> wrong_;
  std::map<std::string, Past> nodes_;
  std::set<std::string> starting_;
  std::set<std::string> testing_;
  std::set<std::string> ready_;  // "node#attempt"
  std::set<std::string> failed_;
  std::map<std::string, NodeState> state_;
  int verdicts_ = 0;
  size_t heard_ = 0;  // Events up to the launch that is looked at.
};

}  // namespace

std::vector<std::string> CheckRun(const RunToCheck& run) {
  return Checker(run).Check();
}

}  // namespace mayfly
