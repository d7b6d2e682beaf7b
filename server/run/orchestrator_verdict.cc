// The whole: when every node is decided, what that means, and what becomes of the environment then.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/run/orchestrator.h"

namespace mayfly {

void Orchestrator::Judge() {
  if (scope_lost_) return;
  const bool broken = RootCause(nodes_) != nullptr;
  const auto conclude_broken = [this] {
    const Node* root = RootCause(nodes_);
    if (root != nullptr) Conclude(Verdict::kError, root->cause);
  };
  if (broken && record().request.keep == Keep::kNever && !judged_) {
    halted_ = true;
    Settle(conclude_broken);
    return;
  }
  if (!leaving_.empty()) return;
  const auto all = [this](auto&& test) {
    return std::all_of(nodes_.begin(), nodes_.end(), [&](const auto& n) { return test(*n); });
  };
  if (!all([](const Node& n) { return n.is_test() || n.settled(); })) return;
  const bool tests_idle = all([](const Node& n) { return !n.is_test() || (!n.runs() && !n.collecting); });
  if (broken) {
    if (tests_idle && record().state != EnvironmentState::kFailed) Settle(conclude_broken);
    return;
  }
  const bool up = all([](const Node& n) {
    return n.is_test() || (n.state == NodeState::kReady && n.exposing.empty()) || n.state == NodeState::kSucceeded;
  });
  if (!up) return;
  if (!std::exchange(activated_, true)) SetEnvironmentState(EnvironmentState::kActive);
  const bool has_tests = !all([](const Node& n) { return !n.is_test() || !n.wanted; });
  const bool tests_done = all([](const Node& n) { return !n.is_test() || !n.wanted || n.concluded; });
  if (!tests_done)
    SetEnvironmentState(EnvironmentState::kTesting);
  else if (judged_)
    return;
  else if (has_tests)
    JudgeTests();
  else if (!Kept())
    Conclude(Verdict::kPassed, Cause());
}

void Orchestrator::JudgeTests() {
  const Node* first = nullptr;
  const Node* broken = nullptr;
  for (const auto& node : nodes_) {
    if (!node->is_test() || !node->wanted || node->state != NodeState::kFailed || node->plan.flaky) continue;
    if (first == nullptr || node->decided < first->decided) first = node.get();
    if (node->cause.code != CauseCode::kTestBroken) continue;
    if (broken == nullptr || node->decided < broken->decided) broken = node.get();
  }
  if (first == nullptr) {
    Conclude(Verdict::kPassed, Cause());
    return;
  }
  // A service that broke and was started again while the test ran: its failure says nothing about the change under
  // test.
  for (const auto& node : nodes_) {
    if (!node->is_test() || node->state != NodeState::kFailed || node->plan.flaky) continue;
    const Breakage breakage = LatestBreakage(*node);
    if (breakage.node == nullptr || breakage.when < node->launched || breakage.when > node->decided + options_.settle) {
      continue;
    }
    Cause cause = {CauseCode::kExited, breakage.node->plan.name,
                   absl::StrCat("ended and was started again while ", node->plan.name, " ran")};
    Settle([this, cause] { Conclude(Verdict::kError, cause); });
    return;
  }
  const Cause cause = broken != nullptr ? broken->cause : first->cause;
  const Verdict verdict = broken != nullptr ? Verdict::kError : Verdict::kFailed;
  Settle([this, verdict, cause, name = cause.node] {
    // Its last lines may have come meanwhile.
    const Node* node = Find(name);
    Conclude(verdict, node != nullptr && node->cause.code == cause.code ? node->cause : cause);
  });
}

// Causes that are on their way get a moment to arrive before their consequences are judged.
void Orchestrator::Settle(std::function<void()> then) {
  if (std::exchange(settling_, true)) return;
  Guard(options_.settle, &settle_timer_, [this, then = std::move(then)] {
    settling_ = false;
    if (phase_ != Phase::kDriving || deleting()) return;
    // What failed meanwhile may be the real cause: a broken environment wins over failed tests.
    const Node* root = RootCause(nodes_);
    if (root != nullptr)
      Conclude(Verdict::kError, root->cause);
    else
      then();
  });
}

// Nothing but a request or its expiry takes it down. Somebody may work in what was kept after a failure: mending it
// must not make it vanish.
bool Orchestrator::Kept() const {
  const Keep keep = record().request.keep;
  return keep == Keep::kAlways || (keep == Keep::kOnFailure && failed_once_);
}

void Orchestrator::Conclude(Verdict verdict, Cause cause) {
  const bool passed = verdict == Verdict::kPassed;
  for (const auto& node : nodes_) {
    const bool never = node->is_test() && node->wanted && node->state == NodeState::kWaiting;
    if (!never) continue;
    node->concluded = true;
    node->message = "not run: the environment is broken";
    node->wanted = false;
    SetState(*node, NodeState::kStopped, host_.loop->Monotonic()).message = node->message;
  }
  EnvironmentRecord& record = journal_.Change();
  record.cause = cause;
  // What broke after the verdict was known does not change it.
  if (!std::exchange(judged_, true)) {
    record.verdict = verdict;
    Event& event = journal_.Add(EventKind::kVerdict);
    event.verdict = verdict;
    event.cause = std::move(cause);
    failed_once_ |= !passed;
  }
  if (!Kept()) {
    BeginTeardown(false);
  } else if (verdict == Verdict::kError || (record.request.keep == Keep::kOnFailure && !passed)) {
    SetEnvironmentState(EnvironmentState::kFailed);
  } else {
    SetEnvironmentState(EnvironmentState::kActive);
  }
}

// The environment as a whole is broken; no single node is to blame.
void Orchestrator::Break(Cause cause) {
  if (deleting()) return;
  halted_ = true;
  Cancel(&scope_timer_);
  if (phase_ == Phase::kScope) phase_ = Phase::kDriving;
  Conclude(Verdict::kError, std::move(cause));
}

}  // namespace mayfly
