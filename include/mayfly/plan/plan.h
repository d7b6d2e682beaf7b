// What will happen: the graph of services, one-shot jobs and test jobs that one request asks for. Immutable, made by a
// pure function (server/plan/planner.h): the same catalogue, request and statistics give the same plan, byte for byte.
#ifndef MAYFLY_PLAN_PLAN_H_
#define MAYFLY_PLAN_PLAN_H_

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "mayfly/spec/process.h"
#include "mayfly/spec/service_spec.h"

namespace mayfly {

enum class NodeKind { kService, kJob, kTestJob };

struct PlanEdge {
  int node = 0;  // Index in Plan::nodes of what is needed.
  Condition condition = Condition::kReady;
  SourcePos pos;
};

struct PlanNode {
  std::string name;  // "checkout", "checkout.migrate", "checkout-e2e"; unique in the plan.
  NodeKind kind = NodeKind::kService;
  ProcessSpec process;
  std::vector<PlanEdge> needs;   // In order of name.
  std::vector<int> needed_by;    // In order of name.
  std::vector<std::string> why;  // "asked for", "needed by checkout", "referenced by frontend (env.CART)".
  absl::Duration expected;       // Last measured time from start to ready or completed; the type's guess when none.
  bool measured = false;         // `expected` comes from a measurement.
  absl::Duration priority;       // Length of the longest expected path from this node's start to the end; larger first.
  std::string digest;            // Hex; equal exactly when a running instance need not be restarted.
  RestartPolicy restart = RestartPolicy::kNever;
  int max_restarts = 0;
  // Test jobs only.
  std::string junit;
  std::vector<std::string> artifacts;
  int retries = 0;
  bool flaky = false;
};

struct Plan {
  std::string catalogue;  // Name of the catalogue.
  std::string root;
  std::vector<PlanNode> nodes;   // Topological, ties by priority then name: a node's needs come before it.
  absl::Duration critical_path;  // Expected time until the last service is ready.
  std::string digest;

  // Index of the node of that name, or -1.
  int Find(absl::string_view name) const;
};

}  // namespace mayfly

#endif  // MAYFLY_PLAN_PLAN_H_
