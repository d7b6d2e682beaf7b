// What becomes of single nodes once they are under way: ready, ended, failed, started again, stopped.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "mayfly/base/text.h"
#include "server/run/orchestrator.h"

namespace mayfly {
namespace {

constexpr int kProbeNotes = 20;  // Per attempt: a probe that flaps must not fill the log.

std::string EndText(const EngineEvent& event, absl::Duration launched) {
  std::string text = event.signal != 0 ? absl::StrCat("ended by signal ", event.signal)
                                       : absl::StrCat("exited with code ", event.exit_code);
  if (launched != -absl::InfiniteDuration()) {
    absl::StrAppend(&text, " after ", HumanDuration(std::max(event.when - launched, absl::ZeroDuration())));
  }
  return text;
}

}  // namespace

void Orchestrator::OnNodeEvent(Node& node, const EngineEvent& event) {
  using Kind = EngineEvent::Kind;
  if (node.stage == Stage::kEnded || node.stage == Stage::kAbsent) return;
  switch (event.kind) {
    case Kind::kPrepared:
      if (node.stage != Stage::kPreparing) return;
      node.stage = Stage::kPrepared;
      Cancel(&node.timer);
      for (const Port& port : node.plan.process.ports) {
        if (!port.expose) continue;
        node.exposing.insert(port.number);
        journal_.Put("port", absl::StrCat(node.plan.name, ":", port.number), node.attempt, "", false);
        effects_.push_back({Verb::kExpose, node.plan.name, node.attempt, port});
      }
      return;
    case Kind::kImages:
      OnImages(node, event);
      return;
    case Kind::kStarted:
      OnRunning(node, event);
      return;
    case Kind::kReady:
      OnReady(node, event);
      return;
    case Kind::kProbe:
      node.probe = event.cause;
      if ((node.state != NodeState::kStarting && node.stage != Stage::kPreparing) || event.message == node.message) {
        return;
      }
      node.message = event.message;
      if (node.probe_notes++ < kProbeNotes) Note(node, event.message);
      return;
    case Kind::kStartFailed:
      EndAttempt(node);
      if (deleting()) return;
      Fail(node, event.cause, event.when);
      return;
    case Kind::kExited:
      OnEnded(node, event);
      return;
    case Kind::kExposed: {
      node.exposing.erase(event.port);
      if (event.address.empty()) {
        Note(node, event.message);
        return;
      }
      const std::string url =
          event.message.empty() ? EndpointUrl(node.plan.process, event.port, event.address) : event.message;
      node.endpoints[event.port] = {event.address, url};
      journal_.Put("port", absl::StrCat(node.plan.name, ":", event.port), node.attempt, "", true);
      Event& told = journal_.Add(EventKind::kExposed, event.when);
      told.node = node.plan.name;
      told.attempt = node.attempt;
      told.attributes = {{"port", absl::StrCat(event.port)}, {"address", event.address}, {"url", url}};
      return;
    }
    default:
      return;
  }
}

// What images stand for is part of the environment from here on, and of what is made in its likeness.
void Orchestrator::OnImages(Node& node, const EngineEvent& event) {
  Event& told = Note(node, event.message);
  for (const auto& [name, digest] : event.images) {
    told.attributes[absl::StrCat("image ", name)] = digest;
    const auto known = record().request.images.find(name);
    if (digest.empty() || (known != record().request.images.end() && known->second == digest)) continue;
    journal_.Change().request.images[name] = digest;
  }
}

void Orchestrator::OnRunning(Node& node, const EngineEvent& event) {
  if (node.stage != Stage::kStarting) return;
  node.stage = Stage::kRunning;
  Event& told = SetState(node, NodeState::kStarting, event.when);
  told.attributes["phase"] = "running";
  if (event.pid != 0) told.attributes["pid"] = absl::StrCat(event.pid);
  journal_.Put("node", node.plan.name, node.attempt, node.started_digest, true);
}

void Orchestrator::OnReady(Node& node, const EngineEvent& event) {
  if (node.one_shot() || node.state != NodeState::kStarting || node.stage == Stage::kStopping) return;
  OnRunning(node, event);
  Cancel(&node.timer);
  node.has_slot = false;
  node.decided = event.when;
  node.start_time = event.when - node.launched;
  node.message.clear();
  SetState(node, NodeState::kReady, event.when);
  journal_.Measure(plan_.catalogue, node.plan.name, node.start_time);
}

// Nothing more comes from the current attempt.
void Orchestrator::EndAttempt(Node& node) {
  Cancel(&node.timer);
  Cancel(&node.backoff_timer);
  Cancel(&node.expose_timer);
  node.stage = Stage::kEnded;
  node.has_slot = false;
  node.exposing.clear();
}

void Orchestrator::OnEnded(Node& node, const EngineEvent& event) {
  const bool asked = node.stage == Stage::kStopping || node.stop_wanted;
  EndAttempt(node);
  node.usage = event.usage;
  node.exit_code = event.exit_code;
  node.signal = event.signal;
  const bool final_state = node.state != NodeState::kReady && node.state != NodeState::kStarting;
  if (deleting()) {
    node.stop_wanted = false;
    if (final_state && node.state != NodeState::kWaiting) return;
    SetState(node, NodeState::kStopped, event.when);
    return;
  }
  if (node.is_test() && !(asked && !node.overdue)) {
    OnTestEnded(node, event);
    return;
  }
  if (asked) return;  // StopWanted goes on from here.
  if (node.one_shot() && event.exit_code == 0 && event.signal == 0) {
    node.decided = event.when;
    node.start_time = event.when - node.launched;
    SetState(node, NodeState::kSucceeded, event.when);
    journal_.Measure(plan_.catalogue, node.plan.name, node.start_time);
    return;
  }
  Cause cause = event.cause;
  if (cause.empty() || (node.one_shot() && cause.code == CauseCode::kExited)) {
    cause.code = event.signal != 0 ? CauseCode::kSignaled
                 : node.one_shot() ? CauseCode::kJobFailed
                                   : CauseCode::kExited;
    if (cause.message.empty()) cause.message = EndText(event, node.launched);
  }
  cause.node = node.plan.name;
  node.broke = event.when;
  if (RestartLater(node, cause)) return;
  Fail(node, std::move(cause), event.when);
}

void Orchestrator::OnDeadline(Node& node) {
  EngineEvent event;
  event.node = {record().scope, node.plan.name, node.attempt};
  event.when = host_.loop->Monotonic();
  event.stopped = true;
  if (node.stage == Stage::kStopping) {
    Note(node, "did not end in time after it was stopped");
    OnEnded(node, event);
    return;
  }
  Cause cause = {CauseCode::kDeadline, node.plan.name};
  if (node.stage == Stage::kPreparing || node.stage == Stage::kStarting) {
    cause.code = CauseCode::kEngineUnavailable;
    cause.message = absl::StrCat(
        "the engine did not ", node.stage == Stage::kPreparing ? "prepare" : "start", " it within ",
        HumanDuration(node.stage == Stage::kPreparing ? options_.prepare_deadline : node.plan.process.probe.within));
    // What it said last is why.
    if (!node.probe.empty()) cause = node.probe;
  } else if (node.is_test()) {
    node.overdue = true;
    node.stop_wanted = true;
    return;
  } else if (node.one_shot()) {
    cause.message = absl::StrCat("has not ended within ", HumanDuration(node.plan.process.probe.within));
  } else {
    const Probe& probe = node.plan.process.probe;
    if (!node.probe.empty()) cause = node.probe;
    cause.node = node.plan.name;
    if (cause.code == CauseCode::kDeadline && probe.port != 0) cause.code = CauseCode::kNeverListened;
    cause.message = absl::StrCat("not ready within ", HumanDuration(probe.within), cause.message.empty() ? "" : ": ",
                                 cause.message);
  }
  Fail(node, std::move(cause), event.when);
}

void Orchestrator::Fail(Node& node, Cause cause, absl::Duration when) {
  if (node.settled() && node.state != NodeState::kReady) return;
  cause.node = node.plan.name;
  if (cause.code == CauseCode::kNone) cause.code = CauseCode::kStartFailed;
  Cancel(&node.timer);
  node.has_slot = false;
  node.cause = std::move(cause);
  node.decided = node.broke = when;
  if (node.is_test()) {
    // It could not even be started: no try will change that.
    node.cause.message = absl::StrCat(InfoFor(node.cause.code).name, ": ", node.cause.message);
    node.cause.code = CauseCode::kTestBroken;
    node.collecting = false;
  }
  SetState(node, NodeState::kFailed, when);
  if (node.live()) node.stop_wanted = true;
  if (node.is_test())
    ConcludeTest(node, absl::OkStatus(), absl::NotFoundError(""));
  else
    AddEvidence(node);
}

// A service that ended is started again where its policy says so.
bool Orchestrator::RestartLater(Node& node, const Cause& cause) {
  if (node.one_shot() || node.plan.restart != RestartPolicy::kOnFailure || halted_ || !plan_known_) return false;
  if (node.restarts >= node.plan.max_restarts) return false;
  const absl::Duration wait = std::min(absl::Milliseconds(100) * (1 << std::min(node.restarts, 7)), absl::Seconds(10));
  ++node.restarts;
  Note(node, absl::StrCat(cause.message, "; restart ", node.restarts, " of ", node.plan.max_restarts, " in ",
                          HumanDuration(wait)));
  Again(node, "restart");
  node.backing_off = true;
  Guard(wait, &node.backoff_timer, [n = &node] { n->backing_off = false; });
  return true;
}

// Back to waiting, with the next attempt if one was used.
void Orchestrator::Again(Node& node, absl::string_view reason) {
  Cancel(&node.timer);
  Cancel(&node.backoff_timer);
  Cancel(&node.expose_timer);
  if (node.stage != Stage::kAbsent) ++node.attempt;
  node.stage = Stage::kAbsent;
  node.has_slot = node.backing_off = node.overdue = node.collecting = node.concluded = false;
  node.exposing.clear();
  node.stop_wanted = node.replace = false;
  node.stop_after.clear();
  node.probe = Cause();
  node.probe_notes = 0;
  Event& event = SetState(node, NodeState::kWaiting, host_.loop->Monotonic());
  if (!reason.empty()) event.attributes["reason"] = std::string(reason);
}

// Its Start was not taken by the engine, and what it needs is gone meanwhile.
void Orchestrator::WaitAgain(Node& node) {
  Cancel(&node.timer);
  node.stage = Stage::kPrepared;
  node.has_slot = false;
  if (node.is_test()) --node.tries;
  SetState(node, NodeState::kWaiting, host_.loop->Monotonic());
}

// A new beginning, because the plan changed or somebody asked.
void Orchestrator::Reset(Node& node) {
  node.restarts = node.tries = 0;
  node.cause = Cause();
  node.message.clear();
  Again(node, "");
}

void Orchestrator::StopWanted() {
  std::vector<Node*> all;
  for (const auto& node : nodes_) all.push_back(node.get());
  for (const auto& node : leaving_) all.push_back(node.get());
  // Waited for are those that are being stopped: not who has ended, even when it is started again meanwhile, nor who
  // was prepared, never started, and is kept as it is.
  for (Node* node : all) {
    for (auto it = node->stop_after.begin(); it != node->stop_after.end();) {
      it = (*it)->live() && (*it)->stop_wanted ? std::next(it) : node->stop_after.erase(it);
    }
  }
  for (Node* node : all) {
    if (!node->stop_wanted) continue;
    if (!node->live()) {
      node->stop_wanted = false;
      if (node->state == NodeState::kReady || node->state == NodeState::kStarting) {
        SetState(*node, NodeState::kStopped, host_.loop->Monotonic());
      }
      if (node->replace) Reset(*node);
      continue;
    }
    if (node->stage == Stage::kStopping) continue;
    if (!node->stop_after.empty()) continue;
    node->stage = Stage::kStopping;
    effects_.push_back({Verb::kStop, node->plan.name, node->attempt});
    Guard(node->stop_grace + options_.stop_margin, &node->timer, [this, node] { OnDeadline(*node); });
  }
  for (auto it = leaving_.begin(); it != leaving_.end();) {
    Node* node = it->get();
    if (node->live() || node->stop_wanted) {
      ++it;
      continue;
    }
    Cancel(&node->timer);
    Cancel(&node->backoff_timer);
    Cancel(&node->expose_timer);
    for (auto* nodes : {&nodes_, &leaving_}) {
      for (const auto& other : *nodes) other->stop_after.erase(node);
    }
    // Its resource stays recorded until the environment is gone: an attempt's number must not be used again, not even
    // by a later server.
    by_name_.erase(node->plan.name);
    it = leaving_.erase(it);
  }
}

Event& Orchestrator::SetState(Node& node, NodeState state, absl::Duration when) {
  node.state = state;
  if (state != NodeState::kWaiting && state != NodeState::kStarting && !node.replace) node.renewed = false;
  Event& event = journal_.Add(EventKind::kNode, when);
  event.node = node.plan.name;
  event.attempt = node.attempt;
  event.node_state = state;
  if (state == NodeState::kFailed || state == NodeState::kSkipped) event.cause = node.cause;
  if (node.stage == Stage::kEnded) {
    event.usage = node.usage;
    event.exit_code = node.exit_code;
    event.signal = node.signal;
  }
  return event;
}

Event& Orchestrator::Note(const Node& node, std::string message) {
  Event& event = journal_.Add(EventKind::kNote);
  event.node = node.plan.name;
  event.attempt = node.attempt;
  event.message = std::move(message);
  return event;
}

// The last lines that a failed node wrote join its cause, before the verdict is written.
void Orchestrator::AddEvidence(Node& node) {
  LogSource* logs = host_.dependencies->logs;
  if (logs == nullptr || !node.cause.evidence.empty()) return;
  const auto read = [logs, dir = options_.log_dir, name = node.plan.name] {
    std::vector<std::string> lines;
    for (int64_t offset = 0;;) {
      const absl::StatusOr<LogSource::Chunk> chunk = logs->ReadLog(dir, name, offset, 1 << 20);
      if (!chunk.ok()) break;
      for (const LogLine& line : chunk->lines) lines.push_back(line.text.substr(0, 500));
      if (lines.size() > 10) lines.erase(lines.begin(), lines.end() - 10);
      if (chunk->end || chunk->next_offset <= offset) break;
      offset = chunk->next_offset;
    }
    return lines;
  };
  host_.dependencies->worker([this, read, name = node.plan.name, attempt = node.attempt, loop = host_.loop,
                              alive = std::weak_ptr<bool>(alive_)] {
    loop->Post([this, alive, name, attempt, lines = read()] {
      if (alive.expired() || lines.empty()) return;
      Node* found = Find(name);
      if (found == nullptr || found->attempt != attempt || found->state != NodeState::kFailed) return;
      found->cause.evidence = lines;
      EndTurn();
    });
  });
}

}  // namespace mayfly
