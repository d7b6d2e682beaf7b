// Who is prepared, who starts when slots are few, and who never will.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/run/orchestrator.h"

namespace mayfly {

void Orchestrator::SkipHopeless() {
  // In the plan's order, so that one pass reaches everything behind a failure.
  for (const auto& node : nodes_) {
    if (node->state != NodeState::kWaiting || node->stop_wanted || !node->wanted) continue;
    const Node* need = HopelessNeed(*node);
    if (need == nullptr) continue;
    node->has_slot = false;
    Cancel(&node->backoff_timer);
    Cancel(&node->expose_timer);
    const Node* root = Find(RootOf(*need));
    node->cause = {CauseCode::kDependencyFailed, RootOf(*need)};
    node->cause.message = absl::StrCat("needs ", need->plan.name);
    if (root != nullptr) {
      absl::StrAppend(&node->cause.message, root == need ? ": " : absl::StrCat(", which needs ", root->plan.name, ": "),
                      root->cause.message);
    }
    node->decided = host_.loop->Monotonic();
    node->concluded = true;
    SetState(*node, NodeState::kSkipped, node->decided);
  }
}

void Orchestrator::PrepareMore() {
  if (halted_ || !plan_known_) return;
  int under_way = 0;
  for (const auto& node : nodes_) under_way += node->stage == Stage::kPreparing;
  for (const auto& node : nodes_) {
    if (node->state != NodeState::kWaiting || node->stage != Stage::kAbsent || node->stop_wanted || !node->wanted)
      continue;
    // All intents go into one write; the calls follow as the window allows.
    if (std::exchange(node->intended, node->attempt) != node->attempt) {
      journal_.Put("node", node->plan.name, node->attempt, node->plan.digest, false);
    }
    if (under_way >= options_.prepare_window) continue;
    ++under_way;
    node->stage = Stage::kPreparing;
    node->started_digest = node->plan.digest;
    node->stop_grace = node->plan.process.stop.grace;
    effects_.push_back({Verb::kPrepare, node->plan.name, node->attempt});
    Guard(options_.prepare_deadline, &node->timer, [this, n = node.get()] { OnDeadline(*n); });
  }
}

int Orchestrator::FreeSlots(bool tests) const {
  const int limit = tests ? options_.test_slots : options_.start_slots;
  if (limit <= 0) return static_cast<int>(nodes_.size());
  int taken = 0;
  for (auto* nodes : {&nodes_, &leaving_}) {
    for (const auto& node : *nodes) taken += node->has_slot && node->is_test() == tests;
  }
  return limit - taken;
}

void Orchestrator::StartReady() {
  if (halted_ || !plan_known_) return;
  const bool broken = RootCause(nodes_) != nullptr;
  const bool renewing = std::any_of(nodes_.begin(), nodes_.end(), [](const auto& n) { return n->renewed; });
  std::vector<Node*> ready;
  for (const auto& node : nodes_) {
    if (node->state != NodeState::kWaiting || node->stop_wanted || node->backing_off || !node->wanted) continue;
    const bool may = NeedsMet(*node) && !(node->is_test() && broken) && (!renewing || AncestorsSteady(*node));
    if (!may) node->has_slot = false;
    if (may && !node->has_slot) ready.push_back(node.get());
  }
  std::stable_sort(ready.begin(), ready.end(), [](const Node* a, const Node* b) { return a->rank > b->rank; });
  int free[2] = {FreeSlots(false), FreeSlots(true)};
  for (Node* node : ready) {
    int& left = free[node->is_test()];
    if (left <= 0) continue;
    --left;
    // Taken before it is prepared, so that one of lower priority does not slip in.
    node->has_slot = true;
  }
  for (const auto& node : nodes_) {
    if (node->has_slot && node->state == NodeState::kWaiting && node->stage == Stage::kPrepared) Launch(*node);
  }
}

void Orchestrator::Launch(Node& node) {
  node.launched = host_.loop->Monotonic();
  node.stage = Stage::kStarting;
  if (node.is_test()) ++node.tries;
  SetState(node, NodeState::kStarting, node.launched).attributes["phase"] = "launch";
  effects_.push_back({Verb::kStart, node.plan.name, node.attempt});
  Guard(node.plan.process.probe.within, &node.timer, [this, n = &node] { OnDeadline(*n); });
}

}  // namespace mayfly
