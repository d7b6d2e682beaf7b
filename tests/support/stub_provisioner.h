// A Provisioner in memory, for tests of what stands in front of it: accepts, answers and lets the test say what
// happens.
#ifndef MAYFLY_TESTS_SUPPORT_STUB_PROVISIONER_H_
#define MAYFLY_TESTS_SUPPORT_STUB_PROVISIONER_H_

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "mayfly/base/mutex.h"
#include "server/base/real_loop.h"
#include "server/run/provisioner.h"

namespace mayfly {

// Events in memory and whoever waits for them; working, not recorded. Thread-safe.
class StubEventHub final : public EventHub {
 public:
  absl::StatusOr<std::unique_ptr<EventSubscription>> Subscribe(const std::string& uid, int64_t after,
                                                               std::function<void()> wake) override;
  void Open(const std::string& uid);
  // Numbers the event and wakes watchers.
  int64_t Append(const std::string& uid, Event event);
  void Close(const std::string& uid);  // No event follows.
  int subscriptions() const;

 private:
  class Subscription;
  struct Log {
    std::vector<std::shared_ptr<const SharedEvent>> events;
    bool closed = false;
  };
  mutable Mutex mutex_;
  std::map<std::string, Log> logs_ ABSL_GUARDED_BY(mutex_);
  std::set<Subscription*> subscriptions_ ABSL_GUARDED_BY(mutex_);
};

class StubProvisioner final : public Provisioner {
 public:
  // What Create and MakePlan find wrong with every spec from now on.
  void FailSpecs(absl::Status status, Diagnostics diagnostics);
  // Keeps the answers of Create back until it is called with false.
  void HoldCreates(bool hold);

  // What happens to an environment, by name of a live one. The view follows, then the event is appended.
  void SetState(const std::string& name, EnvironmentState state);
  void SetVerdict(const std::string& name, Verdict verdict);
  void Note(const std::string& name, const std::string& message);
  void SetNodes(const std::string& name, std::vector<NodeView> nodes);
  void SetDirs(std::string log_dir, std::string artifact_dir);
  void SetReport(Report report);
  int64_t stored() const;
  std::string reported_uid() const;  // Of the environment whose report was asked for last.

  StubEventHub& hub() { return hub_; }

  absl::Status Recover() override { return absl::OkStatus(); }
  void Create(EnvironmentRequest request, CreateOptions options, std::function<void(CreateOutcome)> done) override;
  void MakePlan(EnvironmentRequest request, std::function<void(PlanOutcome)> done) override;
  void Delete(const std::string& name, DeleteOptions options, Done done) override;
  void Update(const std::string& name, UpdateOptions options, Done done) override;
  void RunTests(const std::string& name, TestOptions options, Done done) override;
  void Restart(const std::string& name, RestartOptions options, Done done) override;
  absl::StatusOr<EnvironmentViewRef> Get(const std::string& name) override;
  absl::StatusOr<EnvironmentViewRef> GetByUid(const std::string& uid) override;
  absl::StatusOr<ViewPage> List(const ListFilter& filter, int page_size, const std::string& page_token) override;
  EventHub& events() override { return hub_; }
  absl::StatusOr<Report> GetReport(const EnvironmentView& environment) override;
  std::string LogDir(const EnvironmentView&) const override;
  std::string ArtifactDir(const EnvironmentView&) const override;
  int live() const override;
  int TakeDownAll(absl::Duration) override { return 0; }
  void Shutdown() override {}

 private:
  absl::StatusOr<EnvironmentViewRef> FindLocked(const std::string& name) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  CreateOutcome CreateLocked(EnvironmentRequest request, CreateOptions options) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Change(const std::string& name, Event event, const std::function<void(EnvironmentView&)>& change);

  mutable Mutex mutex_;
  absl::Status spec_status_ ABSL_GUARDED_BY(mutex_);
  Diagnostics spec_diagnostics_ ABSL_GUARDED_BY(mutex_);
  bool hold_creates_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::function<void()>> held_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, EnvironmentViewRef> by_uid_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, std::string> newest_ ABSL_GUARDED_BY(mutex_);    // Name -> uid.
  std::map<std::string, std::string> requests_ ABSL_GUARDED_BY(mutex_);  // Request id -> uid.
  std::string log_dir_ ABSL_GUARDED_BY(mutex_);
  std::string artifact_dir_ ABSL_GUARDED_BY(mutex_);
  Report report_ ABSL_GUARDED_BY(mutex_);
  std::string reported_uid_ ABSL_GUARDED_BY(mutex_);
  StubEventHub hub_;
  RealLoop loop_;  // Last: nothing runs on it once the others go.
};

}  // namespace mayfly

#endif  // MAYFLY_TESTS_SUPPORT_STUB_PROVISIONER_H_
