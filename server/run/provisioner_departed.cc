// Environments that are DELETED while their platform still takes something away at its own pace: what it tells of that
// goes on being written to their logs, until it is gone.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "mayfly/base/status.h"
#include "server/run/provisioner_impl.h"

namespace mayfly {
namespace {

constexpr absl::Duration kCommitRetry = absl::Seconds(5);
constexpr char kEnding[] = "ending";  // The resource that stands for the rest, as the orchestrator puts it.

}  // namespace

void ProvisionerImpl::Depart(Orchestrator& orchestrator) {
  EnvironmentView view = orchestrator.View();
  const std::string scope = view.record.scope;
  const auto it = departed_.emplace(scope, Departed{orchestrator.TakeJournal(), std::move(view)}).first;
  for (const EngineEvent& event : orchestrator.TakeLateEvents()) {
    OnDepartedEvent(it->second, event);
    if (departed_.count(scope) == 0) return;
  }
}

// Those that a former server left at this point; their end is asked for again, which tells how far it is. The platform
// may have forgotten one while nobody listened: then that is the answer.
absl::Status ProvisionerImpl::AdoptDeparted() {
  ListFilter filter;
  filter.include_deleted = true;
  filter.states = {EnvironmentState::kDeleted};
  for (std::string token;;) {
    MAYFLY_ASSIGN_OR_RETURN(const Store::Page page, dependencies_.store->ListEnvironments(filter, 1000, token));
    for (const EnvironmentRecord& record : page.environments) {
      if (absl::Status adopted = AdoptDeparted(record); !adopted.ok()) {
        Warn(absl::StrCat("what becomes of '", record.name, "' is not followed: ", adopted.message()));
      }
    }
    token = page.next_page_token;
    if (token.empty()) return absl::OkStatus();
  }
}

absl::Status ProvisionerImpl::AdoptDeparted(const EnvironmentRecord& record) {
  MAYFLY_ASSIGN_OR_RETURN(const std::vector<ResourceRecord> left, dependencies_.store->ListResources(record.uid));
  const auto ends = [](const ResourceRecord& resource) { return resource.kind == kEnding; };
  if (std::none_of(left.begin(), left.end(), ends)) return absl::OkStatus();
  MAYFLY_ASSIGN_OR_RETURN(const std::vector<Event> events, ReadAllEvents(*dependencies_.store, record.uid));
  const Fold past = FoldEvents(events);
  logs_.Open(record.uid, past.last_sequence);
  Journal journal(record, {past.last_sequence, past.last_offset, past.last_time}, loop_.get(), dependencies_.store,
                  &logs_);
  departed_.emplace(record.scope, Departed{std::move(journal), ViewFromEvents(record, events)});
  RemoveStray(record.scope);
  return absl::OkStatus();
}

void ProvisionerImpl::OnDepartedEvent(Departed& departed, const EngineEvent& event) {
  const bool gone = event.kind == EngineEvent::Kind::kScopeGone;
  const bool held = event.kind == EngineEvent::Kind::kScopeHeld ||
                    (event.kind == EngineEvent::Kind::kScopeReleased && !event.receipt.blockers.empty());
  if (departed.gone || (!gone && !held)) return;
  // Told again after a restart, it is no news.
  if (!gone && event.receipt.blockers == departed.view.held) return;
  Event& told = departed.journal.Add(gone ? EventKind::kGone : EventKind::kHeld, event.when);
  told.receipt.ending = departed.view.ending;
  if (gone) {
    departed.gone = true;
    departed.journal.Remove(kEnding, departed.view.record.scope);
    departed.view.gone_time = told.time;
    departed.view.ending.clear();
    departed.view.held.clear();
  } else {
    told.receipt.blockers = departed.view.held = event.receipt.blockers;
  }
  CommitDeparted(departed.view.record.scope);
}

void ProvisionerImpl::CommitDeparted(const std::string& scope) {
  const auto it = departed_.find(scope);
  if (it == departed_.end()) return;
  Departed& departed = it->second;
  loop_->Cancel(std::exchange(departed.retry, 0));
  const absl::Status status = departed.journal.Commit();
  // Forgotten here, too, after a long time.
  const bool purged = absl::IsNotFound(status);
  if (!status.ok() && !purged) {
    Warn(absl::StrCat("cannot write what becomes of '", departed.view.record.name, "': ", status.message()));
    departed.retry = loop_->PostAfter(kCommitRetry, [this, scope] { CommitDeparted(scope); });
    return;
  }
  departed.view.last_sequence = departed.journal.committed_sequence();
  if (!purged) views_.Put(std::make_shared<const EnvironmentView>(departed.view));
  if (!departed.gone && !purged) return;
  logs_.Finish(departed.view.record.uid);
  departed_.erase(it);
}

}  // namespace mayfly
