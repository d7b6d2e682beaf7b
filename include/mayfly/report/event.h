// What happened to an environment, numbered. The EventLog is the only source of reports, of what watchers see and of
// the progress that a terminal shows; the same log gives the same report, byte for byte.
#ifndef MAYFLY_REPORT_EVENT_H_
#define MAYFLY_REPORT_EVENT_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "mayfly/base/cause.h"
#include "mayfly/engine/engine.h"
#include "mayfly/plan/plan.h"

namespace mayfly {

// Life cycle of an environment. Numbers are stored.
enum class EnvironmentState {
  kCreating = 1,  // From acceptance until every service is ready.
  kActive = 2,    // Every service of the plan is ready.
  kUpdating = 3,  // A change is being applied in place.
  kTesting = 4,   // Test jobs run.
  kFailed = 5,    // Broken and kept, see the cause.
  kDeleting = 6,
  kDeleted = 7,  // Nothing is left; the record and the report remain until they are purged.
};

// Life cycle of a node within one plan.
enum class NodeState {
  kWaiting = 1,    // For what it needs.
  kStarting = 2,   // Started or about to be; not ready.
  kReady = 3,      // Service: usable.
  kSucceeded = 4,  // Job or test job: exit 0.
  kFailed = 5,
  kSkipped = 6,  // Something it needs failed; `cause.node` names the root.
  kStopped = 7,  // Ended by mayfly.
};

enum class Verdict { kNone = 0, kPassed = 1, kFailed = 2, kError = 3, kCancelled = 4 };

absl::string_view EnvironmentStateName(EnvironmentState state);  // "CREATING"
absl::string_view NodeStateName(NodeState state);                // "WAITING"
absl::string_view VerdictName(Verdict verdict);                  // "PASSED"; "" for kNone

enum class EventKind {
  kAccepted = 1,   // The environment's record is durable. attributes: "source", "owner", "engine".
  kPlanned = 2,    // `plan` is set: one entry per node, in the plan's order.
  kState = 3,      // The environment is now in `environment_state`, with `cause` if it failed.
  kNode = 4,       // `node` is now in `node_state`. kStarting comes twice: "phase" = "launch" and "phase" = "running".
  kExposed = 5,    // attributes: "port", "address", "url".
  kNote = 6,       // `message` for people: a probe's latest answer, a retry, a warning. Where it tells what a node's
                   // images are, attributes: "image NAME" = digest, empty for one that is not pinned.
  kJobResult = 7,  // A test job's run ended: attributes "tries", "flaky", "tests", "failures", "errors", "skipped",
                   // "junit" (path of the kept file), "artifacts" (path of the kept folder), "note".
  kVerdict = 8,    // `verdict` and `cause`.
  kReceipt = 9,    // `receipt` of the teardown; the last event but the final kState, unless something is ending yet.
  kHeld = 10,  // After DELETED: `receipt.blockers` keep the platform from forgetting `receipt.ending`; none: no more.
  kGone = 11,  // After DELETED: the platform has forgotten `receipt.ending`. The very last event.
};

struct PlannedNode {
  std::string name;
  NodeKind kind = NodeKind::kService;
  std::vector<std::string> needs;  // Names, with conditions other than ready as "postgres:started".
  std::vector<std::string> why;
  absl::Duration expected;
  bool flaky = false;

  friend bool operator==(const PlannedNode&, const PlannedNode&) = default;
};

struct Event {
  int64_t sequence = 0;   // From 1, without gaps, per environment.
  absl::Time time;        // Wall clock, for people.
  absl::Duration offset;  // Monotonic time since the environment was accepted; what durations are computed from.
  EventKind kind = EventKind::kNote;
  EnvironmentState environment_state = EnvironmentState::kCreating;
  std::string node;
  int attempt = 0;
  NodeState node_state = NodeState::kWaiting;
  Verdict verdict = Verdict::kNone;
  Cause cause;
  std::string message;
  int exit_code = 0;
  int signal = 0;
  Usage usage;
  Receipt receipt;
  std::vector<PlannedNode> plan;
  std::map<std::string, std::string> attributes;
};

}  // namespace mayfly

#endif  // MAYFLY_REPORT_EVENT_H_
