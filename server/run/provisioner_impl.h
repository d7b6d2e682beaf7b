// The Provisioner of provisioner.h. Internal to this folder.
#ifndef MAYFLY_SERVER_RUN_PROVISIONER_IMPL_H_
#define MAYFLY_SERVER_RUN_PROVISIONER_IMPL_H_

#include <atomic>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "server/run/catalogue_cache.h"
#include "server/run/event_logs.h"
#include "server/run/guarded_loop.h"
#include "server/run/orchestrator.h"
#include "server/run/provisioner.h"
#include "server/run/view_table.h"
#include "server/run/worker.h"

namespace mayfly {

// Calls a callback exactly once: with an answer, or, when the last copy goes unanswered because the server stops, with
// UNAVAILABLE.
template <typename T>
class Reply {
 public:
  Reply(std::function<void(T)> fn, std::function<T(absl::Status)> failure)
      : state_(std::make_shared<State>(std::move(fn), std::move(failure))) {}
  void operator()(T value) const {
    if (auto fn = std::exchange(state_->fn, nullptr)) fn(std::move(value));
  }
  void Fail(absl::Status status) const { (*this)(state_->failure(std::move(status))); }

 private:
  struct State {
    std::function<void(T)> fn;
    std::function<T(absl::Status)> failure;
    State(std::function<void(T)> f, std::function<T(absl::Status)> g) : fn(std::move(f)), failure(std::move(g)) {}
    State(const State&) = delete;
    ~State() {
      if (fn) fn(failure(absl::UnavailableError("the server is shutting down")));
    }
  };
  std::shared_ptr<State> state_;
};

class ProvisionerImpl final : public Provisioner {
 public:
  ProvisionerImpl(Options options, ProvisionerDependencies dependencies);
  ~ProvisionerImpl() override { Shutdown(); }

  absl::Status Recover() override;
  void Create(EnvironmentRequest request, CreateOptions options, std::function<void(CreateOutcome)> done) override;
  void MakePlan(EnvironmentRequest request, std::function<void(PlanOutcome)> done) override;
  void Delete(const std::string& name, DeleteOptions options, Done done) override;
  void Update(const std::string& name, UpdateOptions options, Done done) override;
  void RunTests(const std::string& name, TestOptions options, Done done) override;
  void Restart(const std::string& name, RestartOptions options, Done done) override;
  absl::StatusOr<EnvironmentViewRef> Get(const std::string& name) override { return views_.Get(name); }
  absl::StatusOr<EnvironmentViewRef> GetByUid(const std::string& uid) override { return views_.GetByUid(uid); }
  absl::StatusOr<ViewPage> List(const ListFilter& filter, int page_size, const std::string& page_token) override {
    return views_.List(filter, page_size, page_token);
  }
  EventHub& events() override { return logs_; }
  absl::StatusOr<Report> GetReport(const EnvironmentView& environment) override;
  std::string LogDir(const EnvironmentView& environment) const override {
    return Folder(environment.record.uid, "logs");
  }
  std::string ArtifactDir(const EnvironmentView& environment) const override {
    return Folder(environment.record.uid, "artifacts");
  }
  int live() const override { return views_.live(); }
  int TakeDownAll(absl::Duration limit) override;
  void Shutdown() override;

 private:
  // A live environment. The catalogue is what its plan was made from; nullptr when that is not known any more.
  struct Live {
    std::unique_ptr<Orchestrator> orchestrator;
    CatalogueRef catalogue;
    EnvironmentState published = EnvironmentState::kCreating;
    TimerId publish_timer = 0;
  };
  struct Planned {
    CatalogueRef catalogue;
    PlanOutcome outcome;
  };
  struct Admission {
    EnvironmentRequest request;
    CreateOptions options;
    CatalogueRef catalogue;
    Plan plan;
    Diagnostics warnings;
    absl::Duration deadline;  // Monotonic; only while it waits for another's teardown.
  };
  using CreateReply = Reply<CreateOutcome>;
  using ViewReply = Reply<absl::StatusOr<EnvironmentViewRef>>;

