// The Engine contract: what the orchestrator may ask of a platform, and what a platform tells it.
//
// Every verb returns at once. OK means "accepted": what becomes of it is told by events to the sink. An error Status
// means that nothing was done and no event will come for this call:
//   INVALID_ARGUMENT    the request can never work here       NOT_FOUND   unknown scope or node (never from Destroy)
//   FAILED_PRECONDITION wrong order, such as Start unprepared  UNAVAILABLE the platform does not answer; try again
//   ALREADY_EXISTS      the scope exists with other contents
//
// All verbs are idempotent: repeating one that was accepted, with the same arguments, changes nothing and repeats its
// final event. Verbs are called from one thread at a time per engine. Events come on any thread, in order per scope.
//
// A node goes: Prepare -> (PREPARED) -> Start -> STARTED -> [READY] -> EXITED. After Stop or EXITED it may be Prepared
// again, with the next `attempt`; events carry the attempt, so that a late one is told apart.
#ifndef MAYFLY_ENGINE_ENGINE_H_
#define MAYFLY_ENGINE_ENGINE_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "mayfly/base/cause.h"
#include "mayfly/engine/capabilities.h"
#include "mayfly/spec/process.h"

namespace mayfly {

// The place of one environment on an engine. `id` is deterministic (mayfly/base/ids.h) and never reused while an old
// one may live; `owner` is the trust domain: engines never share pooled resources between two owners.
struct ScopeSpec {
  std::string id;
  std::string environment;  // The name that people know; also the host name's prefix inside.
  std::string owner;
  std::string log_dir;      // Absolute folder for captured output; kept by Destroy, removed by the report's owner.
  std::string source_root;  // The catalogue's root.
  int expected_nodes = 0;   // A hint for how much to have ready.
  // When it ends by itself, for people who look at the platform. CreateScope again replaces this and `labels` there.
  absl::Time expires = absl::InfiniteFuture();
  std::map<std::string, std::string> labels;  // What its request was labelled with ("pr": "123"), for the same.
  // Images that its nodes name, as far as they are known, each with the digest that it stands for; empty: with what the
  // name stands for now. An image that is named only later is looked up then.
  std::map<std::string, std::string> images;
};

struct NodeRef {
  std::string scope;
  std::string node;
  int attempt = 1;
};

// What a process has used, as far as the host tells. Negative: unknown.
struct Usage {
  absl::Duration cpu = -absl::InfiniteDuration();
  int64_t peak_memory_bytes = -1;
};

// What was removed and how the engine knows, after Destroy.
struct Receipt {
  int processes = 0;                  // Ended by the teardown.
  int mounts = 0;                     // Mount namespaces or volumes released.
  int networks = 0;                   // Networks taken out of use.
  int cgroups = 0;                    // Control groups or quotas removed.
  int ports = 0;                      // Host ports released.
  absl::Duration took;                // From Destroy to released.
  std::vector<std::string> blockers;  // What is left, verbatim; empty in a clean receipt.
  // Of a clean one: what the platform still takes away at its own pace ("kube namespace shop-1x2y"), until kScopeGone.
  // Nothing of it runs, costs or stands in a next environment's way. Empty: released is gone, as with local.
  std::string ending;
};

struct EngineEvent {
  enum class Kind {
    kScopeReady,   // Nodes may be prepared and started.
    kScopeFailed,  // `cause`; Destroy is still to be called.
    kScopeLost,    // The scope vanished without Destroy.
    kPrepared,
    kImages,         // Before kPrepared: `images` of the node are what they are from now on, `message` says so.
    kStarted,        // The process runs.
    kReady,          // Its probe answered, or it has none.
    kProbe,          // Advisory: `message`, what it waits for; of a scope (no node) a free place, however long.
    kExited,         // `exit_code` or `signal`, `usage`, and a `cause` unless it was stopped or exited 0. Final for the
                     // attempt.
    kStartFailed,    // `cause`. Final for the attempt.
    kExposed,        // `port` is reachable at `address`; without one it is not, yet (`message`), and may come again.
    kScopeReleased,  // `receipt`: everything ended and given back.
    kScopeHeld,      // `receipt.blockers`: what keeps the platform from forgetting a released scope, in its own words;
                     // none: nothing does any more. Each is the whole truth by then, and comes only when it changed.
    kScopeGone,      // The platform has forgotten it, too. Never before kScopeReleased.
  };
  Kind kind = Kind::kScopeReady;
  NodeRef node;         // node.node is empty for scope events.
  absl::Duration when;  // Loop::Monotonic of the moment it happened, not of its delivery.
  int64_t pid = 0;      // kStarted: on the host, for people.
  int exit_code = 0;
  int signal = 0;        // Non-zero: ended by this signal.
  bool stopped = false;  // kExited: because of Stop or Destroy.
  Usage usage;
  Cause cause;
  std::string message;  // kExposed: its URL, where the engine knows; without an address, why it is not reachable.
  int port = 0;
  std::string address;                        // "127.0.0.1:20480".
  std::map<std::string, std::string> images;  // As its spec names them -> digest; empty for one that is not pinned.
  Receipt receipt;
};

class EngineEventSink {
 public:
  virtual ~EngineEventSink() = default;
  // Thread-safe; must not block and must not call the engine.
  virtual void OnEngineEvent(const EngineEvent& event) = 0;
};

// A scope found in the world, for recovery.
struct FoundScope {
  std::string id;
  std::string environment;
  struct Node {
    std::string node;
    int attempt = 1;
    bool running = false;
    bool ready = false;
    bool exited = false;
    int exit_code = 0;
    int signal = 0;
  };
  std::vector<Node> nodes;
  std::map<std::string, std::string> addresses;  // "service:port" -> host address.
};

class Engine {
 public:
  virtual ~Engine() = default;

  // What this engine can do on this host. May take milliseconds the first time; cheap afterwards.
  virtual Capabilities Describe() = 0;

  // Reads the world: every scope of this installation that exists, running or half made. Scopes listed here are
  // adopted: their events flow to the sink again from now on, beginning with what happened while nobody listened. An
  // error means that the list is not complete and nothing may be concluded from absence.
  virtual absl::StatusOr<std::vector<FoundScope>> Recover() = 0;

  virtual absl::Status CreateScope(const ScopeSpec& scope) = 0;

  // Does all the work that does not need the node's dependencies, so that Start is as short as the platform allows.
  // `name` inside resolves to the node for all others once the node is prepared.
  virtual absl::Status Prepare(const NodeRef& node, const ProcessSpec& process) = 0;

  // Runs it. `one_shot` nodes have no probe; kExited with exit_code 0 is their success.
  virtual absl::Status Start(const NodeRef& node, bool one_shot) = 0;

  // Ends it: the spec's stop signal, its grace, then the end of everything that it started. kExited follows.
  virtual absl::Status Stop(const NodeRef& node) = 0;

  // Makes `port` of a prepared node reachable from the host; kExposed follows. `host_port` 0: the engine chooses.
  virtual absl::Status Expose(const NodeRef& node, int port, int host_port) = 0;

  // Removes the scope and everything in it, at any point of its life, without grace. Valid for an unknown id (which is
  // released at once). kScopeReleased follows, then kScopeGone: at once where nothing is `ending`, and otherwise only
  // when whatever holds it lets go, which may be never. An engine only tells of that: it never removes a hold of
  // others.
  virtual absl::Status Destroy(const std::string& scope) = 0;
};

}  // namespace mayfly

#endif  // MAYFLY_ENGINE_ENGINE_H_
