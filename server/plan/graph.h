// Order, cycles and priorities of plan nodes.
#ifndef MAYFLY_SERVER_PLAN_GRAPH_H_
#define MAYFLY_SERVER_PLAN_GRAPH_H_

#include <string>
#include <vector>

#include "mayfly/base/diagnostic.h"
#include "mayfly/plan/plan.h"

namespace mayfly {

// How the message of every circle begins.
constexpr absl::string_view kCircle = "needs form a circle: ";

// Each circle of needs once and whole, beginning at the first of `roots` (indices, in the order that they were asked
// for) from which it can be reached: "web -> auth (a.yml:3:9) -> web (b.yml:4:9)". The place behind a name is where it
// is needed.
Diagnostics FindCycles(const std::vector<PlanNode>& nodes, const std::vector<int>& roots);

// For nodes without cycles: fills priority, sorts topologically (ties by priority, then name), renumbers needs and
// fills needed_by.
std::vector<PlanNode> Arrange(std::vector<PlanNode> nodes);

// Time from the first start until the last service or job is through, were every node started as soon as it may be.
// `nodes` are arranged.
absl::Duration CriticalPath(const std::vector<PlanNode>& nodes);

}  // namespace mayfly

#endif  // MAYFLY_SERVER_PLAN_GRAPH_H_
