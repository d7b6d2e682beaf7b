#include "server/plan/graph.h"

#include <algorithm>
#include <set>
#include <tuple>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"

namespace mayfly {
namespace {

// How long `needed` holds up who needs it in this way.
absl::Duration Weight(const PlanNode& needed, Condition condition) {
  return condition == Condition::kStarted ? absl::ZeroDuration() : needed.expected;
}

class CycleFinder {
 public:
  explicit CycleFinder(const std::vector<PlanNode>& nodes) : nodes_(nodes), state_(nodes.size(), State::kNew) {}

  Diagnostics Run(const std::vector<int>& roots) {
    for (const int root : roots) Visit(root);
    return std::move(out_);
  }

 private:
  enum class State { kNew, kOpen, kDone };
  struct Frame {
    int node;
    size_t next = 0;  // Of its needs.
  };

  // With a stack of its own: a chain of thousands of needs is legal.
  void Visit(int root) {
    if (state_[root] != State::kNew) return;
    Push(root);
    while (!stack_.empty()) {
      Frame& top = stack_.back();
      const std::vector<PlanEdge>& needs = nodes_[top.node].needs;
      if (top.next == needs.size()) {
        state_[top.node] = State::kDone;
        stack_.pop_back();
        continue;
      }
      const int needed = needs[top.next++].node;
      if (state_[needed] == State::kNew) {
        Push(needed);
      } else if (state_[needed] == State::kOpen) {
        Report(needed);
      }
    }
  }

  void Push(int node) {
    state_[node] = State::kOpen;
    stack_.push_back({node});
  }

  void Report(int first) {
    const auto begin = absl::c_find_if(stack_, [&](const Frame& frame) { return frame.node == first; });
    std::string chain = nodes_[first].name;
    SourcePos pos;
    for (auto frame = begin; frame != stack_.end(); ++frame) {
      const PlanEdge& edge = nodes_[frame->node].needs[frame->next - 1];
      absl::StrAppend(&chain, " -> ", nodes_[edge.node].name, " (", FormatPos(edge.pos), ")");
      if (pos.file.empty()) pos = edge.pos;
    }
    out_.push_back(
        {Severity::kError, pos, absl::StrCat(kCircle, chain),
         "remove one of them; to know an address, a reference such as ${name.address} is enough and orders nothing"});
  }

  const std::vector<PlanNode>& nodes_;
  std::vector<State> state_;
  std::vector<Frame> stack_;
  Diagnostics out_;
};

// Node indices so that needs come first; ties by name.
std::vector<int> AnyOrder(const std::vector<PlanNode>& nodes, const std::vector<std::vector<int>>& needed_by) {
  std::vector<size_t> open(nodes.size());
  std::vector<int> order;
  for (size_t i = 0; i < nodes.size(); ++i) {
    open[i] = nodes[i].needs.size();
    if (open[i] == 0) order.push_back(static_cast<int>(i));
  }
  for (size_t i = 0; i < order.size(); ++i) {
    for (const int dependent : needed_by[order[i]]) {
      if (--open[dependent] == 0) order.push_back(dependent);
    }
  }
  return order;
}

std::vector<std::vector<int>> NeededBy(const std::vector<PlanNode>& nodes) {
  std::vector<std::vector<int>> needed_by(nodes.size());
  for (size_t i = 0; i < nodes.size(); ++i) {
    for (const PlanEdge& edge : nodes[i].needs) needed_by[edge.node].push_back(static_cast<int>(i));
  }
  return needed_by;
}

// The longest expected path from each node's start to the end: what a list scheduler starts first.
void FillPriorities(std::vector<PlanNode>& nodes, const std::vector<int>& order) {
  for (PlanNode& node : nodes) node.priority = node.expected;
  for (auto at = order.rbegin(); at != order.rend(); ++at) {
    for (const PlanEdge& edge : nodes[*at].needs) {
      PlanNode& needed = nodes[edge.node];
      needed.priority = std::max(needed.priority, Weight(needed, edge.condition) + nodes[*at].priority);
    }
  }
}

std::vector<int> PriorityOrder(const std::vector<PlanNode>& nodes, const std::vector<std::vector<int>>& needed_by) {
  const auto key = [&](int i) { return std::make_tuple(-nodes[i].priority, std::cref(nodes[i].name), i); };
  const auto before = [&](int a, int b) { return key(a) < key(b); };
  std::set<int, decltype(before)> ready(before);
  std::vector<size_t> open(nodes.size());
  for (size_t i = 0; i < nodes.size(); ++i) {
    open[i] = nodes[i].needs.size();
    if (open[i] == 0) ready.insert(static_cast<int>(i));
  }
  std::vector<int> order;
  while (!ready.empty()) {
    const int next = *ready.begin();
    ready.erase(ready.begin());
    order.push_back(next);
    for (const int dependent : needed_by[next]) {
      if (--open[dependent] == 0) ready.insert(dependent);
    }
  }
  return order;
}

}  // namespace

Diagnostics FindCycles(const std::vector<PlanNode>& nodes, const std::vector<int>& roots) {
  return CycleFinder(nodes).Run(roots);
}

std::vector<PlanNode> Arrange(std::vector<PlanNode> nodes) {
  const std::vector<std::vector<int>> needed_by = NeededBy(nodes);
  FillPriorities(nodes, AnyOrder(nodes, needed_by));
  const std::vector<int> order = PriorityOrder(nodes, needed_by);
  std::vector<int> place(nodes.size());
  for (size_t i = 0; i < order.size(); ++i) place[order[i]] = static_cast<int>(i);
  std::vector<PlanNode> out;
  out.reserve(order.size());
  for (const int i : order) {
    PlanNode& node = out.emplace_back(std::move(nodes[i]));
    for (PlanEdge& edge : node.needs) edge.node = place[edge.node];
    for (const int dependent : needed_by[i]) node.needed_by.push_back(place[dependent]);
  }
  for (PlanNode& node : out) {
    absl::c_sort(node.needs, [&](const PlanEdge& a, const PlanEdge& b) { return out[a.node].name < out[b.node].name; });
    absl::c_sort(node.needed_by, [&](int a, int b) { return out[a].name < out[b].name; });
  }
  return out;
}

absl::Duration CriticalPath(const std::vector<PlanNode>& nodes) {
  std::vector<absl::Duration> start(nodes.size());
  absl::Duration last;
  for (size_t i = 0; i < nodes.size(); ++i) {
    for (const PlanEdge& edge : nodes[i].needs) {
      start[i] = std::max(start[i], start[edge.node] + Weight(nodes[edge.node], edge.condition));
    }
    if (nodes[i].kind != NodeKind::kTestJob) last = std::max(last, start[i] + nodes[i].expected);
  }
  return last;
}

}  // namespace mayfly
