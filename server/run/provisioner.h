// The product behind the API: accepts requests, runs one Orchestrator per live environment, recovers after a restart,
// expires, and answers questions. gRPC-free; server/api translates to and from it.
//
// Verbs may be called from any thread and return at once; `done` is called on the run loop. Errors by status code:
// INVALID_ARGUMENT (with diagnostics when a spec is at fault), NOT_FOUND, ALREADY_EXISTS, FAILED_PRECONDITION (the
// engine cannot run here, or the state does not allow it), ABORTED (etag), PERMISSION_DENIED (another's environment, a
// source outside of the folder that it must be below),
// RESOURCE_EXHAUSTED (disk of the state folder), UNAVAILABLE (shutting down).
#ifndef MAYFLY_SERVER_RUN_PROVISIONER_H_
#define MAYFLY_SERVER_RUN_PROVISIONER_H_

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mayfly/base/diagnostic.h"
#include "mayfly/base/loop.h"
#include "mayfly/engine/engine.h"
#include "mayfly/engine/interactive.h"
#include "mayfly/plan/plan.h"
#include "mayfly/report/event.h"
#include "mayfly/report/report.h"
#include "mayfly/spec/catalogue.h"
#include "mayfly/spec/environment_request.h"
#include "server/run/engine_event_queue.h"
#include "server/run/event_hub.h"
#include "server/run/host_port.h"
#include "server/store/store.h"

namespace mayfly {

// A node as it is now.
struct NodeView {
  PlannedNode planned;
  NodeState state = NodeState::kWaiting;
  int attempt = 0;
  absl::Duration start_time = -absl::InfiniteDuration();  // Launch to ready or completed.
  Usage usage;
  Cause cause;
  std::string message;
  std::map<int, HostPort> endpoints;  // By port.
};

// An environment as it is now; immutable, shared with readers.
struct EnvironmentView {
  EnvironmentRecord record;
  std::string catalogue;
  std::vector<NodeView> nodes;
  int64_t last_sequence = 0;
  // Of a DELETED one: what its platform still takes away at its own pace, what keeps it from that, and when it had
  // gone.
  std::string ending;
  std::vector<std::string> held;
  absl::Time gone_time = absl::InfiniteFuture();
};
using EnvironmentViewRef = std::shared_ptr<const EnvironmentView>;

struct CreateOptions {
  bool validate_only = false;
  bool allow_update = false;  // Apply to a live environment of that name instead of ALREADY_EXISTS.
  bool any_owner = true;      // Also to one of another owner; PERMISSION_DENIED otherwise.
  // Name of an environment, live or deleted, that is made again: from the files of then, with the images of then. Of
  // the request only id, name, keep, ttl, owner, secrets and labels count. NOT_FOUND when too little was recorded.
  std::string replay;
};

struct CreateOutcome {
  absl::Status status;
  EnvironmentViewRef environment;  // Set when OK and not validate_only.
  Diagnostics diagnostics;
};

struct PlanOutcome {
  absl::Status status;
  Plan plan;
  Diagnostics diagnostics;
};

class Provisioner {
 public:
  struct Options {
    std::string state_dir;  // Logs, artifacts and reports lie below it.
    absl::Duration default_ttl = absl::Hours(8);
    absl::Duration keep_deleted = absl::Hours(24 * 7);  // Reports and logs after DELETED.
    int max_environments = 500;                         // Live ones; over it RESOURCE_EXHAUSTED.
    int start_slots = 0;                                // Nodes starting at the same time per environment; 0: no limit.
    int test_slots = 4;                                 // Test jobs running at the same time per environment.
  };
  using Done = std::function<void(absl::StatusOr<EnvironmentViewRef>)>;

  virtual ~Provisioner() = default;

  // Reads store and world, adopts or removes, resumes teardowns. Call once, before anything else; blocks until known.
  virtual absl::Status Recover() = 0;

