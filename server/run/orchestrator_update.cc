// Changes of the plan while the environment lives: updates in place, restarts, more tests; and what a former server
// left.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/run/orchestrator.h"
#include "server/run/start_order.h"

namespace mayfly {
namespace {

// Those of ports that the plan does not expose any more.
void ForgetEndpoints(Node& node) {
  const std::vector<Port>& ports = node.plan.process.ports;
  std::erase_if(node.endpoints, [&ports](const auto& endpoint) {
    return std::none_of(ports.begin(), ports.end(),
                        [&endpoint](const Port& port) { return port.expose && port.number == endpoint.first; });
  });
}

}  // namespace

// Rebuilds nodes_ and the graph from plan_. Nodes keep their state by name; those that the plan no longer has leave.
void Orchestrator::Relink() {
  std::map<std::string, std::unique_ptr<Node>> former;
  for (auto& node : nodes_) former[node->plan.name] = std::move(node);
  for (auto it = leaving_.begin(); it != leaving_.end();) {
    // It comes back before it was gone: stopped first, then started as the plan is now.
    if (plan_.Find((*it)->plan.name) < 0) {
      ++it;
      continue;
    }
    (*it)->replace = true;
    former[(*it)->plan.name] = std::move(*it);
    it = leaving_.erase(it);
  }
  nodes_.clear();
  by_name_.clear();
  const std::vector<double> ranks = StartOrder(plan_, options_.start_slots);
  for (const PlanNode& planned : plan_.nodes) {
    std::unique_ptr<Node> node = std::move(former[planned.name]);
    if (node == nullptr) {
      node = std::make_unique<Node>();
      const auto attempts = former_attempts_.find(planned.name);
      if (attempts != former_attempts_.end()) node->attempt = attempts->second + 1;
    }
    node->plan = planned;
    node->planned = Describe(planned, plan_);
    ForgetEndpoints(*node);
    node->rank = ranks[nodes_.size()];
    node->needs.clear();
    node->needed_by.clear();
    nodes_.push_back(std::move(node));
  }
  for (auto& node : nodes_) {
    for (const PlanEdge& edge : node->plan.needs) {
      Node* need = nodes_[edge.node].get();
      node->needs.push_back({need, edge.condition});
      need->needed_by.push_back(node.get());
    }
  }
  for (auto& [name, node] : former) {
    if (node == nullptr) continue;
    former_attempts_[name] = node->attempt;
    node->needs.clear();
    node->needed_by.clear();
    leaving_.push_back(std::move(node));
  }
  for (auto* nodes : {&nodes_, &leaving_}) {
    for (auto& node : *nodes) by_name_[node->plan.name] = node.get();
  }
}

absl::Status Orchestrator::Apply(Change change) {
  if (deleting()) return absl::FailedPreconditionError(absl::StrCat("'", record().name, "' is being torn down"));
  if (scope_lost_ || halted_) {
    return absl::FailedPreconditionError(
        absl::StrCat("'", record().name, "' cannot be changed any more: ", FormatCause(record().cause)));
  }
  // Who has to go, and after whom, is a question to the graph as it was.
  std::set<Node*> touched;
  std::set<std::string> tests = change.tests;
  for (auto& node : nodes_) {
    const int at = change.plan.Find(node->plan.name);
    // Until the verdict, the test jobs that were asked for stay part of it, and a skipped one gets another chance.
    const bool counts = node->is_test() && node->wanted && record().verdict == Verdict::kNone;
    if (counts) tests.insert(node->plan.name);
    const bool again = node->is_test()
                           ? change.tests.count(node->plan.name) > 0 || (counts && node->state == NodeState::kSkipped)
                           : change.restart.count(node->plan.name) > 0 || node->state == NodeState::kFailed ||
                                 node->state == NodeState::kSkipped || node->state == NodeState::kStopped;
    const bool changed = at >= 0 && change.plan.nodes[at].digest != node->plan.digest && !node->is_test();
    if (at < 0 || again || changed || node->replace) touched.insert(node.get());
  }
  for (Node* node : touched) {
    node->stop_after.clear();
    for (Node* dependant : Dependants(*node)) {
      if (touched.count(dependant) > 0 && dependant->live()) node->stop_after.insert(dependant);
    }
  }
  plan_ = std::move(change.plan);
  plan_known_ = true;
  request_ = change.request;
  if (change.source.has_value()) journal_.KeepSource(*std::move(change.source));
  {
    EnvironmentRecord& record = journal_.Change();
    // The id under which it was created stays what finds it.
    change.request.request_id = record.request.request_id;
    change.request.secrets.clear();
    change.request.images = record.request.images;  // What runs, or runs again, is what it was.
    record.request = std::move(change.request);
    record.cause = Cause();
    record.verdict = Verdict::kNone;
  }
  Relink();
  Event& planned = journal_.Add(EventKind::kPlanned);
  planned.attributes = {{"catalogue", plan_.catalogue}, {"plan_key", PlanKey(plan_)}};
  for (const auto& node : nodes_) planned.plan.push_back(node->planned);
  halted_ = activated_ = judged_ = settling_ = false;
  Cancel(&settle_timer_);
  SetEnvironmentState(EnvironmentState::kUpdating);
  for (auto& node : leaving_) node->stop_wanted = true;
  for (auto& node : nodes_) {
    if (node->is_test()) {
      node->wanted = tests.count(node->plan.name) > 0;
      if (!node->wanted) node->concluded = true;
    }
    if (touched.count(node.get()) == 0) continue;
    node->renewed = node->state == NodeState::kReady || node->state == NodeState::kSucceeded;
    const bool unused = node->state == NodeState::kSkipped && node->live() && !node->runs();
    if (unused && node->started_digest == node->plan.digest) {
      // Prepared as it is needed, and never started.
      node->concluded = false;
      node->cause = Cause();
      SetState(*node, NodeState::kWaiting, host_.loop->Monotonic());
    } else if (node->live()) {
      node->stop_wanted = node->replace = true;
      // Durable, so that a server that dies now does not forget the rest of what was asked for.
      journal_.Put("node", node->plan.name, node->attempt, "", true);
    } else {
      Reset(*node);
    }
  }
  EndTurn();
  return absl::OkStatus();
}

void Orchestrator::Adopt(Adoption adoption) {
  ArmExpiry();
  plan_known_ = adoption.plan_known;
  activated_ = adoption.past.activated;
  judged_ = adoption.past.judged;
  failed_once_ = adoption.past.failed;
  std::map<std::string, const ResourceRecord*> resources;
  for (const ResourceRecord& resource : adoption.resources) {
    journal_.Know(resource);
    if (resource.kind == "node") resources[resource.name] = &resource;
  }
  std::map<std::string, const FoundScope::Node*> found;
  if (adoption.scope != nullptr) {
    for (const FoundScope::Node& node : adoption.scope->nodes) found[node.node] = &node;
  }
  for (const auto& [name, past] : adoption.past.nodes) {
    if (Find(name) == nullptr) former_attempts_[name] = past.attempt;
  }
  for (const auto& [name, resource] : resources) {
    if (Find(name) == nullptr) former_attempts_[name] = std::max(former_attempts_[name], resource->attempt);
  }
  for (auto& node : nodes_) {
    const std::string& name = node->plan.name;
    const auto past = adoption.past.nodes.find(name);
    const auto resource = resources.find(name);
    const auto there = found.find(name);
    Adopt(*node, past == adoption.past.nodes.end() ? nullptr : &past->second,
          resource == resources.end() ? nullptr : resource->second, there == found.end() ? nullptr : there->second);
  }
  for (const auto& [name, there] : found) {
    if (Find(name) != nullptr || there->exited) continue;
    // A former plan had it; its end was asked for and is finished now.
    auto node = std::make_unique<Node>();
    node->plan.name = name;
    node->attempt = there->attempt;
    node->stage = there->running ? Stage::kRunning : Stage::kPrepared;
    node->state = there->running ? NodeState::kReady : NodeState::kWaiting;
    node->stop_wanted = true;
    node->stop_grace = StopPolicy().grace;
    former_attempts_[name] = std::max(former_attempts_[name], node->attempt);
    by_name_[name] = node.get();
    leaving_.push_back(std::move(node));
  }
  if (record().delete_requested || record().state == EnvironmentState::kDeleting) {
    halted_ = true;
    Destroy();
  } else if (!adoption.broken.empty()) {
    phase_ = Phase::kDriving;
    scope_lost_ = adoption.scope == nullptr;
    if (record().state != EnvironmentState::kFailed) Break(std::move(adoption.broken));
  } else if (adoption.scope == nullptr) {
    // Nothing was started yet, so it can be begun again under the same name.
    Start();
    return;
  } else if (!adoption.scope->nodes.empty() || adoption.past.activated) {
    phase_ = Phase::kDriving;
    // The former server may not have come to telling the platform what changed last.
    effects_.push_back({Verb::kCreateScope, ""});
  } else {
    // Its kScopeReady may have been told to the former server only.
    journal_.Put("scope", record().scope, 1, "", false);
    effects_.push_back({Verb::kCreateScope, ""});
    Guard(options_.engine_deadline, &scope_timer_, [this] {
      Break({CauseCode::kEngineUnavailable, "", "the engine does not answer for the environment's place"});
    });
  }
  EndTurn();
}

void Orchestrator::Adopt(Node& node, const NodePast* past, const ResourceRecord* resource,
                         const FoundScope::Node* found) {
  const absl::Duration now = host_.loop->Monotonic();
  node.stop_grace = node.plan.process.stop.grace;
  // The intent of an attempt may be newer than its first event; then what the events tell is of a former one.
  if (past != nullptr && (resource == nullptr || resource->attempt <= past->attempt)) {
    node.state = past->state;
    node.attempt = std::max(past->attempt, 1);
    node.tries = past->tries;
    node.restarts = past->restarts;
    node.cause = past->cause;
    node.usage = past->usage;
    node.endpoints = past->endpoints;
    // A plan that only the events tell of has no ports.
    if (!node.plan.process.ports.empty()) ForgetEndpoints(node);
    node.start_time = past->start_time;
    if (past->launched >= absl::ZeroDuration()) node.launched = journal_.Moment(past->launched);
    if (past->decided >= absl::ZeroDuration()) node.decided = journal_.Moment(past->decided);
    if (past->broke >= absl::ZeroDuration()) node.broke = journal_.Moment(past->broke);
    node.concluded = past->concluded || past->state == NodeState::kSkipped;
  }
  if (resource != nullptr) {
    node.started_digest = resource->digest;
    node.intended = resource->attempt;
    node.attempt = std::max(node.attempt, resource->attempt);
  }
  if (found != nullptr && found->attempt == node.attempt) {
    node.stage = found->exited ? Stage::kEnded : found->running ? Stage::kRunning : Stage::kPrepared;
  } else if (found != nullptr && !found->exited) {
    node.attempt = found->attempt;
    node.stage = found->running ? Stage::kRunning : Stage::kPrepared;
  }
  if (record().delete_requested) return;
  const bool undecided = node.state == NodeState::kStarting || node.state == NodeState::kReady;
  if (node.is_test() && node.state == NodeState::kStopped) node.concluded = true, node.wanted = false;
  if (node.is_test() && (node.state == NodeState::kSucceeded || node.state == NodeState::kFailed) && !node.concluded) {
    // It ended, but what it left was not looked at.
    if (node.stage == Stage::kEnded)
      Collect(node, true);
    else
      ConcludeTest(node, absl::OkStatus(), absl::NotFoundError(""));
    return;
  }
  if (node.live() && plan_known_ && node.plan.digest != node.started_digest && !node.is_test()) {
    node.stop_wanted = node.replace = true;
    return;
  }
  if (undecided && !node.live() && plan_known_ && node.plan.digest != node.started_digest && !node.is_test()) {
    // It was stopped to be replaced, and has ended meanwhile.
    node.stage = Stage::kEnded;
    Reset(node);
    return;
  }
  if (node.state == NodeState::kFailed && node.live()) node.stop_wanted = true;
  if (node.state == NodeState::kWaiting && node.stage == Stage::kRunning) {
    // Launched, and the former server died before it could say so: impossible while intents come first.
    node.stop_wanted = node.replace = true;
    return;
  }
  if (node.state == NodeState::kWaiting && node.stage == Stage::kEnded) {
    ++node.attempt;
    node.stage = Stage::kAbsent;
  }
  if (node.state == NodeState::kWaiting && node.stage == Stage::kPrepared && plan_known_) {
    // Perhaps only half; repeating the call tells.
    node.stage = Stage::kPreparing;
    effects_.push_back({Verb::kPrepare, node.plan.name, node.attempt});
    Guard(options_.prepare_deadline, &node.timer, [this, n = &node] { OnDeadline(*n); });
  }
  if (!undecided) return;
  if (node.stage == Stage::kPrepared || node.stage == Stage::kAbsent) {
    if (node.state == NodeState::kStarting && node.stage == Stage::kPrepared && !NeedsMet(node)) {
      WaitAgain(node);
      return;
    }
    if (node.state == NodeState::kStarting && node.stage == Stage::kPrepared) {
      // The intent to launch is durable, the launch did not happen: it happens now.
      node.stage = Stage::kStarting;
    } else {
      node.stage = Stage::kEnded;
      Fail(node, {CauseCode::kScopeLost, node.plan.name, "it vanished while the server was down"}, now);
      return;
    }
  }
  if (node.stage == Stage::kEnded) node.stage = Stage::kRunning;  // Until its end is told again.
  if (node.stage == Stage::kRunning && node.state == NodeState::kStarting) node.stage = Stage::kStarting;
  node.has_slot = node.state == NodeState::kStarting;
  // Repeating Start repeats its final event, with what the former server may have heard last.
  effects_.push_back({Verb::kStart, node.plan.name, node.attempt});
  if (node.state != NodeState::kStarting) return;
  const absl::Duration left = node.launched + node.plan.process.probe.within - now;
  Guard(std::max(left, absl::Seconds(1)), &node.timer, [this, n = &node] { OnDeadline(*n); });
}

}  // namespace mayfly
