// Drives one environment from acceptance to DELETED, and owns all its mutable state.
//
// It acts in turns on the run loop: engine events, timers and requests change the state in memory, then everything that
// now may happen is decided, the whole turn is written as one batch, and only then the engine is called. There are no
// waves: a node is started when its own needs are met; everything is prepared long before.
//
// What decides (also docs/architecture.md):
//  - A node fails when it cannot start, ends although it should run (exit 0 too), or is not ready within its deadline;
//    `restart: on-failure` starts a service that ended again, with back-off, max_restarts times. Everything that still
//    waits for a failed node becomes SKIPPED with the root cause's name; what runs already goes on.
//  - An environment that is torn down in any case (keep: never) starts nothing more after the first failure: its
//    verdict is certain. One that may be kept goes on with every independent branch, so that what works is there to
//    look at.
//  - The verdict waits a moment (kSettle) after a failure, so that a cause is not beaten by its consequence. ERROR with
//    the earliest failure that has no failed ancestor; else FAILED when a test job failed that is not declared flaky,
//    unless something it needs broke while it ran (ERROR) or it could not run at all (ERROR); else PASSED. Without test
//    jobs, PASSED belongs to environments that are not kept always; `up` has no verdict while nothing fails.
//  - A test job that exits non-zero, overruns its deadline or crashes by its own signal failed; one that was
//    killed from outside or could not start is broken. Failed ones are tried again as often as they may.
//  - Teardown is repeated with back-off until the engine's receipt is clean; only then the state is DELETED.
#ifndef MAYFLY_SERVER_RUN_ORCHESTRATOR_H_
#define MAYFLY_SERVER_RUN_ORCHESTRATOR_H_

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "server/run/journal.h"
#include "server/run/node.h"
#include "server/run/provisioner.h"
#include "server/run/recovery.h"

namespace mayfly {

// Not thread-safe: every call is a turn of the run loop.
class Orchestrator {
 public:
  struct Options {
    int start_slots = 0;  // Services and one-shot jobs between launch and ready at the same time; 0: no limit.
    int test_slots = 4;
    int prepare_window = 8;  // Prepare calls under way.
    absl::Duration prepare_deadline = absl::Seconds(30);
    absl::Duration engine_deadline = absl::Seconds(30);  // For scope creation, Start to STARTED.
    absl::Duration stop_margin = absl::Seconds(3);       // On top of the stop grace.
    absl::Duration settle = absl::Milliseconds(50);
    absl::Duration destroy_deadline = absl::Seconds(10);  // Destroy to released; then it is called again.
    absl::Duration collect_deadline = absl::Seconds(30);
    std::string log_dir;
    std::string artifact_dir;
  };
  // What it works with. `changed` is called after each commit, `done` once, at DELETED. The loop is shared because
  // answers of the engine and the worker may come when all else is gone.
  struct Host {
    std::shared_ptr<Loop> loop;
    const ProvisionerDependencies* dependencies = nullptr;
    EventLogs* logs = nullptr;
    std::function<void(Orchestrator&)> changed;
    std::function<void(Orchestrator&)> done;
  };
  // What to do with an environment that a former server left.
  struct Adoption {
    Fold past;  // Of its events.
    std::vector<ResourceRecord> resources;
    const FoundScope* scope = nullptr;  // nullptr: the world has none.
    bool plan_known = true;             // False: `plan` is only what the events tell; nothing can be started.
    Cause broken;                       // Set: it cannot be continued.
  };

  Orchestrator(Host host, Options options, Journal journal, Plan plan);
  ~Orchestrator();

  // Begins a new environment; its record and kPlanned event are durable.
  void Start();
  // Continues one. The world was read; `adoption.scope` need only live during the call.
  void Adopt(Adoption adoption);

  // Events come one by one; EndTurn after the last one.
  void OnEngineEvent(const EngineEvent& event);
  void EndTurn();

  // Tears it down. `cause` says why it was not left alone: kCancelled, kSuperseded or kExpired.
  void Delete(bool graceful, Cause cause);
  void SetExpiry(absl::Time expire_time);
  // Brings the running environment to `plan`: starts what is new, replaces what changed or is in `restart`, stops what
  // is gone, runs the test jobs of `tests` (again). FAILED_PRECONDITION when its state does not allow that.
  struct Change {
    Plan plan;
    EnvironmentRequest request;
    std::set<std::string> restart;
    std::set<std::string> tests;
    std::optional<std::string> source;  // What `plan` was made from (source_codec.h), where that is new.
  };
  absl::Status Apply(Change change);

  const EnvironmentRecord& record() const { return journal_.record(); }
  const Plan& plan() const { return plan_; }
  bool plan_known() const { return plan_known_; }
  bool deleting() const { return phase_ == Phase::kStopping || phase_ == Phase::kDestroying || phase_ == Phase::kGone; }
  bool scope_lost() const { return scope_lost_; }
  // What its plan was made from, to be kept with its record.
  void KeepSource(std::string source) { journal_.KeepSource(std::move(source)); }
  // For people, in the event log.
  void Remark(std::string message) { journal_.Add(EventKind::kNote).message = std::move(message); }
  // The request with its secrets, which are never stored.
  const EnvironmentRequest& request() const { return request_; }
  void set_request(EnvironmentRequest request) { request_ = std::move(request); }
  EnvironmentView View() const;

