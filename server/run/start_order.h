// In which order nodes that could start get a slot, when there are fewer slots than such nodes.
#ifndef MAYFLY_SERVER_RUN_START_ORDER_H_
#define MAYFLY_SERVER_RUN_START_ORDER_H_

#include <vector>

#include "absl/time/time.h"
#include "mayfly/plan/plan.h"

namespace mayfly {

// One rank per node of the plan, larger first. Without a limit on slots (0, or enough for all) the rank is the critical
// path from the node on. With one, orders near that are tried on expected times, a bounded number of them, and the best
// is kept: critical path first is within a few percent of the best order, but not the best. Pure and deterministic;
// about a millisecond for any plan. Test jobs have slots of their own and are ranked by their path only.
std::vector<double> StartOrder(const Plan& plan, int slots);

// When the last service or one-shot job is ready, if all take as long as expected and slots go to the larger rank.
absl::Duration ExpectedReady(const Plan& plan, int slots, const std::vector<double>& ranks);

}  // namespace mayfly

#endif  // MAYFLY_SERVER_RUN_START_ORDER_H_
