// The world behind FakeEngine: scopes, the processes in them and everything that ever happened to them. It outlives
// engine objects, as kernel and cluster outlive a server, so that tests can kill the server and look at what is left.
#ifndef MAYFLY_TESTS_SUPPORT_FAKE_WORLD_H_
#define MAYFLY_TESTS_SUPPORT_FAKE_WORLD_H_

#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "mayfly/base/loop.h"
#include "mayfly/engine/interactive.h"

namespace mayfly {

// What one attempt of a node does. Durations of a process count from its start.
struct FakeRun {
  absl::Duration prepare;                         // Prepare to PREPARED.
  absl::Duration launch;                          // Start to STARTED.
  absl::Duration ready;                           // Infinite: never.
  absl::Duration end = absl::InfiniteDuration();  // Ends by itself.
  int exit_code = 0;
  int signal = 0;
  Cause start_failure;  // Set: kStartFailed instead of kStarted.
  Cause end_cause;      // Told with kExited; made up from code and signal when empty.
  Cause probe_cause;    // Set: one kProbe with it, a second after the start, unless ready by then.
  bool ignores_term = false;
  absl::Duration stop;  // From the stop signal to the end, unless ignored.
  std::vector<std::pair<absl::Duration, LogLine>> lines;
  std::map<int, absl::Duration> ports;       // Listens on, from then on.
  std::map<std::string, std::string> files;  // Left behind in the working directory.
};

// The steps of mayfly-workload (tests/workloads) on virtual time; another program runs for ever and is ready at once
// when it exists on the host, and fails to start as it would there otherwise.
FakeRun RunOfArgv(const ProcessSpec& process, bool one_shot);

// One thing that happened, in order.
struct FakeHistory {
  enum class Kind {
    kScopeCreated,
    kPrepared,
    kLaunched,
    kStarted,
    kReady,
    kStopping,
    kEnded,
    kStartFailed,
    kExposed,
    kScopeReleased
  };
  Kind kind = Kind::kStarted;
  NodeRef node;
  absl::Duration when;
  int exit_code = 0;
  int signal = 0;
  bool stopped = false;  // kEnded: by Stop or Destroy.
};

// Where a server would be cut off by kill -9: after `Arm(n)`, the n-th step from now and all later ones do nothing.
// Engine verbs and, through CrashingStore, store writes are steps.
class Fuse {
 public:
  void Arm(int steps) { left_ = steps; }
  void Disarm() { left_ = -1; }
  bool blown() const { return left_ == 0; }
  // True when this step still happens.
  bool Step() {
    if (left_ > 0) --left_;
    return left_ != 0;
  }

 private:
  int left_ = -1;
};

// Not thread-safe: everything happens on the loop's thread. `loop` must outlive it.
class FakeWorld {
 public:
  struct Node {
    NodeRef ref;
    enum class Stage { kPreparing, kPrepared, kStarting, kRunning, kEnded } stage = Stage::kPreparing;
    ProcessSpec process;
    FakeRun run;
    bool one_shot = false;
    bool ready = false;
    bool stopping = false;
    absl::Duration started;
    EngineEvent last;  // The latest of kPrepared, kStarted, kReady, kExited and kStartFailed.
    std::vector<TimerId> timers;
    std::map<int, std::string> exposed;
  };
  struct Scope {
    ScopeSpec spec;
    bool ready = false;
    bool destroyed = false;
    std::map<std::string, Node> nodes;
    bool released = false;             // But `ending`.
    std::vector<EngineEvent> unheard;  // While no engine listens.
    Receipt receipt;
    std::map<std::string, std::string> images;  // Used so far: name -> digest.
  };

  explicit FakeWorld(Loop* loop) : loop_(loop) {}
  FakeWorld(const FakeWorld&) = delete;
  FakeWorld& operator=(const FakeWorld&) = delete;

  // What a node does; nullptr: RunOfArgv. Asked at Prepare (attempt known) and again at Start (one_shot known).
  std::function<FakeRun(const NodeRef&, const ProcessSpec&, bool one_shot)> script;
  absl::Duration scope_takes;    // CreateScope to kScopeReady.
  std::string scope_waits;       // Set: told by kProbe before it is ready.
  Cause scope_failure;           // Set: kScopeFailed.
  absl::Duration destroy_takes;  // Destroy to kScopeReleased.
  std::map<std::string, std::string>
      registry;              // What images are by now: name -> digest; one that is not here is told of nothing.
  std::string ending;        // Set: what a release leaves for the platform to forget, until Forget.
  int blocked_destroys = 0;  // So many next Destroys end in a receipt with a blocker.
  int lost_destroys = 0;     // So many next Destroys are accepted and forgotten.
  Fuse fuse;

  // The next `times` calls of `verb` ("Start", ...) on `node` (scope verbs: the scope id; "": any) fail with `status`.
  void FailVerb(const std::string& verb, const std::string& node, absl::Status status, int times = 1);

  // Ends a running process as if by itself.
  void Crash(const std::string& scope, const std::string& node, int exit_code, int signal = 0);
  // The scope vanishes with all in it, as after a restart of the machine.
  void LoseScope(const std::string& scope);
  // Of a released scope that is `ending`: what keeps it, and its end.
  void Hold(const std::string& scope, std::vector<std::string> blockers);
  void Forget(const std::string& scope);

  const std::map<std::string, Scope>& scopes() const { return scopes_; }
  const std::vector<FakeHistory>& history() const { return history_; }
  int CountStarted(const std::string& node) const;
  // Processes that run now, in all scopes.
  int running() const;
  std::vector<LogLine> LogOf(const std::string& log_dir, const std::string& node) const;

 private:
  friend class FakeEngine;

  absl::Status Check(const std::string& verb, const std::string& name);
  Node* Find(const NodeRef& ref);
  void Emit(EngineEvent event);
  void Later(Node& node, absl::Duration delay, std::function<void(Node&)> fn);
  void Record(FakeHistory::Kind kind, const NodeRef& node, int exit_code = 0, int signal = 0, bool stopped = false);
  void Tell(Node& node, EngineEvent::Kind kind);
  void Launch(Node& node);
  void Run(Node& node);
  void End(Node& node, int exit_code, int signal, bool stopped);
  void Release(const std::string& scope, bool blocked);

  Loop* const loop_;
  EngineEventSink* sink_ = nullptr;  // nullptr while no engine listens.
  std::map<std::string, Scope> scopes_;
  std::vector<FakeHistory> history_;
  struct Failure {
    std::string verb;
    std::string name;
    absl::Status status;
    int times;
  };
  std::vector<Failure> failures_;
  std::map<std::pair<std::string, std::string>, std::vector<LogLine>> logs_;  // By log folder and node.
  int next_port_ = 20480;
};

}  // namespace mayfly

#endif  // MAYFLY_TESTS_SUPPORT_FAKE_WORLD_H_