  std::string Folder(const std::string& uid, absl::string_view part) const;
  ViewReply ReplyFor(Done done);
  void Warn(const std::string& line) const;
  // Of that uid, unless it is empty.
  Live* FindLive(const std::string& name, const std::string& uid = "");
  // The one that this request made, if it lives.
  Live* FindByRequest(const EnvironmentRequest& request);
  EnvironmentViewRef Publish(Live& live);
  void OnChanged(Live& live);
  void OnDone(const std::string& name);
  void DrainEvents();

  // Loads and plans without blocking the loop; `then` runs on it. `known` spares the loading.
  void LoadAndPlan(EnvironmentRequest request, CatalogueRef known, std::function<void(Planned)> then);
  absl::Status EngineUsable() const;

  // An environment made again (provisioner_replay.cc).
  void Replay(EnvironmentRequest request, const CreateOptions& options, CreateReply reply);
  void PlanReplay(const EnvironmentRecord& record, EnvironmentRequest again, const CreateOptions& options,
                  std::shared_ptr<const CatalogueSource> source, CreateReply reply);
  std::string ReplayNote(const std::string& former, const Live& live) const;
  absl::Status CheckImages(const EnvironmentRequest& again, const EnvironmentRecord& former, const Plan& plan) const;

  // Admission (provisioner_create.cc).
  void Decide(EnvironmentRequest request, const CreateOptions& options, CreateReply reply, Planned planned);
  void Admit(std::shared_ptr<Admission> admission, CreateReply reply);
  void AdmitOver(Live& live, std::shared_ptr<Admission> admission, CreateReply reply);
  void Wait(const std::string& name, std::shared_ptr<Admission> admission, CreateReply reply);
  absl::StatusOr<EnvironmentViewRef> Accept(Admission& admission);
  absl::StatusOr<absl::Duration> TtlOf(const Admission& admission) const;
  Live& AddLive(const EnvironmentRecord& record, Journal::Position position, Plan plan, CatalogueRef catalogue);

  // Recovery (provisioner_recover.cc).
  absl::Status Resume(const EnvironmentRecord& record, const FoundScope* scope);
  CatalogueRef LoadRecorded(const std::string& uid);  // nullptr when nothing was kept that can be read.
  void RemoveStrays(const std::vector<FoundScope>& found, const std::map<std::string, int64_t>& generations);
  void RemoveStray(const std::string& scope);
  void OnStrayEvent(const EngineEvent& event);
  void Purge();

  // DELETED, but not yet forgotten by its platform (provisioner_departed.cc).
  struct Departed {
    Journal journal;
    EnvironmentView view;
    bool gone = false;
    TimerId retry = 0;
  };
  void Depart(Orchestrator& orchestrator);
  absl::Status AdoptDeparted();
  absl::Status AdoptDeparted(const EnvironmentRecord& record);
  void OnDepartedEvent(Departed& departed, const EngineEvent& event);
  void CommitDeparted(const std::string& scope);

  const Options options_;
  ProvisionerDependencies dependencies_;
  std::shared_ptr<std::atomic<bool>> open_ = std::make_shared<std::atomic<bool>>(true);
  std::shared_ptr<GuardedLoop> loop_;
  EventLogs logs_;
  ViewTable views_;
  CatalogueCache cache_;  // Worker only.
  Capabilities capabilities_;
  std::map<std::string, Live> live_;                                  // By name.
  std::map<std::string, Live*> by_scope_;                             // The same.
  std::map<std::pair<std::string, std::string>, Live*> by_request_;   // The same, by owner and request id.
  std::map<std::string, std::deque<std::function<void()>>> waiting_;  // By name: for it to be DELETED.
  std::map<std::string, Departed> departed_;                          // By scope.
  TimerId purge_timer_ = 0;
  bool recovered_ = false;
  std::shared_ptr<Worker> worker_ = std::make_shared<Worker>();
};

}  // namespace mayfly

#endif  // MAYFLY_SERVER_RUN_PROVISIONER_IMPL_H_
