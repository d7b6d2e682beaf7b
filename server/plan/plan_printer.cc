#include "server/plan/plan_printer.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "mayfly/base/text.h"

namespace mayfly {
namespace {

absl::string_view KindName(NodeKind kind) {
  switch (kind) {
    case NodeKind::kService:
      return "service";
    case NodeKind::kJob:
      return "job";
    case NodeKind::kTestJob:
      return "test";
  }
  return "";
}

absl::string_view ConditionName(Condition condition) {
  switch (condition) {
    case Condition::kStarted:
      return "started";
    case Condition::kReady:
      return "ready";
    case Condition::kCompleted:
      return "completed";
  }
  return "";
}

std::string NeedsText(const Plan& plan, const PlanNode& node) {
  return absl::StrJoin(node.needs, ",", [&](std::string* out, const PlanEdge& edge) {
    absl::StrAppend(out, plan.nodes[edge.node].name);
    if (edge.condition != Condition::kReady) absl::StrAppend(out, ":", ConditionName(edge.condition));
  });
}

}  // namespace

std::string PlanTable(const Plan& plan) {
  std::vector<std::vector<std::string>> rows = {{"NODE", "KIND", "NEEDS", "EXPECTED", "PRIORITY", "WHY"}};
  for (const PlanNode& node : plan.nodes) {
    rows.push_back({node.name, std::string(KindName(node.kind)), NeedsText(plan, node),
                    mayfly::FormatDuration(node.expected), mayfly::FormatDuration(node.priority),
                    EscapeLine(absl::StrJoin(node.why, "; "))});
  }
  std::vector<size_t> width(rows[0].size());
  for (const auto& row : rows) {
    for (size_t i = 0; i < row.size(); ++i) width[i] = std::max(width[i], row[i].size());
  }
  std::string out;
  for (auto& row : rows) {
    for (size_t i = 0; i + 1 < row.size(); ++i) row[i].resize(width[i], ' ');
    absl::StrAppend(&out, absl::StrJoin(row, "  "), "\n");
  }
  return absl::StrCat(out, "critical path ", mayfly::FormatDuration(plan.critical_path), "\n");
}

std::string PlanDot(const Plan& plan) {
  std::string out = "digraph plan {\n";
  for (const PlanNode& node : plan.nodes) {
    absl::StrAppend(&out, "  \"", node.name, "\" [label=\"", node.name, "\\n", KindName(node.kind), "\"];\n");
    for (const PlanEdge& edge : node.needs) {
      absl::StrAppend(&out, "  \"", node.name, "\" -> \"", plan.nodes[edge.node].name, "\"");
      if (edge.condition != Condition::kReady)
        absl::StrAppend(&out, " [label=\"", ConditionName(edge.condition), "\"]");
      absl::StrAppend(&out, ";\n");
    }
  }
  return out + "}\n";
}

}  // namespace mayfly
