// The end, from every state: stop in order if asked to, destroy until the receipt is clean, write that nothing is left.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "server/run/orchestrator.h"

namespace mayfly {

void Orchestrator::Delete(bool graceful, Cause cause) {
  if (deleting()) {
    if (phase_ == Phase::kStopping && !graceful) Destroy();
    EndTurn();
    return;
  }
  const EnvironmentState state = record().state;
  const bool at_work = state == EnvironmentState::kCreating || state == EnvironmentState::kUpdating ||
                       state == EnvironmentState::kTesting;
  if (at_work && !judged_) {
    judged_ = true;
    EnvironmentRecord& record = journal_.Change();
    record.verdict = Verdict::kCancelled;
    record.cause = cause;
    Event& event = journal_.Add(EventKind::kVerdict);
    event.verdict = Verdict::kCancelled;
    event.cause = cause;
  } else if (cause.code != CauseCode::kCancelled && record().cause.empty()) {
    journal_.Change().cause = cause;
  }
  BeginTeardown(graceful);
  EndTurn();
}

void Orchestrator::BeginTeardown(bool graceful) {
  halted_ = true;
  journal_.Change().delete_requested = true;
  SetEnvironmentState(EnvironmentState::kDeleting);
  Cancel(&settle_timer_);
  Cancel(&expiry_timer_);
  settling_ = false;
  for (const auto& node : nodes_) {
    Cancel(&node->timer);
    Cancel(&node->backoff_timer);
    Cancel(&node->expose_timer);
  }
  // What this turn was about to begin is not begun any more.
  effects_.clear();
  phase_ = Phase::kStopping;
  if (graceful && !scope_lost_)
    StopAll();
  else
    Destroy();
}

void Orchestrator::StopAll() {
  for (const auto& node : nodes_) {
    if (!node->runs()) continue;
    node->stop_wanted = true;
    node->replace = false;
    node->stop_after.clear();
    for (Node* dependant : Dependants(*node)) {
      if (dependant->runs()) node->stop_after.insert(dependant);
    }
    if (node->stage == Stage::kStopping) {
      Guard(node->stop_grace + options_.stop_margin, &node->timer, [this, n = node.get()] { OnDeadline(*n); });
    }
  }
}

void Orchestrator::Destroy() {
  phase_ = Phase::kDestroying;
  ++destroys_;
  effects_.push_back({Verb::kDestroy, ""});
  Guard(options_.destroy_deadline, &scope_timer_, [this] {
    Event& note = journal_.Add(EventKind::kNote);
    note.message = absl::StrCat("teardown: the engine has not answered for ",
                                absl::FormatDuration(options_.destroy_deadline), "; trying again");
    Destroy();
  });
}

void Orchestrator::OnReleased(const EngineEvent& event) {
  if (phase_ != Phase::kDestroying) {
    OnScopeLost(event);
    return;
  }
  Cancel(&scope_timer_);
  if (!event.receipt.blockers.empty()) {
    if (blockers_ != event.receipt.blockers) {
      blockers_ = event.receipt.blockers;
      Event& note = journal_.Add(EventKind::kNote, event.when);
      note.cause = {CauseCode::kTeardownBlocked, "", "something is left of the environment"};
      note.cause.evidence = blockers_;
      note.message = absl::StrCat("teardown is blocked by ", absl::StrJoin(blockers_, "; "));
      if (record().cause.empty()) journal_.Change().cause = note.cause;
    }
    Guard(std::min(absl::Milliseconds(100) * (1 << std::min(destroys_, 8)), absl::Seconds(30)), &scope_timer_,
          [this] { Destroy(); });
    return;
  }
  for (const auto& node : nodes_) {
    Cancel(&node->timer);
    Cancel(&node->backoff_timer);
    Cancel(&node->expose_timer);
    if (node->state == NodeState::kReady || node->state == NodeState::kStarting) {
      SetState(*node, NodeState::kStopped, event.when);
    } else if (node->state == NodeState::kWaiting) {
      SetState(*node, NodeState::kStopped, event.when).message = "not started";
    }
  }
  journal_.RemoveAll();
  Event& receipt = journal_.Add(EventKind::kReceipt, event.when);
  receipt.receipt = event.receipt;
  ending_ = event.receipt.ending;
  // The next server asks for its end again.
  if (!ending_.empty()) journal_.Put("ending", record().scope, 1, "", true);
  EnvironmentRecord& record = journal_.Change();
  if (record.cause.code == CauseCode::kTeardownBlocked) record.cause = Cause();
  record.delete_time = host_.loop->Wall();
  SetEnvironmentState(EnvironmentState::kDeleted);
  phase_ = Phase::kGone;
}

void Orchestrator::OnScopeLost(const EngineEvent& event) {
  if (phase_ == Phase::kDestroying || scope_lost_) return;
  scope_lost_ = true;
  for (auto* nodes : {&nodes_, &leaving_}) {
    for (const auto& node : *nodes) {
      if (!node->live()) continue;
      EndAttempt(*node);
      node->stop_wanted = node->replace = false;
      if (node->state == NodeState::kReady || node->state == NodeState::kStarting) {
        SetState(*node, NodeState::kStopped, event.when);
      }
    }
  }
  if (phase_ == Phase::kStopping) {
    Destroy();
    return;
  }
  Cause cause = event.cause;
  cause.code = CauseCode::kScopeLost;
  if (cause.message.empty()) cause.message = "its place on the engine is gone";
  Break(std::move(cause));
}

void Orchestrator::SetExpiry(absl::Time expire_time) {
  journal_.Change().expire_time = expire_time;
  // What people see on the platform follows, labels that were changed before included.
  if (phase_ == Phase::kDriving && !scope_lost_) effects_.push_back({Verb::kCreateScope, ""});
  ArmExpiry();
  EndTurn();
}

void Orchestrator::ArmExpiry() {
  if (deleting() || record().expire_time == absl::InfiniteFuture()) return;
  // The wall clock may jump, so far-off times are looked at again now and then.
  const absl::Duration left = record().expire_time - host_.loop->Wall();
  Guard(std::min(left, absl::Hours(1)), &expiry_timer_, [this] {
    if (host_.loop->Wall() < record().expire_time) {
      ArmExpiry();
      return;
    }
    Delete(false, {CauseCode::kExpired, "", "its time to live has passed"});
  });
}

}  // namespace mayfly