  virtual void Create(EnvironmentRequest request, CreateOptions options, std::function<void(CreateOutcome)> done) = 0;
  virtual void MakePlan(EnvironmentRequest request, std::function<void(PlanOutcome)> done) = 0;
  // In all that follow: a `uid` that is not empty says which environment of that name is meant; another one that has
  // taken the name is NOT_FOUND (Delete: what is deleted already is deleted).
  struct DeleteOptions {
    std::string etag;
    std::string uid;
    bool graceful = false;
  };
  virtual void Delete(const std::string& name, DeleteOptions options, Done done) = 0;
  struct UpdateOptions {
    std::string etag;
    std::optional<absl::Duration> ttl;  // From now.
    std::optional<absl::Time> expire_time;
    std::string uid;
  };
  virtual void Update(const std::string& name, UpdateOptions options, Done done) = 0;
  struct TestOptions {
    std::vector<std::string> tests;  // Empty: all.
    std::string request_id;          // A repeated one starts nothing, also after a restart. Empty: none.
    std::string uid;
  };
  virtual void RunTests(const std::string& name, TestOptions options, Done done) = 0;
  struct RestartOptions {
    std::vector<std::string> services;  // At least one.
    std::string uid;
  };
  virtual void Restart(const std::string& name, RestartOptions options, Done done) = 0;

  // Thread-safe, from memory: the live environment of that name, or else the latest deleted one.
  virtual absl::StatusOr<EnvironmentViewRef> Get(const std::string& name) = 0;
  virtual absl::StatusOr<EnvironmentViewRef> GetByUid(const std::string& uid) = 0;
  struct ViewPage {
    std::vector<EnvironmentViewRef> environments;
    std::string next_page_token;
  };
  virtual absl::StatusOr<ViewPage> List(const ListFilter& filter, int page_size, const std::string& page_token) = 0;
  virtual EventHub& events() = 0;

  // Folds the events so far. Thread-safe.
  virtual absl::StatusOr<Report> GetReport(const EnvironmentView& environment) = 0;
  // Folder with <node>.log files (through LogSource), and with <job>/ folders of kept JUnit files and artifacts.
  virtual std::string LogDir(const EnvironmentView& environment) const = 0;
  virtual std::string ArtifactDir(const EnvironmentView& environment) const = 0;

  // Live environments; 0 lets an idle server end. Thread-safe.
  virtual int live() const = 0;

  // Removes every live environment, without grace, and blocks until all are gone or `limit` has passed; how many are
  // left. Not from the run loop.
  virtual int TakeDownAll(absl::Duration limit) = 0;

  // Stops driving; environments live on and are adopted by the next server. Blocks until nothing runs any more.
  virtual void Shutdown() = 0;
};

// What the JUnit file of a test job counts.
struct JunitCounts {
  int tests = 0;
  int failures = 0;
  int errors = 0;
  int skipped = 0;
};

// What a provisioner works with. Nothing is owned; all must outlive it. The functions marked "worker" may block: they
// run on a thread of the provisioner's own, one at a time, never on the run loop.
struct ProvisionerDependencies {
  Loop* loop = nullptr;
  Engine* engine = nullptr;
  EngineEventQueue* engine_events = nullptr;  // The sink that `engine` was made with.
  Store* store = nullptr;
  FileCollector* collector = nullptr;  // Optional.
  LogSource* logs = nullptr;           // Optional: last lines of failed nodes become evidence.
  // Reads a folder or an envspec.yml, and nothing outside of `below` when that is not empty (server/spec). Worker.
  std::function<LoadedCatalogue(const std::string& source, const std::string& below)> load;
  // The same of files that were recorded (server/spec). Worker.
  std::function<LoadedCatalogue(std::shared_ptr<const CatalogueSource>)> load_recorded;
  // Plans (server/plan). Worker.
  std::function<PlanOutcome(const Catalogue&, const EnvironmentRequest&, const Capabilities&,
                            const std::vector<Store::StartTime>&)>
      plan;
  // Folds events (server/report). Any thread.
  std::function<Report(const EnvironmentRecord&, const std::vector<Event>&)> report;
  // Reads a kept JUnit file (server/report). Optional. Worker.
  std::function<absl::StatusOr<JunitCounts>(const std::string& path)> read_junit;
  // One line about what an operator should know. Optional. Any thread.
  std::function<void(absl::string_view line)> warn;
  // Runs blocking work and must keep its order. Empty: a thread of the provisioner's own. Tests post to their loop.
  std::function<void(std::function<void()>)> worker;
};

std::unique_ptr<Provisioner> CreateProvisioner(Provisioner::Options options, ProvisionerDependencies dependencies);

}  // namespace mayfly

#endif  // MAYFLY_SERVER_RUN_PROVISIONER_H_
