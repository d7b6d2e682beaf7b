// Admission: from a request to a durable record, or to a change of what runs already.
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "mayfly/base/ids.h"
#include "mayfly/base/status.h"
#include "mayfly/base/text.h"
#include "server/run/provisioner_impl.h"
#include "server/store/source_codec.h"

namespace mayfly {
namespace {

// How long a create waits for the teardown of the environment that has its name.
constexpr absl::Duration kNameWait = absl::Seconds(60);

absl::Status StillThere(const std::string& name) {
  return absl::FailedPreconditionError(
      absl::StrCat("an older environment '", name, "' is still being torn down; see `mayfly get ", name, "`"));
}

std::vector<Event> FirstEvents(const EnvironmentRecord& record, const Plan& plan, const std::string& engine) {
  std::vector<Event> events(2);
  events[0].kind = EventKind::kAccepted;
  events[0].attributes = {{"environment", record.name},
                          {"source", record.request.source},
                          {"owner", record.request.owner},
                          {"engine", engine}};
  events[1].kind = EventKind::kPlanned;
  events[1].attributes = {{"catalogue", plan.catalogue}, {"plan_key", PlanKey(plan)}};
  for (const PlanNode& node : plan.nodes) events[1].plan.push_back(Describe(node, plan));
  for (size_t i = 0; i < events.size(); ++i) {
    events[i].sequence = static_cast<int64_t>(i) + 1;
    events[i].time = record.create_time;
  }
  return events;
}

}  // namespace

void ProvisionerImpl::Create(EnvironmentRequest request, CreateOptions options,
                             std::function<void(CreateOutcome)> done) {
  CreateReply reply(std::move(done), [](absl::Status status) { return CreateOutcome{status, nullptr, {}}; });
  loop_->Post([this, request = std::move(request), options, reply] {
    // A retry must find its environment even when the source is broken or gone by now.
    if (Live* live = options.validate_only ? nullptr : FindByRequest(request); live != nullptr) {
      reply({absl::OkStatus(), Publish(*live), {}});
      return;
    }
    if (absl::Status status = EngineUsable(); !status.ok()) {
      reply.Fail(status);
      return;
    }
    if (!request.engine.empty() && request.engine != capabilities_.engine) {
      const std::string other = EscapeLine(request.engine);
      reply.Fail(absl::FailedPreconditionError(
          absl::StrCat("this server's engine is ", capabilities_.engine, ", not ", other,
                       ": ask another server, or start one with mayflyd --engine ", other)));
      return;
    }
    if (!options.replay.empty()) {
      Replay(request, options, reply);
      return;
    }
    LoadAndPlan(request, nullptr, [this, request, options, reply](Planned planned) {
      Decide(request, options, reply, std::move(planned));
    });
  });
}

void ProvisionerImpl::Decide(EnvironmentRequest request, const CreateOptions& options, CreateReply reply,
                             Planned planned) {
  if (!planned.outcome.status.ok()) {
    reply({planned.outcome.status, nullptr, std::move(planned.outcome.diagnostics)});
    return;
  }
  auto admission = std::make_shared<Admission>();
  admission->request = std::move(request);
  admission->options = options;
  admission->catalogue = planned.catalogue;
  admission->plan = std::move(planned.outcome.plan);
  admission->warnings = std::move(planned.outcome.diagnostics);
  admission->deadline = loop_->Monotonic() + kNameWait;
  if (admission->request.name.empty()) admission->request.name = planned.catalogue->catalogue.name;
  if (admission->request.engine.empty()) admission->request.engine = capabilities_.engine;
  Admit(std::move(admission), std::move(reply));
}

void ProvisionerImpl::Admit(std::shared_ptr<Admission> admission, CreateReply reply) {
  const std::string& name = admission->request.name;
  if (absl::Status status = CheckName(name); !status.ok()) {
    reply.Fail(Annotate(status, absl::StrCat("environment name '", EscapeLine(name), "'")));
    return;
  }
  if (admission->options.validate_only) {
    reply({absl::OkStatus(), nullptr, std::move(admission->warnings)});
    return;
  }
  if (Live* live = FindLive(name); live != nullptr) {
    AdmitOver(*live, std::move(admission), std::move(reply));
    return;
  }
  absl::StatusOr<EnvironmentViewRef> accepted = Accept(*admission);
  if (!accepted.ok())
    reply.Fail(accepted.status());
  else
    reply({absl::OkStatus(), *std::move(accepted), std::move(admission->warnings)});
}

// There is a live environment of that name.
void ProvisionerImpl::AdmitOver(Live& live, std::shared_ptr<Admission> admission, CreateReply reply) {
  Orchestrator& old = *live.orchestrator;
  const EnvironmentRequest& request = admission->request;
  const std::string& name = request.name;
  const EnvironmentRequest& known = old.record().request;
  if (FindByRequest(request) == &live) {
    reply({absl::OkStatus(), Publish(live), std::move(admission->warnings)});
    return;
  }
  if (old.deleting()) {
    Wait(name, std::move(admission), std::move(reply));
    return;
  }
  if (!admission->options.allow_update) {
    reply.Fail(absl::AlreadyExistsError(absl::StrCat("environment '", name,
                                                     "' exists; choose another --name, or take it "
                                                     "down first with `mayfly down ",
                                                     name, "`")));
    return;
  }
  if (!admission->options.any_owner && known.owner != request.owner) {
    reply.Fail(absl::PermissionDeniedError(absl::StrCat("environment '", name, "' belongs to ", EscapeLine(known.owner),
                                                        " and you are ", EscapeLine(request.owner),
                                                        "; choose another --name")));
    return;
  }
  const bool kept = known.keep == Keep::kAlways;
  if (kept && request.keep != Keep::kAlways) {
    reply.Fail(absl::AlreadyExistsError(absl::StrCat("environment '", name,
                                                     "' is kept by `mayfly up` and is not replaced "
                                                     "by a run; choose another --name")));
    return;
  }
  if (kept) {
    Orchestrator::Change change{admission->plan, request};
    change.source = EncodeSource(admission->catalogue->catalogue.source.get());
    change.request.owner = known.owner;
    change.request.test_requests = known.test_requests;
    for (const PlanNode& node : change.plan.nodes) {
      if (node.kind == NodeKind::kTestJob) change.tests.insert(node.name);
    }
    if (old.Apply(std::move(change)).ok()) {
      live.catalogue = admission->catalogue;
      if (const absl::StatusOr<absl::Duration> ttl = TtlOf(*admission); ttl.ok()) old.SetExpiry(loop_->Wall() + *ttl);
      reply({absl::OkStatus(), Publish(live), std::move(admission->warnings)});
      return;
    }
    // What cannot be changed any more, because its place is lost, is replaced.
  }
  old.Delete(false, {CauseCode::kSuperseded, "", "a newer request for the same environment took its place"});
  Publish(live);
  Wait(name, std::move(admission), std::move(reply));
}

void ProvisionerImpl::Wait(const std::string& name, std::shared_ptr<Admission> admission, CreateReply reply) {
  const absl::Duration left = admission->deadline - loop_->Monotonic();
  if (left <= absl::ZeroDuration()) {
    reply.Fail(StillThere(name));
    return;
  }
  auto turn = std::make_shared<bool>(false);
  waiting_[name].push_back([this, admission, reply, turn] {
    if (!std::exchange(*turn, true)) Admit(admission, reply);
  });
  loop_->PostAfter(left, [name, reply, turn] {
    if (!std::exchange(*turn, true)) reply.Fail(StillThere(name));
  });
}

absl::StatusOr<absl::Duration> ProvisionerImpl::TtlOf(const Admission& admission) const {
  const EnvironmentRequest& request = admission.request;
  absl::Duration ttl = options_.default_ttl;
  if (!request.profile.empty()) {
    const auto& profiles = admission.catalogue->catalogue.profiles;
    const auto profile = profiles.find(request.profile);
    if (profile == profiles.end()) {
      std::vector<std::string> names;
      for (const auto& [name, unused] : profiles) names.push_back(name);
      return absl::InvalidArgumentError(absl::StrCat("no profile '", EscapeLine(request.profile),
                                                     "'; the catalogue has ",
                                                     names.empty() ? "none" : absl::StrJoin(names, ", ")));
    }
    ttl = profile->second.ttl.value_or(ttl);
  }
  ttl = request.ttl.value_or(ttl);
  if (ttl <= absl::ZeroDuration()) return absl::InvalidArgumentError("the time to live must be positive");
  return ttl;
}

absl::StatusOr<EnvironmentViewRef> ProvisionerImpl::Accept(Admission& admission) {
  if (static_cast<int>(live_.size()) >= options_.max_environments) {
    return absl::ResourceExhaustedError(
        absl::StrCat("this server holds ", live_.size(), " environments, which is its limit; take one down first"));
  }
  MAYFLY_ASSIGN_OR_RETURN(const absl::Duration ttl, TtlOf(admission));
  EnvironmentRecord record;
  record.name = admission.request.name;
  record.uid = NewUuid();
  record.request = admission.request;
  record.request.secrets.clear();
  record.create_time = record.update_time = loop_->Wall();
  record.expire_time = record.create_time + ttl;
  MAYFLY_ASSIGN_OR_RETURN(
      const Store::Created created,
      dependencies_.store->CreateEnvironment(record, FirstEvents(record, admission.plan, capabilities_.engine)));
  if (!created.created) return views_.GetByUid(created.record.uid);
  logs_.Open(created.record.uid, 0);
  logs_.Append(created.record.uid, FirstEvents(created.record, admission.plan, capabilities_.engine));
  Live& live = AddLive(created.record, {2, absl::ZeroDuration(), record.create_time}, std::move(admission.plan),
                       admission.catalogue);
  live.orchestrator->KeepSource(EncodeSource(admission.catalogue->catalogue.source.get()));
  if (!admission.options.replay.empty()) live.orchestrator->Remark(ReplayNote(admission.options.replay, live));
  live.orchestrator->set_request(std::move(admission.request));
  // The answer goes out first: what follows is not its business.
  loop_->Post([this, name = record.name, uid = record.uid] {
    Live* found = FindLive(name);
    if (found != nullptr && found->orchestrator->record().uid == uid) found->orchestrator->Start();
  });
  return Publish(live);
}

ProvisionerImpl::Live& ProvisionerImpl::AddLive(const EnvironmentRecord& record, Journal::Position position, Plan plan,
                                                CatalogueRef catalogue) {
  Orchestrator::Options options;
  options.prepare_window = capabilities_.prepare_window;
  options.prepare_deadline = capabilities_.prepare_limit;
  options.start_slots = options_.start_slots;
  if (capabilities_.start_slots > 0 && (options.start_slots == 0 || capabilities_.start_slots < options.start_slots)) {
    options.start_slots = capabilities_.start_slots;
  }
  options.test_slots = options_.test_slots;
  options.log_dir = Folder(record.uid, "logs");
  options.artifact_dir = Folder(record.uid, "artifacts");
  Orchestrator::Host host;
  host.loop = loop_;
  host.dependencies = &dependencies_;
  host.logs = &logs_;
  host.changed = [this](Orchestrator& orchestrator) {
    if (Live* live = FindLive(orchestrator.record().name); live != nullptr) OnChanged(*live);
  };
  host.done = [this](Orchestrator& orchestrator) { OnDone(orchestrator.record().name); };
  Live& live = live_[record.name];
  by_scope_[record.scope] = &live;
  if (!record.request.request_id.empty()) by_request_[{record.request.owner, record.request.request_id}] = &live;
  live.catalogue = std::move(catalogue);
  live.orchestrator = std::make_unique<Orchestrator>(
      std::move(host), std::move(options), Journal(record, position, loop_.get(), dependencies_.store, &logs_),
      std::move(plan));
  return live;
}

}  // namespace mayfly
