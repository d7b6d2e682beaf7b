// How near the start order comes to the least possible time: 2,000 graphs on virtual time through the real provisioner,
// orchestrator and planner's priorities, with few slots. T / max(CP, W/m), where CP is the longest path of the true
// times, W their sum and m the slots: 1 is the bound that no order can beat.
//
// The graphs are those of the reference: 21 services in tiers of 3, 6, 8 and 4, each with one to three parents in the
// tier before; times are lognormal with a median of 20 s and sigma 0.8.
#include <algorithm>
#include <cmath>
#include <fstream>
#include <iostream>
#include <random>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "tests/support/run_harness.h"

namespace mayfly {
namespace {

enum class Knowledge { kLearnt, kNone, kNoisy };

struct TrueGraph {
  std::vector<TestNode> nodes;
  std::map<std::string, absl::Duration> takes;
};

TrueGraph MakeGraph(int seed) {
  std::mt19937 random(seed);
  std::lognormal_distribution<double> time(std::log(20.0), 0.8);
  TrueGraph graph;
  std::vector<std::string> before;
  for (const int tier : {3, 6, 8, 4}) {
    std::vector<std::string> names;
    for (int i = 0; i < tier; ++i) {
      TestNode node;
      node.name = absl::StrCat("s", graph.nodes.size());
      node.within = absl::Hours(10);
      for (int parents = before.empty() ? 0 : 1 + random() % 3; parents > 0; --parents) {
        const std::string& parent = before[random() % before.size()];
        if (std::count(node.needs.begin(), node.needs.end(), parent) == 0) node.needs.push_back(parent);
      }
      graph.takes[node.name] = absl::Seconds(time(random));
      names.push_back(node.name);
      graph.nodes.push_back(std::move(node));
    }
    before = std::move(names);
  }
  return graph;
}

// Brings the graph up with that plan; the time until it is ACTIVE.
double TimeToReady(const TrueGraph& graph, const Plan& plan, int slots) {
  RunHarness h;
  h.KillServer();
  h.options.start_slots = slots;
  h.StartServer();
  h.world.script = [&](const NodeRef& ref, const ProcessSpec&, bool) {
    FakeRun run;
    run.ready = graph.takes.at(ref.node);
    return run;
  };
  h.plans["graph"] = plan;
  EnvironmentRequest request;
  request.name = "env";
  request.source = "graph";
  request.ttl = absl::Hours(100);
  if (!h.Create(request, {}).status.ok() || !h.RunUntil("env", EnvironmentState::kActive, absl::Hours(99))) return 0;
  double last = 0;
  for (const Event& event : h.Events("env")) {
    if (event.kind == EventKind::kNode && event.node_state == NodeState::kReady)
      last = absl::ToDoubleSeconds(event.offset);
  }
  return last;
}

double Ratio(int seed, int slots, Knowledge knowledge) {
  TrueGraph graph = MakeGraph(seed);
  double total = 0;
  for (TestNode& node : graph.nodes) {
    node.expected = graph.takes[node.name];
    total += absl::ToDoubleSeconds(node.expected);
  }
  const Plan exact = PlanOf(graph.nodes);
  double longest = 0;
  for (const PlanNode& node : exact.nodes) longest = std::max(longest, absl::ToDoubleSeconds(node.priority));
  std::mt19937 random(seed + 1000000);
  std::normal_distribution<double> noise(1.0, 0.3);
  for (TestNode& node : graph.nodes) {
    if (knowledge == Knowledge::kNone) node.expected = absl::Seconds(20);
    if (knowledge == Knowledge::kNoisy) node.expected *= std::max(0.1, noise(random));
  }
  const double bound = std::max(longest, total / slots);
  return TimeToReady(graph, PlanOf(graph.nodes), slots) / bound;
}

struct Row {
  std::string measure;
  std::vector<double> samples;
  std::string goal;
  bool has_goal = false;
  bool ok = true;
};

double At(std::vector<double> samples, double share) {
  std::sort(samples.begin(), samples.end());
  return samples[std::min(samples.size() - 1, static_cast<size_t>(share * samples.size()))];
}

double Mean(const std::vector<double>& samples) {
  double sum = 0;
  for (const double sample : samples) sum += sample;
  return sum / samples.size();
}

Row Measure(int graphs, int slots, Knowledge knowledge) {
  static constexpr const char* kNames[] = {"learnt times", "no times", "times with 30 % noise"};
  Row row;
  row.measure = absl::StrCat("T / max(CP, W/m), m = ", slots, ", ", kNames[static_cast<int>(knowledge)]);
  for (int seed = 1; seed <= graphs; ++seed) row.samples.push_back(Ratio(seed, slots, knowledge));
  row.has_goal = knowledge == Knowledge::kLearnt && slots <= 4;
  row.goal = row.has_goal ? "mean <= 1.02, p95 <= 1.10" : "";
  row.ok = !row.has_goal || (Mean(row.samples) <= 1.02 && At(row.samples, 0.95) <= 1.10);
  return row;
}

std::string Json(const std::vector<Row>& rows) {
  std::vector<std::string> texts;
  const char* commit = getenv("MAYFLY_COMMIT");
  for (const Row& row : rows) {
    texts.push_back(absl::StrFormat(
        R"({"measure": "%s", "unit": "ratio", "n": %d, "min": %.4f, "median": %.4f, "mean": %.4f, "p95": %.4f, "goal": %s, )"
        R"("ok": %s, "samples": [%s]})",
        row.measure, row.samples.size(), At(row.samples, 0), At(row.samples, 0.5), Mean(row.samples),
        At(row.samples, 0.95), row.has_goal ? absl::StrCat("\"", row.goal, "\"") : "null",
        row.has_goal ? row.ok ? "true" : "false" : "null",
        absl::StrJoin(row.samples, ", ", [](std::string* out, double v) { absl::StrAppendFormat(out, "%.4f", v); })));
  }
  return absl::StrCat("{\"bench\": \"order\", \"commit\": \"", commit != nullptr ? commit : "", "\", \"rows\": [\n",
                      absl::StrJoin(texts, ",\n"), "\n]}\n");
}

int Main(int argc, char** argv) {
  int graphs = 2000;
  std::string json;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string flag = argv[i];
    if (flag == "--json")
      json = argv[i + 1];
    else if (flag != "--count" || !absl::SimpleAtoi(argv[i + 1], &graphs) || graphs < 1)
      return 2;
  }
  std::vector<Row> rows;
  bool ok = true;
  std::cout << absl::StrFormat("%-55s %6s %7s %7s %7s %7s  %-26s %s\n", "measure", "n", "min", "median", "mean", "p95",
                               "goal", "ok");
  for (const int slots : {2, 4, 8}) {
    for (const Knowledge knowledge : {Knowledge::kLearnt, Knowledge::kNone, Knowledge::kNoisy}) {
      const Row& row = rows.emplace_back(Measure(graphs, slots, knowledge));
      ok &= row.ok;
      std::cout << absl::StrFormat("%-55s %6d %7.4f %7.4f %7.4f %7.4f  %-26s %s\n", row.measure, row.samples.size(),
                                   At(row.samples, 0), At(row.samples, 0.5), Mean(row.samples), At(row.samples, 0.95),
                                   row.goal, row.has_goal ? row.ok ? "yes" : "NO" : "");
    }
  }
  if (!json.empty()) std::ofstream(json) << Json(rows);
  return ok ? 0 : 1;
}

}  // namespace
}  // namespace mayfly

int main(int argc, char** argv) {
  return mayfly::Main(argc, argv);
}
