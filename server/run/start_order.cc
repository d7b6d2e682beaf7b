#include "server/run/start_order.h"

#include <algorithm>
#include <queue>
#include <random>
#include <set>
#include <utility>

namespace mayfly {
namespace {

constexpr int kPlacements = 40000;  // Nodes placed in all trials together: bounds the time for any plan.
constexpr int kMaxTrials = 1500;

// What a schedule needs to know, without strings.
struct Graph {
  struct Item {
    double takes = 0;
    bool counts = true;                           // False: a test job.
    std::vector<std::pair<int, bool>> needed_by;  // Node, and whether it waits for READY (else for STARTED).
    int needs = 0;
  };
  std::vector<Item> items;
  int slots = 0;
  double total = 0;
};

Graph GraphOf(const Plan& plan, int slots) {
  Graph graph;
  graph.slots = slots;
  graph.items.resize(plan.nodes.size());
  for (size_t i = 0; i < plan.nodes.size(); ++i) {
    const PlanNode& node = plan.nodes[i];
    Graph::Item& item = graph.items[i];
    item.takes = absl::ToDoubleSeconds(node.expected);
    item.counts = node.kind != NodeKind::kTestJob;
    if (!item.counts) continue;
    graph.total += item.takes;
    item.needs = static_cast<int>(node.needs.size());
    for (const PlanEdge& edge : node.needs) {
      graph.items[edge.node].needed_by.push_back({static_cast<int>(i), edge.condition != Condition::kStarted});
    }
  }
  return graph;
}

// The list schedule: whenever a slot is free, the startable node of the largest rank takes it.
double Makespan(const Graph& graph, const std::vector<double>& ranks, double give_up) {
  const size_t count = graph.items.size();
  std::vector<int> missing(count);
  std::vector<std::pair<double, int>> ready;  // Heap by rank; the earlier node wins ties.
  const auto add = [&](int node) {
    ready.push_back({ranks[node], -node});
    std::push_heap(ready.begin(), ready.end());
  };
  for (size_t i = 0; i < count; ++i) {
    missing[i] = graph.items[i].needs;
    if (graph.items[i].counts && missing[i] == 0) add(static_cast<int>(i));
  }
  std::priority_queue<std::pair<double, int>, std::vector<std::pair<double, int>>, std::greater<>> running;
  double now = 0;
  while (!ready.empty() || !running.empty()) {
    while (!ready.empty() && (graph.slots <= 0 || static_cast<int>(running.size()) < graph.slots)) {
      std::pop_heap(ready.begin(), ready.end());
      const int node = -ready.back().second;
      ready.pop_back();
      running.push({now + graph.items[node].takes, node});
      for (const auto& [next, when_ready] : graph.items[node].needed_by) {
        if (!when_ready && --missing[next] == 0) add(next);
      }
    }
    now = running.top().first;
    if (now >= give_up) return now;
    const int node = running.top().second;
    running.pop();
    for (const auto& [next, when_ready] : graph.items[node].needed_by) {
      if (when_ready && --missing[next] == 0) add(next);
    }
  }
  return now;
}

// The longest expected path from each node on.
std::vector<double> Paths(const Plan& plan) {
  std::vector<double> paths(plan.nodes.size());
  for (int i = static_cast<int>(plan.nodes.size()) - 1; i >= 0; --i) {
    for (const int next : plan.nodes[i].needed_by) paths[i] = std::max(paths[i], paths[next]);
    paths[i] += absl::ToDoubleSeconds(plan.nodes[i].expected);
  }
  return paths;
}

}  // namespace

absl::Duration ExpectedReady(const Plan& plan, int slots, const std::vector<double>& ranks) {
  return absl::Seconds(Makespan(GraphOf(plan, slots), ranks, 1e300));
}

std::vector<double> StartOrder(const Plan& plan, int slots) {
  std::vector<double> best = Paths(plan);
  const int count = static_cast<int>(plan.nodes.size());
  if (slots <= 0 || slots >= count || count == 0) return best;
  const Graph graph = GraphOf(plan, slots);
  double longest = 0;
  for (int i = 0; i < count; ++i) {
    if (graph.items[i].counts) longest = std::max(longest, best[i]);
  }
  // Below this no order can come; test jobs only lengthen `longest`, which ends the search early at worst.
  const double bound = std::max(longest, graph.total / slots);
  double least = Makespan(graph, best, 1e300);
  const double scale = std::max(longest, 1e-9);
  std::mt19937 random(static_cast<uint32_t>(count));
  std::uniform_real_distribution<double> unit(-1, 1);
  const int trials = std::min(kMaxTrials, kPlacements / count);
  for (int trial = 0; trial < trials && least > bound * 1.0005; ++trial) {
    std::vector<double> next = best;
    if (trial % 3 == 0) {
      // Everything a little, to leave a hollow.
      for (double& rank : next) rank += unit(random) * 0.15 * scale;
    } else {
      for (int moves = 1 + trial % 2; moves > 0; --moves) {
        next[random() % count] += unit(random) * 0.5 * scale;
      }
    }
    const double takes = Makespan(graph, next, least);
    if (takes >= least) continue;
    least = takes;
    best = std::move(next);
  }
  return best;
}

}  // namespace mayfly
