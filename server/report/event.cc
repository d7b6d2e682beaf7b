#include "mayfly/report/event.h"

namespace mayfly {

absl::string_view EnvironmentStateName(EnvironmentState state) {
  switch (state) {
    case EnvironmentState::kCreating:
      return "CREATING";
    case EnvironmentState::kActive:
      return "ACTIVE";
    case EnvironmentState::kUpdating:
      return "UPDATING";
    case EnvironmentState::kTesting:
      return "TESTING";
    case EnvironmentState::kFailed:
      return "FAILED";
    case EnvironmentState::kDeleting:
      return "DELETING";
    case EnvironmentState::kDeleted:
      return "DELETED";
  }
  return "UNKNOWN";
}

absl::string_view NodeStateName(NodeState state) {
  switch (state) {
    case NodeState::kWaiting:
      return "WAITING";
    case NodeState::kStarting:
      return "STARTING";
    case NodeState::kReady:
      return "READY";
    case NodeState::kSucceeded:
      return "SUCCEEDED";
    case NodeState::kFailed:
      return "FAILED";
    case NodeState::kSkipped:
      return "SKIPPED";
    case NodeState::kStopped:
      return "STOPPED";
  }
  return "UNKNOWN";
}

absl::string_view VerdictName(Verdict verdict) {
  switch (verdict) {
    case Verdict::kNone:
      return "";
    case Verdict::kPassed:
      return "PASSED";
    case Verdict::kFailed:
      return "FAILED";
    case Verdict::kError:
      return "ERROR";
    case Verdict::kCancelled:
      return "CANCELLED";
  }
  return "UNKNOWN";
}

}  // namespace mayfly
