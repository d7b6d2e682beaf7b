// Turns: how events, timers and requests become one durable batch and the engine calls after it.
#include "server/run/orchestrator.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace mayfly {
namespace {

constexpr absl::Duration kRetry = absl::Milliseconds(100);

CauseCode CodeFor(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kDeadlineExceeded:
      return CauseCode::kEngineUnavailable;
    case absl::StatusCode::kResourceExhausted:
      return CauseCode::kHostLimit;
    case absl::StatusCode::kNotFound:
      return CauseCode::kScopeLost;
    case absl::StatusCode::kUnimplemented:
      return CauseCode::kUnsupported;
    default:
      return CauseCode::kStartFailed;
  }
}

}  // namespace

Orchestrator::Orchestrator(Host host, Options options, Journal journal, Plan plan)
    : host_(std::move(host)), options_(std::move(options)), journal_(std::move(journal)), plan_(std::move(plan)) {
  request_ = journal_.record().request;
  Relink();
}

Orchestrator::~Orchestrator() {
  for (TimerId* timer : {&scope_timer_, &scope_retry_timer_, &settle_timer_, &expiry_timer_, &commit_timer_})
    Cancel(timer);
  for (auto* nodes : {&nodes_, &leaving_}) {
    for (auto& node : *nodes) {
      Cancel(&node->timer);
      Cancel(&node->backoff_timer);
      Cancel(&node->expose_timer);
    }
  }
}

// After `delay`, `fn` is one turn. A timer that is set already starts anew.
void Orchestrator::Guard(absl::Duration delay, TimerId* timer, std::function<void()> fn) {
  Cancel(timer);
  if (delay == absl::InfiniteDuration()) return;
  *timer = host_.loop->PostAfter(delay, [this, timer, fn = std::move(fn)] {
    *timer = 0;
    fn();
    EndTurn();
  });
}

void Orchestrator::Cancel(TimerId* timer) {
  if (*timer != 0) host_.loop->Cancel(*timer);
  *timer = 0;
}

Node* Orchestrator::Find(const std::string& name) const {
  const auto it = by_name_.find(name);
  return it == by_name_.end() ? nullptr : it->second;
}

void Orchestrator::Start() {
  ArmExpiry();
  journal_.Put("scope", record().scope, 1, "", false);
  effects_.push_back({Verb::kCreateScope, ""});
  Guard(options_.engine_deadline, &scope_timer_, [this] {
    Break({CauseCode::kEngineUnavailable, "",
           absl::StrCat("the engine did not make the environment's place within ",
                        absl::FormatDuration(options_.engine_deadline))});
  });
  EndTurn();
}

void Orchestrator::OnEngineEvent(const EngineEvent& event) {
  using Kind = EngineEvent::Kind;
  if (phase_ == Phase::kGone) {
    if (event.kind == Kind::kScopeHeld || event.kind == Kind::kScopeGone) late_.push_back(event);
    return;
  }
  switch (event.kind) {
    case Kind::kScopeReady:
      if (phase_ != Phase::kScope) return;
      phase_ = Phase::kDriving;
      Cancel(&scope_timer_);
      for (const auto& [name, node] : by_name_) node->message.clear();
      journal_.Put("scope", record().scope, 1, "", true);
      return;
    case Kind::kProbe:
      if (!event.node.node.empty() || phase_ != Phase::kScope) break;
      // It waits for a place; the engine itself ends that.
      Cancel(&scope_timer_);
      for (const auto& [name, node] : by_name_) node->message = event.message;
      Remark(event.message);
      return;
    case Kind::kScopeFailed:
      if (phase_ == Phase::kScope) Break(event.cause);
      return;
    case Kind::kScopeLost:
      OnScopeLost(event);
      return;
    case Kind::kScopeReleased:
      OnReleased(event);
      return;
    case Kind::kScopeHeld:
    case Kind::kScopeGone:
      return;
    default:
      break;
  }
  Node* node = Find(event.node.node);
  // A late event of an attempt that was given up concerns nobody.
  if (node != nullptr && node->attempt == event.node.attempt) OnNodeEvent(*node, event);
}

