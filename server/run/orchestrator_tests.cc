// Test jobs: how a run ends, what is kept of it, and whether it is tried again.
#include <csignal>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "mayfly/base/text.h"
#include "server/run/orchestrator.h"

namespace mayfly {
namespace {

constexpr int64_t kMaxKept = int64_t{64} << 20;  // Bytes of JUnit and artifacts per run.

// Signals that a program brings upon itself: an assertion, a bad pointer. They are the test's own failure.
bool OwnCrash(int signal) {
  return signal == SIGABRT || signal == SIGSEGV || signal == SIGBUS || signal == SIGFPE || signal == SIGILL ||
         signal == SIGTRAP || signal == SIGSYS;
}

Cause CauseOfEnd(const Node& node, const EngineEvent& event) {
  Cause cause = event.cause;
  cause.node = node.plan.name;
  if (node.overdue) {
    cause.code = CauseCode::kTestDeadline;
    cause.message = absl::StrCat("still ran after ", HumanDuration(node.plan.process.probe.within));
  } else if (event.signal == 0 &&
             (cause.empty() || cause.code == CauseCode::kExited || cause.code == CauseCode::kJobFailed)) {
    cause.code = CauseCode::kTestsFailed;
    cause.message = absl::StrCat("exited with code ", event.exit_code);
  } else if (OwnCrash(event.signal) && (cause.empty() || cause.code == CauseCode::kSignaled)) {
    cause.code = CauseCode::kTestsFailed;
    cause.message = absl::StrCat("crashed with signal ", event.signal);
  } else {
    if (cause.message.empty()) cause.message = absl::StrCat("was killed by signal ", event.signal);
    if (cause.code != CauseCode::kSignaled && !cause.empty()) {
      cause.message = absl::StrCat(InfoFor(cause.code).name, ": ", cause.message);
    }
    cause.code = CauseCode::kTestBroken;
  }
  return cause;
}

}  // namespace

void Orchestrator::OnTestEnded(Node& node, const EngineEvent& event) {
  node.stop_wanted = false;
  const bool passed = !node.overdue && event.exit_code == 0 && event.signal == 0;
  const bool last_try = passed || halted_ || !plan_known_ || node.tries > node.plan.retries;
  node.decided = event.when;
  if (passed) {
    node.cause = Cause();
    node.start_time = event.when - node.launched;
    journal_.Measure(plan_.catalogue, node.plan.name, node.start_time);
    SetState(node, NodeState::kSucceeded, event.when);
  } else {
    node.cause = CauseOfEnd(node, event);
    if (last_try)
      SetState(node, NodeState::kFailed, event.when);
    else
      Note(node, absl::StrCat("try ", node.tries, " of ", node.plan.retries + 1, " failed: ", node.cause.message));
  }
  if (!passed) AddEvidence(node);
  Collect(node, last_try);
}

void Orchestrator::Collect(Node& node, bool last_try) {
  FileCollector* collector = host_.dependencies->collector;
  std::vector<std::string> paths = node.plan.artifacts;
  if (!node.plan.junit.empty()) paths.insert(paths.begin(), node.plan.junit);
  node.collecting = true;
  if (collector == nullptr || paths.empty()) {
    OnCollected(node.plan.name, node.attempt, last_try, absl::OkStatus(), absl::NotFoundError(""));
    return;
  }
  std::string folder = absl::StrCat(options_.artifact_dir, "/", node.plan.name);
  if (!last_try) absl::StrAppend(&folder, "/try-", node.tries);
  const std::string junit = node.plan.junit.empty() ? "" : absl::StrCat(folder, "/", node.plan.junit);
  const std::string name = node.plan.name;
  const int attempt = node.attempt;
  Guard(options_.collect_deadline, &node.timer, [this, name, attempt, last_try] {
    OnCollected(name, attempt, last_try, absl::DeadlineExceededError("its files could not be copied in time"),
                absl::NotFoundError(""));
  });
  // From the engine's thread to the worker, which reads the file, to the run loop. The turn that ends the try comes
  // last.
  const std::weak_ptr<bool> alive = alive_;
  const std::shared_ptr<Loop> loop = host_.loop;
  const auto done = [this, worker = host_.dependencies->worker, read = host_.dependencies->read_junit, alive, loop,
                     name, attempt, last_try, junit](absl::Status status) {
    worker([this, read, alive, loop, name, attempt, last_try, junit, status] {
      absl::StatusOr<JunitCounts> counts = absl::NotFoundError("");
      if (!junit.empty() && read) counts = read(junit);
      loop->Post([this, alive, name, attempt, last_try, status, counts] {
        if (alive.expired()) return;
        OnCollected(name, attempt, last_try, status, counts);
        EndTurn();
      });
    });
  };
  const NodeRef ref = {record().scope, name, attempt};
  // Not in this turn: what ended is durable before anything is done about it.
  loop->Post([alive, collector, ref, paths, folder, done] {
    if (!alive.expired()) collector->Collect(ref, paths, folder, kMaxKept, done);
  });
}

void Orchestrator::OnCollected(const std::string& name, int attempt, bool last_try, absl::Status status,
                               absl::StatusOr<JunitCounts> counts) {
  Node* node = Find(name);
  if (node == nullptr || node->attempt != attempt || !std::exchange(node->collecting, false)) return;
  Cancel(&node->timer);
  if (deleting()) return;
  if (last_try) {
    ConcludeTest(*node, status, counts);
    return;
  }
  Again(*node, "retry");
}

void Orchestrator::ConcludeTest(Node& node, const absl::Status& collected, const absl::StatusOr<JunitCounts>& counts) {
  node.concluded = true;
  const bool passed = node.state == NodeState::kSucceeded;
  const std::string folder = absl::StrCat(options_.artifact_dir, "/", node.plan.name);
  std::vector<std::string> notes;
  if (!collected.ok()) notes.push_back(absl::StrCat("not everything could be kept: ", collected.message()));
  if (counts.ok() && !passed && node.cause.code == CauseCode::kTestsFailed && counts->failures + counts->errors > 0) {
    node.cause.message = absl::StrCat(counts->failures + counts->errors, " of ", counts->tests, " tests failed");
  }
  if (counts.ok() && passed && counts->failures + counts->errors > 0) {
    notes.push_back(
        absl::StrCat("exited with 0, but its JUnit file counts ", counts->failures + counts->errors, " failures"));
  }
  if (!counts.ok() && !node.plan.junit.empty() && !absl::IsNotFound(counts.status())) {
    notes.push_back(absl::StrCat("its JUnit file cannot be read: ", counts.status().message()));
  }
  for (const std::string& note : notes) Note(node, note);
  Event& event = journal_.Add(EventKind::kJobResult);
  event.node = node.plan.name;
  event.attempt = node.attempt;
  event.node_state = node.state;
  event.cause = node.cause;
  event.exit_code = node.exit_code;
  event.signal = node.signal;
  if (!notes.empty()) event.attributes["note"] = absl::StrJoin(notes, "; ");
  event.attributes["tries"] = absl::StrCat(node.tries);
  event.attributes["flaky"] = node.plan.flaky || (passed && node.tries > 1) ? "true" : "false";
  if (counts.ok()) {
    event.attributes["tests"] = absl::StrCat(counts->tests);
    event.attributes["failures"] = absl::StrCat(counts->failures);
    event.attributes["errors"] = absl::StrCat(counts->errors);
    event.attributes["skipped"] = absl::StrCat(counts->skipped);
    event.attributes["junit"] = absl::StrCat(folder, "/", node.plan.junit);
  }
  const bool kept = host_.dependencies->collector != nullptr && node.stage == Stage::kEnded;
  if (kept && (!node.plan.artifacts.empty() || !node.plan.junit.empty())) event.attributes["artifacts"] = folder;
}

}  // namespace mayfly
