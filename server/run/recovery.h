// What the events of an environment say about it: the fold that recovery continues from and that old environments are
// shown by.
#ifndef MAYFLY_SERVER_RUN_RECOVERY_H_
#define MAYFLY_SERVER_RUN_RECOVERY_H_

#include <map>
#include <string>
#include <vector>

#include "mayfly/plan/plan.h"
#include "mayfly/report/event.h"
#include "server/run/host_port.h"
#include "server/store/store.h"

namespace mayfly {

// One node, as its events tell.
struct NodePast {
  NodeState state = NodeState::kWaiting;
  int attempt = 1;
  int tries = 0;     // Test jobs: launches since it was last planned to run.
  int restarts = 0;  // By the restart policy, since then.
  bool concluded = false;
  absl::Duration launched = -absl::InfiniteDuration();  // Offsets.
  absl::Duration decided = -absl::InfiniteDuration();
  absl::Duration broke = -absl::InfiniteDuration();
  absl::Duration start_time = -absl::InfiniteDuration();
  Usage usage;
  Cause cause;
  std::string message;
  std::map<int, HostPort> endpoints;
};

struct Fold {
  std::string catalogue;
  std::string plan_key;           // PlanKey of the latest plan.
  std::vector<PlannedNode> plan;  // The latest one.
  std::map<std::string, NodePast> nodes;
  bool started_anything = false;  // A launch was intended.
  bool activated = false;         // ACTIVE since the latest plan.
  bool judged = false;            // A verdict since the latest plan.
  bool failed = false;            // Any verdict but PASSED, of any plan.
  std::string ending;             // As EnvironmentView has these.
  std::vector<std::string> held;
  absl::Time gone_time = absl::InfiniteFuture();
  int64_t last_sequence = 0;
  absl::Duration last_offset;
  absl::Time last_time;
};

Fold FoldEvents(const std::vector<Event>& events);

// Equal exactly when two plans have the same nodes, digests and needs; estimates do not count.
std::string PlanKey(const Plan& plan);

// A plan that can be shown, stopped and torn down, but not started: what the events know of the real one.
Plan PlanFromPast(const Fold& past);

}  // namespace mayfly

#endif  // MAYFLY_SERVER_RUN_RECOVERY_H_