void Orchestrator::EndTurn() {
  bool committed = false;
  while (true) {
    Decide();
    committed |= !journal_.empty();
    if (!Commit()) return;
    if (effects_.empty()) break;
    RunEffects();
  }
  if (committed) host_.changed(*this);
  if (phase_ == Phase::kGone && !std::exchange(told_done_, true)) host_.done(*this);
}

void Orchestrator::Decide() {
  if (phase_ == Phase::kDriving) {
    SkipHopeless();
    StopWanted();
    PrepareMore();
    StartReady();
    Judge();
  } else if (phase_ == Phase::kStopping) {
    StopWanted();
    const bool all_ended = std::none_of(nodes_.begin(), nodes_.end(), [](const auto& n) { return n->runs(); });
    if (all_ended && leaving_.empty()) Destroy();
  }
}

bool Orchestrator::Commit() {
  const absl::Status status = journal_.Commit();
  if (status.ok()) {
    failed_commits_ = 0;
    return true;
  }
  // Nothing new is begun without a durable intent, but an end must not wait for a disk that is full.
  std::vector<Effect> waiting;
  for (Effect& effect : std::exchange(effects_, {})) {
    if (effect.verb == Verb::kDestroy)
      Call(effect).IgnoreError();
    else
      waiting.push_back(std::move(effect));
  }
  effects_ = std::move(waiting);
  if (failed_commits_++ == 0) {
    trouble_since_ = host_.loop->Monotonic();
    if (host_.dependencies->warn) {
      host_.dependencies->warn(absl::StrCat("cannot write what happens to '", record().name, "': ", status.message()));
    }
  }
  const bool give_up = host_.loop->Monotonic() - trouble_since_ > options_.engine_deadline && !deleting() && !halted_;
  if (give_up) {
    effects_.clear();
    Break({CauseCode::kHostLimit, "", absl::StrCat("the server cannot write its records: ", status.message())});
  }
  Guard(std::min(kRetry * (1 << std::min(failed_commits_, 6)), absl::Seconds(5)), &commit_timer_, [] {});
  return false;
}

void Orchestrator::RunEffects() {
  for (const Effect& effect : std::exchange(effects_, {})) {
    if (absl::Status status = Call(effect); !status.ok()) OnRefused(effect, status);
  }
}

absl::Status Orchestrator::Call(const Effect& effect) {
  Engine& engine = *host_.dependencies->engine;
  const std::string& scope = record().scope;
  if (effect.verb == Verb::kDestroy) return engine.Destroy(scope);
  if (effect.verb == Verb::kCreateScope) {
    return engine.CreateScope({.id = scope,
                               .environment = record().name,
                               .owner = record().request.owner,
                               .log_dir = options_.log_dir,
                               .source_root = plan_.root,
                               .expected_nodes = static_cast<int>(nodes_.size()),
                               .expires = record().expire_time,
                               .labels = record().request.labels,
                               .images = Images()});
  }
  Node* node = Find(effect.node);
  if (node == nullptr || node->attempt != effect.attempt) return absl::OkStatus();
  const NodeRef ref = {scope, effect.node, effect.attempt};
  switch (effect.verb) {
    case Verb::kPrepare:
      return engine.Prepare(ref, node->plan.process);
    case Verb::kStart:
      return engine.Start(ref, node->one_shot());
    case Verb::kStop:
      return engine.Stop(ref);
    default:
      return engine.Expose(ref, effect.port.number, effect.port.host_port);
  }
}

// Of all nodes, so that they can be looked up while the place is made.
std::map<std::string, std::string> Orchestrator::Images() const {
  std::map<std::string, std::string> images = record().request.images;
  for (const auto& node : nodes_) {
    if (!node->plan.process.image.empty()) images.try_emplace(node->plan.process.image);
    for (const Sidecar& sidecar : node->plan.process.sidecars) images.try_emplace(sidecar.image);
  }
  return images;
}

