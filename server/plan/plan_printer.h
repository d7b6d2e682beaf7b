// A plan as text, for golden tests and for looking at one while debugging. What users see is printed by the CLI.
#ifndef MAYFLY_SERVER_PLAN_PLAN_PRINTER_H_
#define MAYFLY_SERVER_PLAN_PLAN_PRINTER_H_

#include <string>

#include "mayfly/plan/plan.h"

namespace mayfly {

// One line for each node in the plan's order: name, kind, what it needs, expected time, priority, why. Then the
// critical path.
std::string PlanTable(const Plan& plan);

// Graphviz, an arrow from each node to what it needs.
std::string PlanDot(const Plan& plan);

}  // namespace mayfly

#endif  // MAYFLY_SERVER_PLAN_PLAN_PRINTER_H_
