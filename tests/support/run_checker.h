// Judges what happened to an environment by the fake world's history and the stored events, without a line of the
// orchestrator's own code: what must hold for every run, whatever was asked and whatever broke.
#ifndef MAYFLY_TESTS_SUPPORT_RUN_CHECKER_H_
#define MAYFLY_TESTS_SUPPORT_RUN_CHECKER_H_

#include <string>
#include <vector>

#include "mayfly/plan/plan.h"
#include "mayfly/report/event.h"
#include "tests/support/fake_world.h"

namespace mayfly {

// A plan that was in force from `since` on, by the clock of the world.
struct PlanInForce {
  absl::Duration since;
  Plan plan;
};

struct RunToCheck {
  std::vector<PlanInForce> plans;
  std::vector<FakeHistory> history;
  std::vector<Event> events;
  absl::Duration accepted;  // By the clock of the world.
  int start_slots = 0;      // 0: not checked.
  int test_slots = 0;
};

// What is wrong, one sentence each; empty when all of this holds:
//  - nothing is launched before its needs are met, and no attempt is launched twice or beside another one;
//  - not more is starting at the same time than there are slots;
//  - everything that was started has ended;
//  - READY is said only of what the world made ready;
//  - a SKIPPED node names a node that failed and that it needs, directly or not;
//  - offsets never go back; every node of the last plan ends in a final state;
//  - a verdict is given at most once per plan, PASSED only when nothing failed that counts, ERROR with a cause that
//  exists;
//  - the last events are one receipt and the state DELETED.
std::vector<std::string> CheckRun(const RunToCheck& run);

}  // namespace mayfly

#endif  // MAYFLY_TESTS_SUPPORT_RUN_CHECKER_H_