  // Once it is DELETED: what its place still has to tell, for whoever goes on listening, and the log to write it to.
  const std::string& ending() const { return ending_; }
  std::vector<EngineEvent> TakeLateEvents() { return std::move(late_); }
  Journal TakeJournal() { return std::move(journal_); }

 private:
  enum class Phase { kScope, kDriving, kStopping, kDestroying, kGone };
  enum class Verb { kCreateScope, kPrepare, kStart, kStop, kExpose, kDestroy };
  struct Effect {
    Verb verb;
    std::string node;
    int attempt = 0;
    Port port;
  };

  // Turns (orchestrator.cc).
  void Guard(absl::Duration delay, TimerId* timer, std::function<void()> fn);
  void Cancel(TimerId* timer);
  void Decide();
  bool Commit();
  void RunEffects();
  absl::Status Call(const Effect& effect);
  void OnRefused(const Effect& effect, const absl::Status& status);
  std::map<std::string, std::string> Images() const;
  void OnImages(Node& node, const EngineEvent& event);
  void SetEnvironmentState(EnvironmentState state);
  Node* Find(const std::string& name) const;

  // Who starts when (orchestrator_start.cc).
  void PrepareMore();
  void StartReady();
  void SkipHopeless();
  void Launch(Node& node);
  int FreeSlots(bool tests) const;

  // Nodes under way (orchestrator_nodes.cc).
  void StopWanted();
  void OnNodeEvent(Node& node, const EngineEvent& event);
  void OnRunning(Node& node, const EngineEvent& event);
  void OnReady(Node& node, const EngineEvent& event);
  void OnEnded(Node& node, const EngineEvent& event);
  void OnDeadline(Node& node);
  void Fail(Node& node, Cause cause, absl::Duration when);
  bool RestartLater(Node& node, const Cause& cause);
  void Again(Node& node, absl::string_view reason);
  void WaitAgain(Node& node);
  void Reset(Node& node);
  void EndAttempt(Node& node);
  Event& SetState(Node& node, NodeState state, absl::Duration when);
  Event& Note(const Node& node, std::string message);
  void AddEvidence(Node& node);

  // Test jobs (orchestrator_tests.cc).
  void OnTestEnded(Node& node, const EngineEvent& event);
  void Collect(Node& node, bool last_try);
  void OnCollected(const std::string& name, int attempt, bool last_try, absl::Status status,
                   absl::StatusOr<JunitCounts> counts);
  void ConcludeTest(Node& node, const absl::Status& collected, const absl::StatusOr<JunitCounts>& counts);

  // The whole (orchestrator_verdict.cc).
  void Judge();
  void JudgeTests();
  void Settle(std::function<void()> then);
  void Conclude(Verdict verdict, Cause cause);
  bool Kept() const;
  void Break(Cause cause);

  // Teardown (orchestrator_teardown.cc).
  void BeginTeardown(bool graceful);
  void StopAll();
  void Destroy();
  void OnReleased(const EngineEvent& event);
  void OnScopeLost(const EngineEvent& event);
  void ArmExpiry();

  // Updates (orchestrator_update.cc).
  void Adopt(Node& node, const NodePast* past, const ResourceRecord* resource, const FoundScope::Node* found);
  void Relink();

  const Host host_;
  const Options options_;
  Journal journal_;
  EnvironmentRequest request_;
  Plan plan_;
  bool plan_known_ = true;
  std::vector<std::unique_ptr<Node>> nodes_;    // In the plan's order.
  std::vector<std::unique_ptr<Node>> leaving_;  // No longer in the plan, not yet stopped.
  std::map<std::string, int> former_attempts_;  // Of nodes that left: an attempt's number is never used again.
  std::vector<Effect> effects_;

  Phase phase_ = Phase::kScope;
  bool scope_lost_ = false;
  bool halted_ = false;       // Nothing more is started: the verdict is certain.
  bool activated_ = false;    // Every service was ready since the last change of the plan.
  bool judged_ = false;       // The verdict of the present plan is known.
  bool failed_once_ = false;  // The verdict of this plan or a former one was not PASSED.
  bool settling_ = false;
  bool settled_ = false;  // The moment after a failure has passed.
  bool told_done_ = false;
  int destroys_ = 0;
  int failed_commits_ = 0;
  std::vector<std::string> blockers_;                         // As last told.
  std::string ending_;                                        // Of the receipt.
  std::vector<EngineEvent> late_;                             // Of the scope, after its release.
  absl::Duration trouble_since_ = -absl::InfiniteDuration();  // The engine or the store refuses since then.
  absl::flat_hash_map<std::string, Node*> by_name_;           // Of nodes_ and leaving_.
  TimerId scope_timer_ = 0;
  TimerId scope_retry_timer_ = 0;
  TimerId settle_timer_ = 0;
  TimerId expiry_timer_ = 0;
  TimerId commit_timer_ = 0;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace mayfly

#endif  // MAYFLY_SERVER_RUN_ORCHESTRATOR_H_
