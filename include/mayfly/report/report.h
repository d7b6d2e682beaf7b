// What an environment was, cost and decided: a fold of its EventLog (server/report/report_builder.h).
#ifndef MAYFLY_REPORT_REPORT_H_
#define MAYFLY_REPORT_REPORT_H_

#include <string>
#include <vector>

#include "absl/time/time.h"
#include "mayfly/report/event.h"

namespace mayfly {

// As a spec names it, and what it stood for when it was run.
struct ReportImage {
  std::string name;    // "shop/cart:1".
  std::string digest;  // "sha256:..."; empty where it was not pinned.
};

struct ReportNode {
  std::string name;
  NodeKind kind = NodeKind::kService;
  NodeState state = NodeState::kWaiting;
  std::vector<std::string> needs;
  std::vector<std::string> why;
  int attempts = 0;
  // Offsets from acceptance; negative infinity when it never came to that.
  absl::Duration released = -absl::InfiniteDuration();  // All it needs was there.
  absl::Duration started = -absl::InfiniteDuration();
  absl::Duration ready = -absl::InfiniteDuration();  // READY, SUCCEEDED or FAILED.
  absl::Duration ended = -absl::InfiniteDuration();
  Usage usage;
  Cause cause;
  std::vector<std::string> urls;
  std::vector<ReportImage> images;  // Its sidecars' among them, in order of name; empty where none were looked up.
};

struct ReportTest {
  std::string job;
  NodeState state = NodeState::kWaiting;
  int tries = 0;
  bool flaky = false;  // Declared flaky, or succeeded only after a retry.
  int tests = -1;      // From its JUnit file; -1 without one.
  int failures = 0;
  int errors = 0;
  int skipped = 0;
  absl::Duration took;
  Cause cause;
  std::string junit;  // Paths of what was kept.
  std::string artifacts;
  std::vector<ReportImage> images;
  std::string note;  // What could not be kept or read, or does not fit its end; empty: nothing.
};

// One link of the chain that decided the wall time, in order of time.
struct ChainLink {
  std::string node;
  // "start" (launch to ready), "run" (a job), "test", "wait" (overhead between two), "plan" or "teardown".
  std::string phase;
  absl::Duration from;
  absl::Duration to;
};

struct Report {
  std::string environment;
  std::string catalogue;
  std::string engine;
  EnvironmentState state = EnvironmentState::kCreating;
  Verdict verdict = Verdict::kNone;
  Cause cause;
  absl::Time create_time;
  absl::Duration ready_after = -absl::InfiniteDuration();  // Every service ready.
  absl::Duration verdict_after = -absl::InfiniteDuration();
  absl::Duration total;              // Until the last event.
  std::vector<ReportNode> services;  // Services and one-shot jobs, in the plan's order.
  std::vector<ReportTest> tests;
  std::vector<ChainLink> critical_chain;
  double explained = 0;     // Share of the wall time until the verdict that named nodes' links explain: 0 to 1.
  absl::Duration overhead;  // Wall time until the verdict minus the links of nodes.
  bool torn_down = false;
  Receipt teardown;
  absl::Time released_at = absl::InfiniteFuture();        // Everything had ended and was given back.
  absl::Time gone_at = absl::InfiniteFuture();            // Its platform had forgotten it, too; often the same moment.
  absl::Duration gone_after = -absl::InfiniteDuration();  // Since the teardown began; where something was ending yet.
  std::vector<std::string> held;                          // What keeps it from being gone, as last told, verbatim.
};

}  // namespace mayfly

#endif  // MAYFLY_REPORT_REPORT_H_
