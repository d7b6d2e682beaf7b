#include "tests/support/fake_world.h"

#include <csignal>
#include <utility>

#include "absl/strings/str_cat.h"

namespace mayfly {

void FakeWorld::FailVerb(const std::string& verb, const std::string& node, absl::Status status, int times) {
  failures_.push_back({verb, node, std::move(status), times});
}

absl::Status FakeWorld::Check(const std::string& verb, const std::string& name) {
  if (!fuse.Step()) return absl::UnavailableError("the server is dead");
  for (Failure& failure : failures_) {
    if (failure.verb != verb || (!failure.name.empty() && failure.name != name) || failure.times <= 0) continue;
    --failure.times;
    return failure.status;
  }
  return absl::OkStatus();
}

FakeWorld::Node* FakeWorld::Find(const NodeRef& ref) {
  const auto scope = scopes_.find(ref.scope);
  if (scope == scopes_.end() || scope->second.destroyed) return nullptr;
  const auto node = scope->second.nodes.find(ref.node);
  return node == scope->second.nodes.end() ? nullptr : &node->second;
}

void FakeWorld::Emit(EngineEvent event) {
  event.when = loop_->Monotonic();
  if (sink_ != nullptr && !fuse.blown()) {
    sink_->OnEngineEvent(event);
    return;
  }
  const auto scope = scopes_.find(event.node.scope);
  if (scope != scopes_.end()) scope->second.unheard.push_back(std::move(event));
}

// Nothing is left to happen to a node that was replaced or destroyed meanwhile.
void FakeWorld::Later(Node& node, absl::Duration delay, std::function<void(Node&)> fn) {
  if (delay == absl::InfiniteDuration()) return;
  node.timers.push_back(loop_->PostAfter(delay, [this, ref = node.ref, fn = std::move(fn)] {
    Node* found = Find(ref);
    if (found != nullptr && found->ref.attempt == ref.attempt && found->stage != Node::Stage::kEnded) fn(*found);
  }));
}

void FakeWorld::Record(FakeHistory::Kind kind, const NodeRef& node, int exit_code, int signal, bool stopped) {
  history_.push_back({kind, node, loop_->Monotonic(), exit_code, signal, stopped});
}

void FakeWorld::Tell(Node& node, EngineEvent::Kind kind) {
  EngineEvent event;
  event.kind = kind;
  event.node = node.ref;
  node.last = event;
  Emit(std::move(event));
}

void FakeWorld::Launch(Node& node) {
  node.stage = Node::Stage::kStarting;
  Later(node, node.run.launch, [this](Node& n) {
    if (n.run.start_failure.empty()) {
      Run(n);
      return;
    }
    n.stage = Node::Stage::kEnded;
    Record(FakeHistory::Kind::kStartFailed, n.ref);
    EngineEvent event;
    event.kind = EngineEvent::Kind::kStartFailed;
    event.node = n.ref;
    event.cause = n.run.start_failure;
    n.last = event;
    Emit(event);
  });
}

void FakeWorld::Run(Node& node) {
  node.stage = Node::Stage::kRunning;
  node.started = loop_->Monotonic();
  Record(FakeHistory::Kind::kStarted, node.ref);
  Tell(node, EngineEvent::Kind::kStarted);
  const std::string log_dir = scopes_[node.ref.scope].spec.log_dir;
  for (const auto& [at, line] : node.run.lines) {
    Later(node, at, [this, log_dir, line = line](Node& n) {
      LogLine stamped = line;
      stamped.time = loop_->Wall();
      logs_[{log_dir, n.ref.node}].push_back(std::move(stamped));
    });
  }
  if (!node.one_shot) {
    Later(node, node.run.ready, [this](Node& n) {
      n.ready = true;
      Record(FakeHistory::Kind::kReady, n.ref);
      Tell(n, EngineEvent::Kind::kReady);
    });
    if (!node.run.probe_cause.empty()) {
      Later(node, absl::Seconds(1), [this](Node& n) {
        if (n.ready) return;
        EngineEvent event;
        event.kind = EngineEvent::Kind::kProbe;
        event.node = n.ref;
        event.cause = n.run.probe_cause;
        event.message = n.run.probe_cause.message;
        Emit(event);
      });
    }
  }
  Later(node, node.run.end, [this](Node& n) { End(n, n.run.exit_code, n.run.signal, false); });
}

void FakeWorld::End(Node& node, int exit_code, int signal, bool stopped) {
  const bool ran = node.stage == Node::Stage::kRunning;
  for (const TimerId timer : node.timers) loop_->Cancel(timer);
  node.timers.clear();
  node.stage = Node::Stage::kEnded;
  node.ready = false;
  if (ran)
    Record(FakeHistory::Kind::kEnded, node.ref, exit_code, signal, stopped);
  else
    Record(FakeHistory::Kind::kStartFailed, node.ref);
  EngineEvent event;
  event.kind = EngineEvent::Kind::kExited;
  event.node = node.ref;
  event.exit_code = exit_code;
  event.signal = signal;
  event.stopped = stopped;
  if (ran) event.usage = {absl::Milliseconds(1), 1 << 20};
  if (!stopped && (exit_code != 0 || signal != 0)) {
    event.cause = node.run.end_cause;
    if (event.cause.empty()) {
      event.cause.code = signal != 0 ? CauseCode::kSignaled : CauseCode::kExited;
      event.cause.message =
          signal != 0 ? absl::StrCat("ended by signal ", signal) : absl::StrCat("exited with code ", exit_code);
    }
    event.cause.node = node.ref.node;
  }
  node.last = event;
  Emit(event);
}

void FakeWorld::Release(const std::string& id, bool blocked) {
  EngineEvent event;
  event.kind = EngineEvent::Kind::kScopeReleased;
  event.node.scope = id;
  const auto scope = scopes_.find(id);
  if (scope != scopes_.end()) event.receipt = scope->second.receipt;
  if (blocked) {
    event.receipt.blockers.push_back("pid 4711 (stuck) does not end");
    Emit(event);
    return;
  }
  Record(FakeHistory::Kind::kScopeReleased, event.node);
  if (!ending.empty() && scope != scopes_.end()) {
    scope->second.released = true;
    event.receipt.ending = ending;
    Emit(event);
    return;
  }
  // What nobody heard of a scope that is gone is gone with it.
  scopes_.erase(id);
  Emit(event);
  event.kind = EngineEvent::Kind::kScopeGone;
  Emit(event);
}

void FakeWorld::Hold(const std::string& scope, std::vector<std::string> blockers) {
  EngineEvent event;
  event.kind = EngineEvent::Kind::kScopeHeld;
  event.node.scope = scope;
  event.receipt.ending = ending;
  event.receipt.blockers = std::move(blockers);
  Emit(event);
}

void FakeWorld::Forget(const std::string& scope) {
  scopes_.erase(scope);
  EngineEvent event;
  event.kind = EngineEvent::Kind::kScopeGone;
  event.node.scope = scope;
  Emit(event);
}

void FakeWorld::Crash(const std::string& scope, const std::string& node, int exit_code, int signal) {
  Node* found = Find({scope, node});
  if (found != nullptr && found->stage == Node::Stage::kRunning) End(*found, exit_code, signal, false);
}

void FakeWorld::LoseScope(const std::string& id) {
  const auto scope = scopes_.find(id);
  if (scope == scopes_.end()) return;
  for (auto& [name, node] : scope->second.nodes) {
    for (const TimerId timer : node.timers) loop_->Cancel(timer);
    if (node.stage == Node::Stage::kRunning) Record(FakeHistory::Kind::kEnded, node.ref, 0, SIGKILL, false);
  }
  EngineEvent event;
  event.kind = EngineEvent::Kind::kScopeLost;
  event.node.scope = id;
  event.cause = {CauseCode::kScopeLost, "", "its init was killed"};
  scopes_.erase(scope);
  Emit(event);
}

int FakeWorld::CountStarted(const std::string& node) const {
  int count = 0;
  for (const FakeHistory& entry : history_) {
    count += entry.kind == FakeHistory::Kind::kStarted && entry.node.node == node;
  }
  return count;
}

int FakeWorld::running() const {
  int count = 0;
  for (const auto& [id, scope] : scopes_) {
    for (const auto& [name, node] : scope.nodes) count += node.stage == Node::Stage::kRunning;
  }
  return count;
}

std::vector<LogLine> FakeWorld::LogOf(const std::string& log_dir, const std::string& node) const {
  const auto found = logs_.find({log_dir, node});
  return found == logs_.end() ? std::vector<LogLine>() : found->second;
}

}  // namespace mayfly
