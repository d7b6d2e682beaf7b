// One node of a running environment: what the plan says, what users see of it (NodeState), and what the engine holds of
// its current attempt (Stage). And the graph of them, which changes when an update is applied in place.
#ifndef MAYFLY_SERVER_RUN_NODE_H_
#define MAYFLY_SERVER_RUN_NODE_H_

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "mayfly/base/loop.h"
#include "mayfly/plan/plan.h"
#include "mayfly/report/event.h"
#include "server/run/host_port.h"

namespace mayfly {

// What the engine holds of the current attempt.
enum class Stage {
  kAbsent,     // Nothing yet.
  kPreparing,  // Prepare was called.
  kPrepared,
  kStarting,  // Start was called.
  kRunning,
  kStopping,  // Stop was called.
  kEnded,     // Final for the attempt.
};

struct Node;

struct Need {
  Node* node = nullptr;
  Condition condition = Condition::kReady;
};

struct Node {
  PlanNode plan;
  std::vector<Need> needs;
  std::vector<Node*> needed_by;

  NodeState state = NodeState::kWaiting;
  Stage stage = Stage::kAbsent;
  int attempt = 1;
  Cause cause;
  std::string message;
  Usage usage;
  int exit_code = 0;  // Of the latest attempt that ended.
  int signal = 0;
  std::map<int, HostPort> endpoints;
  std::set<int> exposing;  // Ports of which the engine has not told how they are reached.
  absl::Duration start_time = -absl::InfiniteDuration();  // Launch to ready or completed.

  // On the clock of Loop::Monotonic; negative infinity when it never came to that.
  absl::Duration launched = -absl::InfiniteDuration();
  absl::Duration decided = -absl::InfiniteDuration();  // READY, SUCCEEDED, FAILED or SKIPPED.
  absl::Duration broke = -absl::InfiniteDuration();    // Last time a service ended by itself.

  PlannedNode planned;       // As users see `plan`.
  double rank = 0;           // Larger first, when slots are few.
  int intended = 0;          // The attempt whose intent is durable.
  bool wanted = true;        // False: a test job of the plan that nobody asked to run.
  bool has_slot = false;     // It counts against the slots of its class.
  int restarts = 0;          // By the restart policy, since it was last wanted to start.
  int tries = 0;             // Test jobs: runs since it was last asked for.
  bool backing_off = false;  // Waits until it may be started again.
  bool overdue = false;      // Its deadline passed while it ran.
  bool collecting = false;   // Test jobs: its files are being copied.
  bool concluded = false;    // Test jobs: its kJobResult is written.
  bool stop_wanted = false;  // To be stopped when everything of `stop_after` has ended.
  bool renewed = false;  // Replaced by an update and not back yet: what needs it, even through others, waits to start.
  bool replace = false;  // To be started again, as the plan is now, once it has ended.
  std::set<Node*> stop_after;
  absl::Duration stop_grace;   // Of the attempt that runs.
  std::string started_digest;  // Of the attempt that runs.

  Cause probe;  // The latest failing answer.
  int probe_notes = 0;
  TimerId timer = 0;  // Deadline of the current stage.
  TimerId backoff_timer = 0;
  TimerId expose_timer = 0;  // Of ports that the engine could not expose just now.

  bool is_test() const { return plan.kind == NodeKind::kTestJob; }
  bool one_shot() const { return plan.kind != NodeKind::kService; }
  // Something of the current attempt exists at the engine and has not ended.
  bool live() const { return stage != Stage::kAbsent && stage != Stage::kEnded; }
  // A process of the current attempt runs, or is about to.
  bool runs() const { return stage == Stage::kStarting || stage == Stage::kRunning || stage == Stage::kStopping; }
  // READY, SUCCEEDED, FAILED, SKIPPED or STOPPED, and to stay so.
  bool settled() const {
    return state != NodeState::kWaiting && state != NodeState::kStarting && !replace &&
           (!stop_wanted || state == NodeState::kFailed);
  }
};

// Whether everything that `node` needs is there.
bool NeedsMet(const Node& node);

// False while an update replaces something that `node` needs, directly or not.
bool AncestorsSteady(const Node& node);

// The node that `node` can never start without and that will not come: a failed or skipped need, the one whose root
// failed first; nullptr when there is none.
const Node* HopelessNeed(const Node& node);

// The name of the failed node behind a FAILED or SKIPPED one.
const std::string& RootOf(const Node& node);

// All nodes that need `node`, directly or not, in no order.
std::set<Node*> Dependants(const Node& node);

// True when a node that `node` needs, directly or not, is FAILED.
bool HasFailedAncestor(const Node& node);

// The latest moment at which something that `node` needs, directly or not, ended by itself; and that node.
struct Breakage {
  const Node* node = nullptr;
  absl::Duration when = -absl::InfiniteDuration();
};
Breakage LatestBreakage(const Node& node);

// Among FAILED services and one-shot jobs, the first to fail that has no failed ancestor; nullptr when none failed.
const Node* RootCause(const std::vector<std::unique_ptr<Node>>& nodes);

PlannedNode Describe(const PlanNode& node, const Plan& plan);

}  // namespace mayfly

#endif  // MAYFLY_SERVER_RUN_NODE_H_
