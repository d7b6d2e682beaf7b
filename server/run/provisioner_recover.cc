// After a restart: what the store says and what the world says become one again. And what is long gone is forgotten.
#include <algorithm>
#include <filesystem>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "mayfly/base/ids.h"
#include "mayfly/base/status.h"
#include "server/run/provisioner_impl.h"
#include "server/store/source_codec.h"

namespace mayfly {
namespace {

constexpr absl::Duration kPurgeEvery = absl::Hours(1);
constexpr absl::Duration kStrayRetry = absl::Seconds(30);
// Generations that are tried to prove that a scope without a record is this installation's own.
constexpr int64_t kGenerationsTried = 1 << 16;

// The generation that this scope is of; nothing when it is not of this installation.
std::optional<int64_t> OwnGeneration(const std::string& installation, const FoundScope& scope,
                                     int64_t known_generation) {
  const int64_t last = std::max(known_generation, kGenerationsTried);
  for (int64_t generation = 1; generation <= last; ++generation) {
    if (ScopeId(installation, scope.environment, generation) == scope.id) return generation;
  }
  return std::nullopt;
}

}  // namespace

// Runs on the caller's thread, before any turn: the run loop's first turn is the last thing posted here.
absl::Status ProvisionerImpl::Recover() {
  if (std::exchange(recovered_, true)) return absl::FailedPreconditionError("Recover is called once");
  absl::Status status;
  loop_->RunAsTurn([this, &status] {
    capabilities_ = dependencies_.engine->Describe();
    status = [this]() -> absl::Status {
      MAYFLY_ASSIGN_OR_RETURN(const std::vector<FoundScope> found, dependencies_.engine->Recover());
      std::map<std::string, const FoundScope*> by_id;
      for (const FoundScope& scope : found) by_id[scope.id] = &scope;
      std::map<std::string, int64_t> generations;
      std::set<std::string> known;
      ListFilter filter;
      for (std::string token;;) {
        MAYFLY_ASSIGN_OR_RETURN(const Store::Page page, dependencies_.store->ListEnvironments(filter, 1000, token));
        for (const EnvironmentRecord& record : page.environments) {
          const auto scope = by_id.find(record.scope);
          known.insert(record.scope);
          generations[record.name] = record.generation;
          // One bad record must not stop the others.
          if (absl::Status resumed = Resume(record, scope == by_id.end() ? nullptr : scope->second); !resumed.ok()) {
            Warn(absl::StrCat("cannot resume '", record.name, "': ", resumed.message()));
          }
        }
        token = page.next_page_token;
        if (token.empty()) break;
      }
      MAYFLY_RETURN_IF_ERROR(AdoptDeparted());
      std::vector<FoundScope> strays;
      for (const FoundScope& scope : found) {
        if (known.count(scope.id) == 0 && departed_.count(scope.id) == 0) strays.push_back(scope);
      }
      RemoveStrays(strays, generations);
      return absl::OkStatus();
    }();
    if (status.ok()) {
      dependencies_.engine_events->Attach([this] { loop_->Post([this] { DrainEvents(); }); });
      loop_->Post([this] { Purge(); });
    }
  });
  return status;
}

absl::Status ProvisionerImpl::Resume(const EnvironmentRecord& record, const FoundScope* scope) {
  MAYFLY_ASSIGN_OR_RETURN(const std::vector<Event> events, ReadAllEvents(*dependencies_.store, record.uid));
  Orchestrator::Adoption adoption;
  adoption.scope = scope;
  adoption.past = FoldEvents(events);
  MAYFLY_ASSIGN_OR_RETURN(adoption.resources, dependencies_.store->ListResources(record.uid));
  const Fold& past = adoption.past;
  Plan plan = PlanFromPast(past);
  adoption.plan_known = false;
  CatalogueRef catalogue;
  const bool ending = record.delete_requested || record.state == EnvironmentState::kDeleting;
  if (!ending) {
    catalogue = cache_.Load(record.request.source, record.request.source_below);
    absl::StatusOr<std::vector<Store::StartTime>> times = dependencies_.store->StartTimes(past.catalogue);
    if (!times.ok()) times = std::vector<Store::StartTime>();
    // What is on the disk may be newer than what was begun: then it is what was recorded, if that says the same.
    for (const bool recorded : {false, true}) {
      if (adoption.plan_known) break;
      if (recorded) catalogue = LoadRecorded(record.uid);
      if (catalogue == nullptr || !catalogue->ok()) continue;
      PlanOutcome outcome = dependencies_.plan(catalogue->catalogue, record.request, capabilities_, *times);
      if (outcome.status.ok() && PlanKey(outcome.plan) == past.plan_key) {
        plan = std::move(outcome.plan);
        adoption.plan_known = true;
      }
    }
    if (!adoption.plan_known) catalogue = nullptr;
  }
  const bool at_work = record.state == EnvironmentState::kCreating || record.state == EnvironmentState::kUpdating ||
                       record.state == EnvironmentState::kTesting;
  if (!ending && scope == nullptr && past.started_anything) {
    adoption.broken = {CauseCode::kScopeLost, "",
                       "its place on the engine vanished while the server was down: the machine was restarted, or its "
                       "processes were killed"};
  } else if (!ending && !adoption.plan_known && (at_work || scope == nullptr)) {
    adoption.broken = {CauseCode::kSpecInvalid, "",
                       absl::StrCat("the server was restarted, and ", record.request.source,
                                    " no longer says what was begun: it changed, is gone, or needs secrets, which are "
                                    "never stored")};
  }
  logs_.Open(record.uid, past.last_sequence);
  Live& live = AddLive(record, {past.last_sequence, past.last_offset, past.last_time}, std::move(plan), catalogue);
  live.orchestrator->Adopt(std::move(adoption));
  Publish(live);
  return absl::OkStatus();
}

CatalogueRef ProvisionerImpl::LoadRecorded(const std::string& uid) {
  const absl::StatusOr<std::string> kept = dependencies_.store->ReadSource(uid);
  if (!kept.ok() || kept->empty() || !dependencies_.load_recorded) return nullptr;
  const auto source = DecodeSource(*kept);
  if (!source.ok()) return nullptr;
  return std::make_shared<const LoadedCatalogue>(dependencies_.load_recorded(*source));
}

void ProvisionerImpl::RemoveStrays(const std::vector<FoundScope>& found,
                                   const std::map<std::string, int64_t>& generations) {
  for (const FoundScope& scope : found) {
    const auto known = generations.find(scope.environment);
    const std::optional<int64_t> generation =
        OwnGeneration(dependencies_.store->installation(), scope, known == generations.end() ? 0 : known->second);
    if (!generation.has_value()) {
      Warn(absl::StrCat("scope '", scope.id, "' is not of this installation and is left alone"));
      continue;
    }
    Warn(absl::StrCat("environment '", scope.environment, "' runs as scope '", scope.id,
                      "' but has no record any more (was the database moved aside?): it is taken down"));
    // A new environment of that name must not get a scope id while the old one may live.
    if (const absl::Status skipped = dependencies_.store->SkipGenerations(scope.environment, *generation);
        !skipped.ok()) {
      Warn(absl::StrCat("environment '", scope.environment, "' cannot be made anew yet: ", skipped.message()));
    }
    RemoveStray(scope.id);
  }
}

void ProvisionerImpl::RemoveStray(const std::string& scope) {
  if (absl::Status status = dependencies_.engine->Destroy(scope); !status.ok()) {
    Warn(absl::StrCat("scope '", scope, "' cannot be removed now: ", status.message()));
    loop_->PostAfter(kStrayRetry, [this, scope] { RemoveStray(scope); });
  }
}

void ProvisionerImpl::OnStrayEvent(const EngineEvent& event) {
  if (const auto it = departed_.find(event.node.scope); it != departed_.end()) OnDepartedEvent(it->second, event);
  if (event.kind != EngineEvent::Kind::kScopeReleased || event.receipt.blockers.empty()) return;
  Warn(absl::StrCat("scope '", event.node.scope, "' without a record is not gone: ", event.receipt.blockers.front()));
  loop_->PostAfter(kStrayRetry, [this, scope = event.node.scope] { RemoveStray(scope); });
}

void ProvisionerImpl::Purge() {
  const absl::StatusOr<std::vector<std::string>> purged =
      dependencies_.store->Purge(loop_->Wall() - options_.keep_deleted);
  if (!purged.ok()) Warn(absl::StrCat("cannot forget old environments: ", purged.status().message()));
  if (purged.ok() && !purged->empty()) {
    dependencies_.worker([uids = *purged, root = absl::StrCat(options_.state_dir, "/environments/")] {
      std::error_code ignored;
      for (const std::string& uid : uids) std::filesystem::remove_all(root + uid, ignored);
    });
  }
  purge_timer_ = loop_->PostAfter(kPurgeEvery, [this] { Purge(); });
}

}  // namespace mayfly
