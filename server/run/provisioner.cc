#include <algorithm>
#include <chrono>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "mayfly/base/mutex.h"
#include "mayfly/base/status.h"
#include "mayfly/base/text.h"
#include "server/run/provisioner_impl.h"

namespace mayfly {
namespace {

constexpr size_t kSmallPlan = 64;  // Views of larger ones are made at most every kPublishEvery.
constexpr absl::Duration kPublishEvery = absl::Milliseconds(10);

absl::Status CheckEtag(const std::string& etag, const EnvironmentRecord& record) {
  if (etag.empty() || etag == absl::StrCat(record.etag)) return absl::OkStatus();
  return absl::AbortedError(
      absl::StrCat("'", record.name, "' was changed meanwhile: its etag is ", record.etag, ", not ", EscapeLine(etag)));
}

constexpr size_t kTestRequests = 16;  // Ids that are remembered, so many runs back.

bool WasTaken(const EnvironmentRequest& request, const std::string& id) {
  return !id.empty() && std::count(request.test_requests.begin(), request.test_requests.end(), id) > 0;
}

std::vector<std::string> Taken(const EnvironmentRequest& request, const std::string& id) {
  std::vector<std::string> ids = request.test_requests;
  if (!id.empty()) ids.push_back(id);
  if (ids.size() > kTestRequests) ids.erase(ids.begin());
  return ids;
}

absl::Status NoEnvironment(const std::string& name) {
  return absl::NotFoundError(absl::StrCat("no environment '", EscapeLine(name), "'; `mayfly list` shows them"));
}

}  // namespace

std::unique_ptr<Provisioner> CreateProvisioner(Provisioner::Options options, ProvisionerDependencies dependencies) {
  return std::make_unique<ProvisionerImpl>(std::move(options), std::move(dependencies));
}

ProvisionerImpl::ProvisionerImpl(Options options, ProvisionerDependencies dependencies)
    : options_(std::move(options)),
      dependencies_(std::move(dependencies)),
      loop_(std::make_shared<GuardedLoop>(dependencies_.loop)),
      logs_(dependencies_.store),
      views_(dependencies_.store),
      cache_(dependencies_.load) {
  // Work of a given worker may be left over when this is gone.
  if (dependencies_.worker) {
    dependencies_.worker = [open = open_, run = dependencies_.worker](std::function<void()> fn) {
      run([open, fn = std::move(fn)] {
        if (*open) fn();
      });
    };
  } else {
    dependencies_.worker = [worker = worker_](std::function<void()> fn) { worker->Run(std::move(fn)); };
  }
}

void ProvisionerImpl::Shutdown() {
  dependencies_.engine_events->Attach(nullptr);
  loop_->Close();
  *open_ = false;
  worker_->Stop();
  waiting_.clear();
  by_scope_.clear();
  by_request_.clear();
  departed_.clear();
  live_.clear();
}

std::string ProvisionerImpl::Folder(const std::string& uid, absl::string_view part) const {
  return absl::StrCat(options_.state_dir, "/environments/", uid, "/", part);
}

ProvisionerImpl::ViewReply ProvisionerImpl::ReplyFor(Done done) {
  return ViewReply(std::move(done), [](absl::Status status) { return absl::StatusOr<EnvironmentViewRef>(status); });
}

void ProvisionerImpl::Warn(const std::string& line) const {
  if (dependencies_.warn) dependencies_.warn(line);
}

ProvisionerImpl::Live* ProvisionerImpl::FindLive(const std::string& name, const std::string& uid) {
  const auto it = live_.find(name);
  if (it == live_.end() || (!uid.empty() && it->second.orchestrator->record().uid != uid)) return nullptr;
  return &it->second;
}

ProvisionerImpl::Live* ProvisionerImpl::FindByRequest(const EnvironmentRequest& request) {
  if (request.request_id.empty()) return nullptr;
  const auto it = by_request_.find({request.owner, request.request_id});
  return it == by_request_.end() ? nullptr : it->second;
}

EnvironmentViewRef ProvisionerImpl::Publish(Live& live) {
  loop_->Cancel(std::exchange(live.publish_timer, 0));
  auto view = std::make_shared<const EnvironmentView>(live.orchestrator->View());
  live.published = view->record.state;
  views_.Put(view);
  return view;
}

void ProvisionerImpl::OnChanged(Live& live) {
  const Orchestrator& orchestrator = *live.orchestrator;
  if (orchestrator.plan().nodes.size() <= kSmallPlan || orchestrator.record().state != live.published) {
    Publish(live);
  } else if (live.publish_timer == 0) {
    live.publish_timer = loop_->PostAfter(kPublishEvery, [this, name = orchestrator.record().name] {
      Live* found = FindLive(name);
      if (found != nullptr) Publish(*found);
    });
  }
}

void ProvisionerImpl::OnDone(const std::string& name) {
  // Not from inside the orchestrator's own turn.
  loop_->Post([this, name] {
    Live* live = FindLive(name);
    if (live == nullptr) return;
    loop_->Cancel(live->publish_timer);
    const EnvironmentRecord record = live->orchestrator->record();
    if (live->orchestrator->ending().empty()) {
      logs_.Finish(record.uid);
    } else {
      Depart(*live->orchestrator);
    }
    by_scope_.erase(record.scope);
    by_request_.erase({record.request.owner, record.request.request_id});
    live_.erase(name);
    const auto waiting = waiting_.find(name);
    if (waiting == waiting_.end()) return;
    const std::deque<std::function<void()>> next = std::move(waiting->second);
    waiting_.erase(waiting);
    for (const auto& fn : next) fn();
  });
}

void ProvisionerImpl::DrainEvents() {
  std::vector<Live*> touched;
  for (const EngineEvent& event : dependencies_.engine_events->Take()) {
    const auto found = by_scope_.find(event.node.scope);
    if (found == by_scope_.end()) {
      OnStrayEvent(event);
      continue;
    }
    found->second->orchestrator->OnEngineEvent(event);
    if (std::find(touched.begin(), touched.end(), found->second) == touched.end()) touched.push_back(found->second);
  }
  for (Live* live : touched) live->orchestrator->EndTurn();
}

absl::Status ProvisionerImpl::EngineUsable() const {
  if (capabilities_.usable) return absl::OkStatus();
  std::string why = "see `mayfly doctor`";
  for (const CapabilityCheck& check : capabilities_.checks) {
    if (check.result != CapabilityCheck::Result::kMissing) continue;
    why = absl::StrCat(check.name, ": ", check.detail, check.remedy.empty() ? "" : "; ", check.remedy);
    break;
  }
  return absl::FailedPreconditionError(
      absl::StrCat("this host cannot run the ", capabilities_.engine, " engine: ", why));
}

void ProvisionerImpl::LoadAndPlan(EnvironmentRequest request, CatalogueRef known, std::function<void(Planned)> then) {
  auto shared = std::make_shared<EnvironmentRequest>(std::move(request));
  dependencies_.worker([this, shared, known, then = std::move(then)] {
    CatalogueRef catalogue = known != nullptr ? known : cache_.Load(shared->source, shared->source_below);
    loop_->Post([this, shared, catalogue, then] {
      if (!catalogue->ok()) {
        Planned planned{catalogue, {catalogue->access, Plan(), {}}};
        if (catalogue->access.ok()) {
          planned.outcome.status = absl::InvalidArgumentError("the specification has errors");
          planned.outcome.diagnostics = catalogue->diagnostics;
        }
        then(std::move(planned));
        return;
      }
      absl::StatusOr<std::vector<Store::StartTime>> times = dependencies_.store->StartTimes(catalogue->catalogue.name);
      if (!times.ok()) times = std::vector<Store::StartTime>();
      dependencies_.worker([this, shared, catalogue, times = *std::move(times), then] {
        auto planned = std::make_shared<Planned>();
        planned->catalogue = catalogue;
        planned->outcome = dependencies_.plan(catalogue->catalogue, *shared, capabilities_, times);
        // Warnings of the reading come with those of the planning.
        Diagnostics& all = planned->outcome.diagnostics;
        all.insert(all.begin(), catalogue->diagnostics.begin(), catalogue->diagnostics.end());
        loop_->Post([planned, then] { then(std::move(*planned)); });
      });
    });
  });
}

void ProvisionerImpl::MakePlan(EnvironmentRequest request, std::function<void(PlanOutcome)> done) {
  Reply<PlanOutcome> reply(std::move(done), [](absl::Status status) { return PlanOutcome{status, Plan(), {}}; });
  LoadAndPlan(std::move(request), nullptr, [reply](Planned planned) { reply(std::move(planned.outcome)); });
}

void ProvisionerImpl::Delete(const std::string& name, DeleteOptions options, Done done) {
  loop_->Post([this, name, options, reply = ReplyFor(std::move(done))] {
    Live* live = FindLive(name, options.uid);
    if (live == nullptr) {
      // What is deleted already is deleted; somebody else's newer environment of that name is not meant.
      absl::StatusOr<EnvironmentViewRef> former = options.uid.empty() ? views_.Get(name) : views_.GetByUid(options.uid);
      reply(former.ok() && (*former)->record.name == name ? former : NoEnvironment(name));
      return;
    }
    if (absl::Status status = CheckEtag(options.etag, live->orchestrator->record()); !status.ok()) {
      reply.Fail(status);
      return;
    }
    live->orchestrator->Delete(options.graceful, {CauseCode::kCancelled, "", "it was deleted before its verdict"});
    reply(Publish(*live));
  });
}

int ProvisionerImpl::TakeDownAll(absl::Duration limit) {
  struct Count {
    Mutex mutex;
    CondVar none;
    int left ABSL_GUARDED_BY(mutex) = 1;  // The turn that begins it.
    void Down() {
      MutexLock lock(mutex);
      if (--left == 0) none.NotifyAll();
    }
  };
  const auto count = std::make_shared<Count>();
  loop_->Post([this, count] {
    for (auto& [name, live] : live_) {
      {
        MutexLock lock(count->mutex);
        ++count->left;
      }
      waiting_[name].push_back([count] { count->Down(); });
      live.orchestrator->Delete(false, {CauseCode::kCancelled, "", "the server's state folder was taken away"});
    }
    count->Down();
  });
  const auto deadline = std::chrono::steady_clock::now() + absl::ToChronoNanoseconds(limit);
  MutexLock lock(count->mutex);
  while (count->left > 0 && count->none.WaitUntil(count->mutex, deadline)) {
  }
  return count->left;
}

void ProvisionerImpl::Update(const std::string& name, UpdateOptions options, Done done) {
  loop_->Post([this, name, options, reply = ReplyFor(std::move(done))] {
    Live* live = FindLive(name, options.uid);
    if (live == nullptr) {
      reply.Fail(NoEnvironment(name));
      return;
    }
    if (absl::Status status = CheckEtag(options.etag, live->orchestrator->record()); !status.ok()) {
      reply.Fail(status);
      return;
    }
    absl::Time expire_time = options.expire_time.value_or(live->orchestrator->record().expire_time);
    if (options.ttl.has_value()) expire_time = loop_->Wall() + *options.ttl;
    if (expire_time <= loop_->Wall()) {
      reply.Fail(absl::InvalidArgumentError("the new expiry lies in the past; use `mayfly down` to remove it now"));
      return;
    }
    if (live->orchestrator->deleting()) {
      reply.Fail(absl::FailedPreconditionError(absl::StrCat("'", name, "' is being torn down")));
      return;
    }
    live->orchestrator->SetExpiry(expire_time);
    reply(Publish(*live));
  });
}

void ProvisionerImpl::Restart(const std::string& name, RestartOptions options, Done done) {
  loop_->Post([this, name, options, reply = ReplyFor(std::move(done))] {
    Live* live = FindLive(name, options.uid);
    if (live == nullptr) {
      reply.Fail(NoEnvironment(name));
      return;
    }
    Orchestrator& orchestrator = *live->orchestrator;
    if (!orchestrator.plan_known()) {
      reply.Fail(absl::FailedPreconditionError(
          absl::StrCat("the source of '", name, "' has changed since it was started; run `mayfly up` first")));
      return;
    }
    Orchestrator::Change change{orchestrator.plan(), orchestrator.request()};
    std::vector<std::string> known;
    for (const PlanNode& node : change.plan.nodes) {
      if (node.kind != NodeKind::kTestJob) known.push_back(node.name);
    }
    for (const std::string& service : options.services) {
      if (std::find(known.begin(), known.end(), service) != known.end()) {
        change.restart.insert(service);
        continue;
      }
      const std::string nearest = Nearest(service, known);
      reply.Fail(
          absl::NotFoundError(absl::StrCat("'", name, "' has no service '", EscapeLine(service), "'",
                                           nearest.empty() ? "" : absl::StrCat("; did you mean '", nearest, "'?"))));
      return;
    }
    if (options.services.empty()) {
      reply.Fail(absl::InvalidArgumentError("name at least one service to restart"));
      return;
    }
    if (absl::Status status = orchestrator.Apply(std::move(change)); !status.ok())
      reply.Fail(status);
    else
      reply(Publish(*live));
  });
}

void ProvisionerImpl::RunTests(const std::string& name, TestOptions options, Done done) {
  loop_->Post([this, name, options, reply = ReplyFor(std::move(done))] {
    const absl::StatusOr<EnvironmentViewRef> view = views_.Get(name);
    if (view.ok() && WasTaken((*view)->record.request, options.request_id)) {
      reply(view);
      return;
    }
    Live* live = FindLive(name, options.uid);
    if (live == nullptr) {
      reply.Fail(NoEnvironment(name));
      return;
    }
    const EnvironmentState state = live->orchestrator->record().state;
    if (state != EnvironmentState::kActive && state != EnvironmentState::kFailed) {
      reply.Fail(absl::FailedPreconditionError(
          absl::StrCat("'", name, "' is ", EnvironmentStateName(state), "; test jobs run once it is ACTIVE")));
      return;
    }
    // The selection stays what it is; only test jobs, and what they need, are added.
    EnvironmentRequest request = live->orchestrator->request();
    request.services.clear();
    for (const PlanNode& node : live->orchestrator->plan().nodes) {
      const bool own = node.kind != NodeKind::kTestJob && node.name.find('.') == std::string::npos;
      if (own) request.services.push_back(node.name);
    }
    request.tests = options.tests;
    request.all_tests = options.tests.empty();
    if (options.tests.empty() && live->catalogue != nullptr) {
      request.all_tests = false;
      for (const auto& [job, spec] : live->catalogue->catalogue.tests) request.tests.push_back(job);
      if (request.tests.empty()) {
        reply.Fail(absl::FailedPreconditionError(absl::StrCat("the catalogue of '", name, "' declares no test job")));
        return;
      }
    }
    const std::string uid = live->orchestrator->record().uid;
    LoadAndPlan(request, live->catalogue, [this, name, uid, id = options.request_id, request, reply](Planned planned) {
      Live* now = FindLive(name, uid);
      if (now == nullptr) {
        reply.Fail(NoEnvironment(name));
        return;
      }
      if (WasTaken(now->orchestrator->record().request, id)) {
        reply(Publish(*now));
        return;
      }
      if (!planned.outcome.status.ok()) {
        reply.Fail(Annotate(planned.outcome.status, FormatDiagnostics(planned.outcome.diagnostics)));
        return;
      }
      Orchestrator::Change change{std::move(planned.outcome.plan), request};
      change.request.test_requests = Taken(now->orchestrator->record().request, id);
      for (PlanNode& node : change.plan.nodes) {
        if (node.kind == NodeKind::kTestJob) change.tests.insert(node.name);
        // A binary that was built meanwhile is a matter for `up`: tests run against what runs.
        const int old = now->orchestrator->plan().Find(node.name);
        if (old >= 0 && now->orchestrator->plan_known()) node.digest = now->orchestrator->plan().nodes[old].digest;
      }
      now->catalogue = planned.catalogue;
      if (absl::Status status = now->orchestrator->Apply(std::move(change)); !status.ok())
        reply.Fail(status);
      else
        reply(Publish(*now));
    });
  });
}

absl::StatusOr<Report> ProvisionerImpl::GetReport(const EnvironmentView& environment) {
  const EnvironmentRecord& record = environment.record;
  MAYFLY_ASSIGN_OR_RETURN(const std::vector<Event> events, ReadAllEvents(*dependencies_.store, record.uid));
  return dependencies_.report(record, events);
}

}  // namespace mayfly
