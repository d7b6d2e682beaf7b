#include "tests/support/stub_provisioner.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "mayfly/base/ids.h"

namespace mayfly {

class StubEventHub::Subscription final : public EventSubscription {
 public:
  Subscription(StubEventHub* hub, std::string uid, int64_t after, std::function<void()> wake)
      : hub_(hub), uid_(std::move(uid)), next_(static_cast<size_t>(after)), wake_(std::move(wake)) {}

  ~Subscription() override {
    MutexLock lock(hub_->mutex_);
    hub_->subscriptions_.erase(this);
  }

  std::vector<std::shared_ptr<const SharedEvent>> Read(int limit) override {
    MutexLock lock(hub_->mutex_);
    const Log& log = hub_->logs_[uid_];
    std::vector<std::shared_ptr<const SharedEvent>> out;
    while (next_ < log.events.size() && static_cast<int>(out.size()) < limit) out.push_back(log.events[next_++]);
    if (static_cast<int>(out.size()) < limit) armed_ = true;
    return out;
  }

  bool finished() override {
    MutexLock lock(hub_->mutex_);
    const Log& log = hub_->logs_[uid_];
    return log.closed && next_ >= log.events.size();
  }

  void WakeIfArmed() {
    if (std::exchange(armed_, false)) wake_();
  }

