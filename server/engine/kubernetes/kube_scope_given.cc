// A scope in a kube namespace that somebody else made: it waits for a free one, makes its objects there, and takes each
// of them away again.
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "mayfly/base/status.h"
#include "mayfly/base/text.h"
#include "server/engine/kubernetes/kube_scope.h"
#include "server/obs/log.h"

namespace mayfly::kubernetes {

using nlohmann::json;

void KubeScope::MakeInGiven() {
  const std::string name = host_->TakeNamespace(place_.scope);
  if (!name.empty()) return OnGiven(name);
  queued_ = true;
  EngineEvent event;
  event.kind = EngineEvent::Kind::kProbe;
  event.node.scope = entry_.spec.id;
  event.when = reactor().Now();
  event.message = absl::StrCat("waiting for ", host_->NamespacesInUse());
  host_->Emit(event);
  wait_limit_ = reactor().AddTimer(host_->namespace_wait(), [this] {
    host_->LeaveQueue(place_.scope);
    queued_ = false;
    Cause cause;
    cause.code = CauseCode::kQuotaExceeded;
    cause.message = absl::StrCat("waited ", HumanDuration(host_->namespace_wait()), " for ", host_->NamespacesInUse());
    Fail(std::move(cause));
  });
}

void KubeScope::OnGiven(const std::string& name) {
  queued_ = false;
  reactor().CancelTimer(std::exchange(wait_limit_, 0));
  entry_.given = place_.given = name;
  entry_.uid = host_->OwnerUid(name);
  absl::Status made = host_->journal().Write(entry_);
  if (made.ok()) made = EnterGiven();
  if (made.ok()) return MakeObjects();
  Cause cause;
  cause.code = CauseCode::kHostLimit;
  cause.message = absl::StrCat("the server's state folder: ", made.message());
  Fail(std::move(cause));
}

absl::Status KubeScope::EnterGiven() {
  MAYFLY_ASSIGN_OR_RETURN(Ledger ledger, Ledger::Open(host_->journal().LedgerFile(place_.scope)));
  given_ = std::make_unique<GivenSpace>(this, std::move(ledger));
  watches_ = host_->WatchSpace(place_.scope, place_.given);
  return absl::OkStatus();
}

void KubeScope::OnPodSeen(const std::string& uid, bool there) {
  if (given_ != nullptr) given_->OnPod(uid, there);
}

void KubeScope::OnPods(const std::vector<json>& all) {
  if (given_ != nullptr) given_->OnPods(all);
}

void KubeScope::RemoveFromGiven() {
  if (std::exchange(queued_, false)) host_->LeaveQueue(place_.scope);
  reactor().CancelTimer(std::exchange(wait_limit_, 0));
  if (given_ == nullptr && !place_.given.empty()) {
    // Lost, or never entered: what is recorded is to go all the same.
    if (const absl::Status entered = EnterGiven(); !entered.ok()) LogWarning(entered.message());
  }
  if (given_ == nullptr) {
    deletion_accepted_ = namespace_gone_ = true;
    // Never inline: who destroys it has not been told that it is accepted.
    reactor().AddTimer(absl::ZeroDuration(), [weak = std::weak_ptr<KubeScope*>(self_)] {
      if (const auto self = weak.lock()) (*self)->TryRelease();
    });
    return;
  }
  namespace_gone_ = false;
  GivenSpace::Removal removal;
  removal.on_accepted = [this] {
    deletion_accepted_ = true;
    TryRelease();
  };
  removal.on_gone = [this] {
    namespace_gone_ = true;
    for (const auto& [name, node] : nodes_) node->OnGone();
    TryRelease();
  };
  removal.on_blockers = [this](std::vector<std::string> blockers) {
    for (const std::string& blocker : blockers) LogInfo(absl::StrCat("still there: ", EscapeLine(blocker)));
    blockers_ = std::move(blockers);
  };
  given_->Remove(std::move(removal));
}

}  // namespace mayfly::kubernetes
