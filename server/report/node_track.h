// What the event log tells about one node: the moments that the report and the critical chain are made of.
#ifndef MAYFLY_SERVER_REPORT_NODE_TRACK_H_
#define MAYFLY_SERVER_REPORT_NODE_TRACK_H_

#include <map>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "mayfly/report/event.h"

namespace mayfly {

// An offset that never came.
inline constexpr absl::Duration kNotYet = -absl::InfiniteDuration();
inline bool Known(absl::Duration offset) {
  return offset > kNotYet;
}

// Offsets from acceptance; kNotYet when it never came to that.
struct NodeTrack {
  PlannedNode planned;
  NodeState state = NodeState::kWaiting;
  Cause cause;
  int launches = 0;
  absl::Duration released = kNotYet;  // All it needs was there; filled by Release.
  absl::Duration launched = kNotYet;  // The first time since the plan.
  absl::Duration running = kNotYet;
  absl::Duration ready = kNotYet;     // READY, the first time.
  absl::Duration finished = kNotYet;  // SUCCEEDED or FAILED.
  absl::Duration ended = kNotYet;
  std::map<int, Usage> usage;  // By attempt.
  std::vector<std::string> urls;
  std::map<std::string, std::string> images;  // Name -> digest.

  bool is_service() const { return planned.kind == NodeKind::kService; }
  bool is_test() const { return planned.kind == NodeKind::kTestJob; }
  // Usable, succeeded or failed: what it was started for is decided.
  absl::Duration decided() const { return Known(ready) ? ready : finished; }
};

}  // namespace mayfly

#endif  // MAYFLY_SERVER_REPORT_NODE_TRACK_H_