void Orchestrator::OnRefused(const Effect& effect, const absl::Status& status) {
  if (effect.verb == Verb::kDestroy) {
    Guard(std::min(kRetry * (1 << std::min(destroys_, 8)), options_.destroy_deadline), &scope_timer_,
          [this] { Destroy(); });
    return;
  }
  // A process that an engine in trouble could not stop is still there.
  const bool stopped =
      status.code() == absl::StatusCode::kNotFound || status.code() == absl::StatusCode::kFailedPrecondition;
  const bool again = status.code() == absl::StatusCode::kUnavailable || (effect.verb == Verb::kStop && !stopped);
  if (effect.verb == Verb::kCreateScope) {
    if (phase_ != Phase::kScope) return;
    if (!again) {
      Break({CodeFor(status), "", std::string(status.message())});
      return;
    }
    // The deadline of Start() ends this.
    Guard(kRetry, &scope_retry_timer_, [this] {
      if (phase_ == Phase::kScope) effects_.push_back({Verb::kCreateScope, ""});
    });
    return;
  }
  Node* node = Find(effect.node);
  if (node == nullptr || node->attempt != effect.attempt || !node->live()) return;
  if (again && effect.verb == Verb::kExpose) {
    // All of its ports that are missing by then.
    Guard(kRetry, &node->expose_timer, [this, name = effect.node, attempt = effect.attempt] {
      const Node* now = Find(name);
      if (now == nullptr || now->attempt != attempt) return;
      for (const Port& port : now->plan.process.ports) {
        if (now->exposing.count(port.number) > 0) effects_.push_back({Verb::kExpose, name, attempt, port});
      }
    });
    return;
  }
  if (again) {
    Guard(kRetry, &node->backoff_timer, [this, effect, stage = node->stage] {
      Node* now = Find(effect.node);
      if (now == nullptr || now->attempt != effect.attempt) return;
      if (effect.verb == Verb::kStart && now->stage == stage && !NeedsMet(*now)) {
        WaitAgain(*now);
        return;
      }
      if (now->stage == stage) effects_.push_back(effect);
    });
    return;
  }
  if (effect.verb == Verb::kStop) {
    // There is nothing that could be stopped.
    EngineEvent ended;
    ended.kind = EngineEvent::Kind::kExited;
    ended.node = {record().scope, effect.node, effect.attempt};
    ended.when = host_.loop->Monotonic();
    ended.stopped = true;
    OnEnded(*node, ended);
    return;
  }
  Cause cause = {CodeFor(status), node->plan.name, std::string(status.message())};
  if (effect.verb == Verb::kExpose && status.code() == absl::StatusCode::kAlreadyExists) {
    cause.code = CauseCode::kPortTaken;
  }
  if (effect.verb == Verb::kPrepare) EndAttempt(*node);
  Fail(*node, std::move(cause), host_.loop->Monotonic());
}

void Orchestrator::SetEnvironmentState(EnvironmentState state) {
  if (record().state == state) return;
  journal_.Change().state = state;
  Event& event = journal_.Add(EventKind::kState);
  event.environment_state = state;
  if (state == EnvironmentState::kFailed) event.cause = record().cause;
}

EnvironmentView Orchestrator::View() const {
  EnvironmentView view;
  view.record = record();
  view.catalogue = plan_.catalogue;
  view.last_sequence = journal_.committed_sequence();
  view.ending = ending_;
  if (ending_.empty()) view.gone_time = record().delete_time;
  view.nodes.reserve(nodes_.size());
  for (const auto& node : nodes_) {
    NodeView& out = view.nodes.emplace_back();
    out.planned = node->planned;
    out.state = node->state;
    out.attempt = node->launched == -absl::InfiniteDuration() ? 0 : node->attempt;
    out.start_time = node->start_time;
    out.usage = node->usage;
    out.cause = node->cause;
    out.message = node->message;
    out.endpoints = node->endpoints;
  }
  return view;
}

}  // namespace mayfly
