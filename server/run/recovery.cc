#include "server/run/recovery.h"

#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "mayfly/base/ids.h"

namespace mayfly {
namespace {

void FoldPlan(const Event& event, Fold& fold) {
  fold.plan = event.plan;
  const auto key = event.attributes.find("plan_key");
  if (key != event.attributes.end()) fold.plan_key = key->second;
  const auto catalogue = event.attributes.find("catalogue");
  if (catalogue != event.attributes.end()) fold.catalogue = catalogue->second;
  fold.activated = fold.judged = false;
}

void FoldNode(const Event& event, Fold& fold) {
  NodePast& node = fold.nodes[event.node];
  if (event.node_state == NodeState::kWaiting) {
    const NodePast before = std::exchange(node, NodePast());
    node.attempt = event.attempt;
    node.endpoints = before.endpoints;
    node.broke = before.broke;
    // A further try or a restart by policy is counted; what was asked for anew begins anew.
    const auto reason = event.attributes.find("reason");
    if (reason == event.attributes.end()) return;
    node.tries = before.tries;
    node.restarts = before.restarts + (reason->second == "restart");
    if (reason->second == "restart") node.broke = event.offset;
    return;
  }
  node.state = event.node_state;
  node.attempt = event.attempt;
  node.cause = event.cause;
  node.message = event.message;
  if (event.usage.peak_memory_bytes >= 0) node.usage = event.usage;
  if (event.node_state == NodeState::kStarting) {
    const auto phase = event.attributes.find("phase");
    if (phase != event.attributes.end() && phase->second == "launch") {
      fold.started_anything = true;
      node.launched = event.offset;
      node.concluded = false;
      ++node.tries;
    }
    return;
  }
  node.decided = event.offset;
  if (event.node_state == NodeState::kReady || event.node_state == NodeState::kSucceeded) {
    if (node.launched >= absl::ZeroDuration()) node.start_time = event.offset - node.launched;
  }
  if (event.node_state == NodeState::kFailed) node.broke = event.offset;
}

}  // namespace

Fold FoldEvents(const std::vector<Event>& events) {
  Fold fold;
  for (const Event& event : events) {
    fold.last_sequence = event.sequence;
    fold.last_offset = event.offset;
    fold.last_time = event.time;
    switch (event.kind) {
      case EventKind::kPlanned:
        FoldPlan(event, fold);
        break;
      case EventKind::kNode:
        FoldNode(event, fold);
        break;
      case EventKind::kState:
        fold.activated |= event.environment_state == EnvironmentState::kActive;
        break;
      case EventKind::kExposed: {
        int port = 0;
        const auto number = event.attributes.find("port");
        const auto address = event.attributes.find("address");
        if (number == event.attributes.end() || address == event.attributes.end()) break;
        const auto url = event.attributes.find("url");
        if (absl::SimpleAtoi(number->second, &port)) {
          fold.nodes[event.node].endpoints[port] = {address->second,
                                                    url == event.attributes.end() ? address->second : url->second};
        }
        break;
      }
      case EventKind::kJobResult:
        fold.nodes[event.node].concluded = true;
        break;
      case EventKind::kVerdict:
        fold.judged = true;
        fold.failed |= event.verdict != Verdict::kPassed;
        break;
      case EventKind::kReceipt:
        fold.ending = event.receipt.ending;
        if (fold.ending.empty() && event.receipt.blockers.empty()) fold.gone_time = event.time;
        break;
      case EventKind::kHeld:
        fold.held = event.receipt.blockers;
        break;
      case EventKind::kGone:
        fold.ending.clear();
        fold.held.clear();
        fold.gone_time = event.time;
        break;
      case EventKind::kAccepted:
      case EventKind::kNote:
        break;
    }
  }
  return fold;
}

std::string PlanKey(const Plan& plan) {
  // By name: the order of the nodes follows start times, which may have been measured anew since.
  std::map<std::string, std::string> nodes;
  for (const PlanNode& node : plan.nodes) {
    std::string& text = nodes[node.name];
    text = absl::StrCat(node.name, "\n", node.digest, "\n");
    for (const PlanEdge& edge : node.needs) {
      absl::StrAppend(&text, plan.nodes[edge.node].name, ":", static_cast<int>(edge.condition), ",");
    }
  }
  std::string all;
  for (const auto& [name, text] : nodes) absl::StrAppend(&all, text, "\n");
  return Sha256Hex(all);
}

Plan PlanFromPast(const Fold& past) {
  Plan plan;
  plan.catalogue = past.catalogue;
  std::map<std::string, int> index;
  for (const PlannedNode& planned : past.plan) {
    PlanNode node;
    node.name = planned.name;
    node.kind = planned.kind;
    node.why = planned.why;
    node.expected = planned.expected;
    node.flaky = planned.flaky;
    for (const std::string& text : planned.needs) {
      absl::string_view name = text;
      PlanEdge edge;
      if (absl::ConsumeSuffix(&name, ":started")) edge.condition = Condition::kStarted;
      if (absl::ConsumeSuffix(&name, ":completed")) edge.condition = Condition::kCompleted;
      const auto need = index.find(std::string(name));
      if (need == index.end()) continue;
      edge.node = need->second;
      node.needs.push_back(edge);
      plan.nodes[edge.node].needed_by.push_back(plan.nodes.size());
    }
    index[node.name] = plan.nodes.size();
    plan.nodes.push_back(std::move(node));
  }
  return plan;
}

}  // namespace mayfly