  StubEventHub* const hub_;
  const std::string uid_;
  size_t next_;
  const std::function<void()> wake_;
  bool armed_ = true;  // Guarded by the hub's mutex.
};

absl::StatusOr<std::unique_ptr<EventSubscription>> StubEventHub::Subscribe(const std::string& uid, int64_t after,
                                                                           std::function<void()> wake) {
  auto subscription = std::make_unique<Subscription>(this, uid, after, std::move(wake));
  MutexLock lock(mutex_);
  const auto log = logs_.find(uid);
  if (log == logs_.end()) return absl::NotFoundError("no such environment");
  subscriptions_.insert(subscription.get());
  if (log->second.closed || log->second.events.size() > static_cast<size_t>(after)) subscription->WakeIfArmed();
  return subscription;
}

void StubEventHub::Open(const std::string& uid) {
  MutexLock lock(mutex_);
  logs_[uid];
}

int64_t StubEventHub::Append(const std::string& uid, Event event) {
  auto shared = std::make_shared<SharedEvent>();
  MutexLock lock(mutex_);
  Log& log = logs_[uid];
  event.sequence = static_cast<int64_t>(log.events.size()) + 1;
  const int64_t sequence = event.sequence;
  shared->event = std::move(event);
  log.events.push_back(std::move(shared));
  for (Subscription* subscription : subscriptions_) {
    if (subscription->uid_ == uid) subscription->WakeIfArmed();
  }
  return sequence;
}

void StubEventHub::Close(const std::string& uid) {
  MutexLock lock(mutex_);
  logs_[uid].closed = true;
  for (Subscription* subscription : subscriptions_) {
    if (subscription->uid_ == uid) subscription->WakeIfArmed();
  }
}

int StubEventHub::subscriptions() const {
  MutexLock lock(mutex_);
  return static_cast<int>(subscriptions_.size());
}

void StubProvisioner::FailSpecs(absl::Status status, Diagnostics diagnostics) {
  MutexLock lock(mutex_);
  spec_status_ = std::move(status);
  spec_diagnostics_ = std::move(diagnostics);
}

void StubProvisioner::HoldCreates(bool hold) {
  MutexLock lock(mutex_);
  hold_creates_ = hold;
  if (hold) return;
  for (auto& answer : held_) loop_.Post(std::move(answer));
  held_.clear();
}

void StubProvisioner::Change(const std::string& name, Event event,
                             const std::function<void(EnvironmentView&)>& change) {
  MutexLock lock(mutex_);
  const absl::StatusOr<EnvironmentViewRef> found = FindLocked(name);
  if (!found.ok()) return;
  auto view = std::make_shared<EnvironmentView>(**found);
  change(*view);
  ++view->record.etag;
  view->record.update_time = absl::Now();
  const std::string uid = view->record.uid;
  event.time = absl::Now();
  // The view is stored before watchers wake, so that what they ask then is not older than what they were told.
  view->last_sequence += 1;
  by_uid_[uid] = view;
  hub_.Append(uid, std::move(event));
  if (view->record.state == EnvironmentState::kDeleted) hub_.Close(uid);
}

void StubProvisioner::SetState(const std::string& name, EnvironmentState state) {
  Event event;
  event.kind = EventKind::kState;
  event.environment_state = state;
  Change(name, event, [state](EnvironmentView& view) { view.record.state = state; });
}

void StubProvisioner::SetVerdict(const std::string& name, Verdict verdict) {
  Event event;
  event.kind = EventKind::kVerdict;
  event.verdict = verdict;
  Change(name, event, [verdict](EnvironmentView& view) { view.record.verdict = verdict; });
}

void StubProvisioner::Note(const std::string& name, const std::string& message) {
  Event event;
  event.kind = EventKind::kNote;
  event.message = message;
  Change(name, event, [](EnvironmentView&) {});
}

void StubProvisioner::SetNodes(const std::string& name, std::vector<NodeView> nodes) {
  Event event;
  event.kind = EventKind::kPlanned;
  Change(name, event, [&nodes](EnvironmentView& view) { view.nodes = std::move(nodes); });
}

void StubProvisioner::SetDirs(std::string log_dir, std::string artifact_dir) {
  MutexLock lock(mutex_);
  log_dir_ = std::move(log_dir);
  artifact_dir_ = std::move(artifact_dir);
}

void StubProvisioner::SetReport(Report report) {
  MutexLock lock(mutex_);
  report_ = std::move(report);
}

std::string StubProvisioner::reported_uid() const {
  MutexLock lock(mutex_);
  return reported_uid_;
}

int64_t StubProvisioner::stored() const {
  MutexLock lock(mutex_);
  return static_cast<int64_t>(by_uid_.size());
}

CreateOutcome StubProvisioner::CreateLocked(EnvironmentRequest request, CreateOptions options) {
  if (const auto known = requests_.find(request.request_id); known != requests_.end() && !request.request_id.empty()) {
    return {absl::OkStatus(), by_uid_[known->second], {}};
  }
  if (!spec_status_.ok()) return {spec_status_, nullptr, spec_diagnostics_};
  if (options.validate_only) return {absl::OkStatus(), nullptr, spec_diagnostics_};
  if (request.name.empty()) request.name = "stub";
  const absl::StatusOr<EnvironmentViewRef> old = FindLocked(request.name);
  if (old.ok() && (*old)->record.state != EnvironmentState::kDeleted) {
    if (options.allow_update) return {absl::OkStatus(), *old, {}};
    return {absl::AlreadyExistsError(absl::StrCat("environment ", request.name, " exists")), nullptr, {}};
  }
  auto view = std::make_shared<EnvironmentView>();
  view->record.name = request.name;
  view->record.uid = NewUuid();
  view->record.generation = old.ok() ? (*old)->record.generation + 1 : 1;
  view->record.create_time = view->record.update_time = absl::Now();
  view->record.expire_time = absl::Now() + request.ttl.value_or(absl::Hours(8));
  view->record.etag = 1;
  view->record.request = request;
  view->last_sequence = 1;
  hub_.Open(view->record.uid);
  Event accepted;
  accepted.kind = EventKind::kAccepted;
  accepted.time = absl::Now();
  hub_.Append(view->record.uid, accepted);
  if (!request.request_id.empty()) requests_[request.request_id] = view->record.uid;
  newest_[request.name] = view->record.uid;
  by_uid_[view->record.uid] = view;
  return {absl::OkStatus(), view, spec_diagnostics_};
}

void StubProvisioner::Create(EnvironmentRequest request, CreateOptions options,
                             std::function<void(CreateOutcome)> done) {
  MutexLock lock(mutex_);
  auto answer = [done = std::move(done), outcome = CreateLocked(std::move(request), options)] { done(outcome); };
  if (hold_creates_) {
    held_.push_back(std::move(answer));
  } else {
    loop_.Post(std::move(answer));
  }
}

void StubProvisioner::MakePlan(EnvironmentRequest request, std::function<void(PlanOutcome)> done) {
  MutexLock lock(mutex_);
  PlanOutcome outcome{spec_status_, {}, spec_diagnostics_};
  outcome.plan.catalogue = "stub";
  outcome.plan.root = request.source;
  outcome.plan.nodes.push_back({.name = "db", .why = {"needed by web"}, .expected = absl::Milliseconds(200)});
  outcome.plan.nodes.push_back({.name = "web", .needs = {{.node = 0}}, .why = {"asked for"}});
  outcome.plan.critical_path = absl::Milliseconds(200);
  loop_.Post([done = std::move(done), outcome = std::move(outcome)] { done(outcome); });
}

namespace {

absl::Status CheckUid(const std::string& uid, const EnvironmentView& view) {
  return uid.empty() || uid == view.record.uid ? absl::OkStatus() : absl::NotFoundError("no such uid");
}

}  // namespace

void StubProvisioner::Delete(const std::string& name, DeleteOptions options, Done done) {
  const absl::StatusOr<EnvironmentViewRef> view = Get(name);
  loop_.Post([this, name, options, view, done = std::move(done)] {
    if (!view.ok()) return done(view.status());
    if (!options.etag.empty() && options.etag != absl::StrCat((*view)->record.etag)) {
      return done(absl::AbortedError("etag is not the stored one"));
    }
    if (absl::Status same = CheckUid(options.uid, **view); !same.ok()) return done(same);
    if ((*view)->record.state != EnvironmentState::kDeleted) SetState(name, EnvironmentState::kDeleting);
    done(Get(name));
  });
}

void StubProvisioner::Update(const std::string& name, UpdateOptions options, Done done) {
  loop_.Post([this, name, options, done = std::move(done)] {
    const absl::StatusOr<EnvironmentViewRef> view = Get(name);
    if (!view.ok()) return done(view.status());
    if (!options.etag.empty() && options.etag != absl::StrCat((*view)->record.etag)) {
      return done(absl::AbortedError("etag is not the stored one"));
    }
    if (absl::Status same = CheckUid(options.uid, **view); !same.ok()) return done(same);
    Change(name, Event{}, [&options](EnvironmentView& changed) {
      if (options.ttl) changed.record.expire_time = absl::Now() + *options.ttl;
      if (options.expire_time) changed.record.expire_time = *options.expire_time;
    });
    done(Get(name));
  });
}

void StubProvisioner::RunTests(const std::string& name, TestOptions options, Done done) {
  loop_.Post([this, name, uid = options.uid, done = std::move(done)] {
    const absl::StatusOr<EnvironmentViewRef> view = Get(name);
    if (!view.ok()) return done(view.status());
    if (absl::Status same = CheckUid(uid, **view); !same.ok()) return done(same);
    SetState(name, EnvironmentState::kTesting);
    done(Get(name));
  });
}

void StubProvisioner::Restart(const std::string& name, RestartOptions options, Done done) {
  loop_.Post([this, name, uid = options.uid, done = std::move(done)] {
    const absl::StatusOr<EnvironmentViewRef> view = Get(name);
    if (!view.ok()) return done(view.status());
    if (absl::Status same = CheckUid(uid, **view); !same.ok()) return done(same);
    SetState(name, EnvironmentState::kUpdating);
    done(Get(name));
  });
}

absl::StatusOr<EnvironmentViewRef> StubProvisioner::FindLocked(const std::string& name) const {
  const auto uid = newest_.find(name);
  if (uid == newest_.end()) return absl::NotFoundError(absl::StrCat("no environment named ", name));
  return by_uid_.at(uid->second);
}

absl::StatusOr<EnvironmentViewRef> StubProvisioner::Get(const std::string& name) {
  MutexLock lock(mutex_);
  return FindLocked(name);
}

absl::StatusOr<EnvironmentViewRef> StubProvisioner::GetByUid(const std::string& uid) {
  MutexLock lock(mutex_);
  const auto it = by_uid_.find(uid);
  if (it == by_uid_.end()) return absl::NotFoundError("no such uid");
  return it->second;
}

absl::StatusOr<Provisioner::ViewPage> StubProvisioner::List(const ListFilter& filter, int page_size,
                                                            const std::string& page_token) {
  MutexLock lock(mutex_);
  ViewPage page;
  for (auto it = newest_.upper_bound(page_token); it != newest_.end(); ++it) {
    const EnvironmentViewRef& view = by_uid_.at(it->second);
    const EnvironmentRecord& record = view->record;
    if (record.state == EnvironmentState::kDeleted && !filter.include_deleted) continue;
    if (!absl::StartsWith(record.name, filter.name_prefix)) continue;
    if (!filter.owner.empty() && record.request.owner != filter.owner) continue;
    if (!filter.states.empty() && std::count(filter.states.begin(), filter.states.end(), record.state) == 0) continue;
    if (static_cast<int>(page.environments.size()) == page_size) {
      page.next_page_token = page.environments.back()->record.name;
      break;
    }
    page.environments.push_back(view);
  }
  return page;
}

absl::StatusOr<Report> StubProvisioner::GetReport(const EnvironmentView& environment) {
  MutexLock lock(mutex_);
  reported_uid_ = environment.record.uid;
  return report_;
}

std::string StubProvisioner::LogDir(const EnvironmentView&) const {
  MutexLock lock(mutex_);
  return log_dir_;
}

std::string StubProvisioner::ArtifactDir(const EnvironmentView&) const {
  MutexLock lock(mutex_);
  return artifact_dir_;
}

int StubProvisioner::live() const {
  MutexLock lock(mutex_);
  return static_cast<int>(std::count_if(by_uid_.begin(), by_uid_.end(), [](const auto& entry) {
    return entry.second->record.state != EnvironmentState::kDeleted;
  }));
}

}  // namespace mayfly
