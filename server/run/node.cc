#include "server/run/node.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace mayfly {
namespace {

bool Met(const Need& need) {
  const Node& node = *need.node;
  // An instance that is about to be replaced is of no use to those who start now.
  if (node.replace || node.stop_wanted) return false;
  if (node.state == NodeState::kSucceeded || node.state == NodeState::kReady) {
    return need.condition != Condition::kCompleted || node.state == NodeState::kSucceeded;
  }
  return need.condition == Condition::kStarted && node.state == NodeState::kStarting && node.stage == Stage::kRunning;
}

// Ancestors of `node`, each once.
std::set<const Node*> Ancestors(const Node& node) {
  std::set<const Node*> seen;
  std::vector<const Node*> todo = {&node};
  while (!todo.empty()) {
    const Node* next = todo.back();
    todo.pop_back();
    for (const Need& need : next->needs) {
      if (seen.insert(need.node).second) todo.push_back(need.node);
    }
  }
  return seen;
}

}  // namespace

bool NeedsMet(const Node& node) {
  return std::all_of(node.needs.begin(), node.needs.end(), Met);
}

bool AncestorsSteady(const Node& node) {
  const std::set<const Node*> ancestors = Ancestors(node);
  return std::none_of(ancestors.begin(), ancestors.end(), [](const Node* n) { return n->renewed; });
}

const Node* HopelessNeed(const Node& node) {
  const Node* first = nullptr;
  for (const Need& need : node.needs) {
    const Node* dep = need.node;
    if (dep->replace || (dep->state != NodeState::kFailed && dep->state != NodeState::kSkipped)) continue;
    if (first == nullptr || dep->decided < first->decided) first = dep;
  }
  return first;
}

const std::string& RootOf(const Node& node) {
  return node.state == NodeState::kSkipped ? node.cause.node : node.plan.name;
}

std::set<Node*> Dependants(const Node& node) {
  std::set<Node*> seen;
  std::vector<const Node*> todo = {&node};
  while (!todo.empty()) {
    const Node* next = todo.back();
    todo.pop_back();
    for (Node* dependant : next->needed_by) {
      if (seen.insert(dependant).second) todo.push_back(dependant);
    }
  }
  return seen;
}

bool HasFailedAncestor(const Node& node) {
  const std::set<const Node*> ancestors = Ancestors(node);
  return std::any_of(ancestors.begin(), ancestors.end(), [](const Node* n) { return n->state == NodeState::kFailed; });
}

Breakage LatestBreakage(const Node& node) {
  Breakage latest;
  for (const Node* ancestor : Ancestors(node)) {
    if (ancestor->broke > latest.when) latest = {ancestor, ancestor->broke};
  }
  return latest;
}

const Node* RootCause(const std::vector<std::unique_ptr<Node>>& nodes) {
  const Node* first = nullptr;
  for (const auto& node : nodes) {
    if (node->is_test() || node->replace || node->state != NodeState::kFailed) continue;
    if (first != nullptr && first->decided <= node->decided) continue;
    if (!HasFailedAncestor(*node)) first = node.get();
  }
  return first;
}

PlannedNode Describe(const PlanNode& node, const Plan& plan) {
  PlannedNode out;
  out.name = node.name;
  out.kind = node.kind;
  for (const PlanEdge& edge : node.needs) {
    std::string need = plan.nodes[edge.node].name;
    if (edge.condition == Condition::kStarted) need += ":started";
    if (edge.condition == Condition::kCompleted) need += ":completed";
    out.needs.push_back(std::move(need));
  }
  out.why = node.why;
  out.expected = node.expected;
  out.flaky = node.flaky;
  return out;
}

}  // namespace mayfly
