// A provisioner on virtual time with a fake engine, whose server can be killed and started again.
#ifndef MAYFLY_TESTS_SUPPORT_RUN_HARNESS_H_
#define MAYFLY_TESTS_SUPPORT_RUN_HARNESS_H_

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "server/run/provisioner.h"
#include "server/store/memory_store.h"
#include "tests/support/fake_engine.h"
#include "tests/support/temp_dir.h"
#include "tests/support/virtual_loop.h"

namespace mayfly {

// A node for PlanOf. `needs`: "db", "db:started", "migrate:completed".
struct TestNode {
  std::string name;
  std::vector<std::string> needs;
  NodeKind kind = NodeKind::kService;
  std::string digest;  // Empty: the name.
  absl::Duration within = absl::Seconds(60);
  absl::Duration expected = absl::Milliseconds(100);
};
TestNode Job(std::string name, std::vector<std::string> needs = {});
TestNode TestJob(std::string name, std::vector<std::string> needs = {});

// A plan of nodes given in topological order, with priorities from the expected times.
Plan PlanOf(const std::vector<TestNode>& nodes);

// A MemoryStore that a blown fuse cuts off.
class CrashingStore final : public Store {
 public:
  CrashingStore(MemoryStore* store, Fuse* fuse) : store_(store), fuse_(fuse) {}
  const std::string& installation() const override { return store_->installation(); }
  absl::StatusOr<Created> CreateEnvironment(EnvironmentRecord record, std::vector<Event> events) override;
  absl::Status Write(const std::string& uid, const WriteBatch& batch) override;
  absl::StatusOr<EnvironmentRecord> GetEnvironment(const std::string& name) override {
    return store_->GetEnvironment(name);
  }
  absl::StatusOr<EnvironmentRecord> GetByUid(const std::string& uid) override { return store_->GetByUid(uid); }
  absl::StatusOr<Page> ListEnvironments(const ListFilter& filter, int size, const std::string& token) override {
    return store_->ListEnvironments(filter, size, token);
  }
  absl::StatusOr<std::vector<Event>> ReadEvents(const std::string& uid, int64_t after, int limit) override {
    return store_->ReadEvents(uid, after, limit);
  }
  absl::StatusOr<std::string> ReadSource(const std::string& uid) override { return store_->ReadSource(uid); }
  absl::StatusOr<std::vector<ResourceRecord>> ListResources(const std::string& uid) override {
    return store_->ListResources(uid);
  }
  absl::StatusOr<std::vector<StartTime>> StartTimes(const std::string& catalogue) override {
    return store_->StartTimes(catalogue);
  }
  absl::StatusOr<std::vector<std::string>> Purge(absl::Time before) override { return store_->Purge(before); }
  absl::Status SkipGenerations(const std::string& name, int64_t last) override {
    return store_->SkipGenerations(name, last);
  }
  absl::StatusOr<std::vector<std::string>> Quarantined() override { return store_->Quarantined(); }

 private:
  MemoryStore* const store_;
  Fuse* const fuse_;
};

class RunHarness {
 public:
  RunHarness();
  ~RunHarness();

  // What the source of that name says: every create with that `source` gets this plan. Change it to change the source.
  std::map<std::string, Plan> plans;
  std::map<std::string, Profile> profiles;
  Provisioner::Options options;
  std::function<absl::StatusOr<JunitCounts>(const std::string&)> read_junit;
  bool engine_usable = true;
  bool records_sources =
      false;                  // What `plans` said when a source was read can be read again, whatever they say by now.
  bool needs_images = false;  // Part of what the engine describes.

  VirtualLoop loop;
  FakeWorld world{&loop};
  MemoryStore memory;

  // Starts the server, which recovers what is there.
  void StartServer();
  // As by kill -9 and, with StartServer, a restart.
  void KillServer();
  Provisioner& server() { return *provisioner_; }
  FakeEngine& engine() { return *engine_; }
  bool running() const { return provisioner_ != nullptr; }

  // Creates and waits for the answer; nothing else has happened by then.
  CreateOutcome Create(const std::string& source, Keep keep = Keep::kAlways, bool allow_update = false);
  CreateOutcome Create(EnvironmentRequest request, CreateOptions options);
  // What the server answers to `call` at once.
  absl::StatusOr<EnvironmentViewRef> Await(const std::function<void(Provisioner::Done)>& call);
  absl::StatusOr<EnvironmentViewRef> Delete(const std::string& name, bool graceful = false);
  absl::StatusOr<EnvironmentViewRef> Restart(const std::string& name, std::vector<std::string> services);
  absl::StatusOr<EnvironmentViewRef> RunTests(const std::string& name, std::vector<std::string> tests,
                                              const std::string& request_id = "");

  // Turns the clock until the environment is in that state; false after `limit`.
  bool RunUntil(const std::string& name, EnvironmentState state, absl::Duration limit = absl::Minutes(10));
  EnvironmentViewRef View(const std::string& name);
  NodeView Node(const std::string& name, const std::string& node);
  // Of the newest environment of that name.
  std::vector<Event> Events(const std::string& name);
  // When the node last came into that state, since acceptance; nullopt when it never did.
  std::optional<absl::Duration> When(const std::string& name, const std::string& node, NodeState state);

 private:
  LoadedCatalogue Load(const std::string& source);

  TempDir folder_;
  std::map<std::string, Plan> read_;  // By catalogue digest, where sources are recorded.
  std::unique_ptr<CrashingStore> store_;
  std::unique_ptr<EngineEventQueue> queue_;
  std::unique_ptr<FakeEngine> engine_;
  std::unique_ptr<Provisioner> provisioner_;
};

}  // namespace mayfly

#endif  // MAYFLY_TESTS_SUPPORT_RUN_HARNESS_H_
