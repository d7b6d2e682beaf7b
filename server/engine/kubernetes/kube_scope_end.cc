// How a scope goes: processes through their gates at once, then pods and kube namespace, until the cluster has
// forgotten it.
#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "mayfly/base/text.h"
#include "server/engine/kubernetes/client/api_client.h"
#include "server/engine/kubernetes/client/api_error.h"
#include "server/engine/kubernetes/kube_scope.h"
#include "server/obs/log.h"

namespace mayfly::kubernetes {
namespace {

using nlohmann::json;

// A gate that does not answer (its machine is gone, its connection is cut) leaves it to the kubelet, which is slower.
constexpr absl::Duration kReleaseLimit = absl::Seconds(10);

// A kube namespace that has things in it for so long does not end by itself.
constexpr absl::Duration kUsualEnd = absl::Seconds(15);

constexpr size_t kMostSaid = 2048;  // Bytes of one condition's words, which may be a webhook's.

// What keeps a kube namespace, in the cluster's own words: contents that it cannot list or delete, and finalizers. That
// something is still there is usual for a while; it counts beside those, or when it is `late`.
std::vector<std::string> BlockersOf(const json& object, bool late) {
  std::vector<std::string> out, remaining;
  if (!object.is_object()) return out;
  const json& status = object.value("status", json::object());
  for (const json& condition : status.value("conditions", json::array())) {
    const std::string type = condition.value("type", "");
    if (condition.value("status", "") != "True") continue;
    const std::string said = condition.value("message", "");
    std::string line = EscapeLine(absl::StrCat(type, ": ", absl::string_view(said).substr(0, kMostSaid)));
    if (absl::StartsWith(type, "NamespaceDeletion") || type == "NamespaceFinalizersRemaining") {
      out.push_back(std::move(line));
    } else if (type == "NamespaceContentRemaining") {
      remaining.push_back(std::move(line));
    }
  }
  if (late || !out.empty()) out.insert(out.end(), remaining.begin(), remaining.end());
  return out;
}

// No trouble on the way there, but a no: missing rights, or a webhook that denies or does not answer.
bool IsRefusal(const absl::Status& status) {
  const kube::ApiFailure failure = kube::FailureOf(status);
  if (failure.http == 0) return false;
  return failure.http < 429 || absl::StrContains(failure.message, "webhook");
}

}  // namespace

void KubeScope::Destroy() {
  if (phase_ == Phase::kReleased) return EmitScope(EngineEvent::Kind::kScopeReleased, Cause(), receipt_);
  if (phase_ == Phase::kDestroying) {
    if (std::exchange(refused_, false)) BeginDeletion();
    return;
  }
  phase_ = Phase::kDestroying;
  destroyed_at_ = reactor().Now();
  entry_.destroying = true;
  waiting_.clear();
  if (const absl::Status written = host_->journal().Write(entry_); !written.ok()) LogWarning(written.message());
  receipt_.ports = static_cast<int>(proxies_.size() + routes_.size());
  proxies_.clear();
  RemoveRoutes();
  for (const auto& [name, node] : nodes_) {
    receipt_.processes += node->Processes();
    node->Kill();
  }
  release_limit_ = reactor().AddTimer(kReleaseLimit, [this] {
    for (const auto& [name, node] : nodes_) node->OnGone();
    TryRelease();
  });
  // The answer to its creation tells its UID.
  if (!making_) BeginDeletion();
}

void KubeScope::BeginDeletion() {
  if (host_->gives_namespaces()) return RemoveFromGiven();
  if (namespace_gone_) {
    deletion_accepted_ = true;
    return TryRelease();
  }
  if (entry_.uid.empty()) {
    // Whether it was made nobody knows: read it, and take it only if it is ours.
    host_->api().Get(NamespacePath(place_.space()), host_->Here(Guarded([this](const absl::StatusOr<json>& answer) {
      const json& notes = answer.ok() ? answer->at("metadata").value("annotations", json::object()) : json::object();
      if (answer.ok() && notes.value(kIdentity, "") == entry_.identity) {
        entry_.uid = answer->at("metadata").at("uid").get<std::string>();
        return BeginDeletion();
      }
      if (answer.ok() || absl::IsNotFound(answer.status())) {
        namespace_gone_ = true;
        return BeginDeletion();
      }
      retry_ = reactor().AddTimer(absl::Seconds(1), [this] { BeginDeletion(); });
    })));
    return;
  }
  kube::DeleteOptions options;
  options.uid = entry_.uid;
  host_->api().Delete(NamespacePath(place_.space()), options, host_->Here(Guarded([this](const auto& answer) {
    if (answer.ok() || absl::IsFailedPrecondition(answer.status()) || absl::IsNotFound(answer.status())) {
      deletion_accepted_ = true;
      // A collection's deletion bears no UID: only where the namespace is known to be ours, and to end with them.
      answer.ok() ? DeletePods() : void(namespace_gone_ = true);
      return TryRelease();
    }
    LogWarning(answer.status().message());
    if (IsRefusal(answer.status())) {
      // Whoever hears that asks again.
      refused_ = true;
      Receipt held;
      held.blockers = {absl::StrCat("kube namespace ", place_.space(), ": ", answer.status().message())};
      return EmitScope(EngineEvent::Kind::kScopeReleased, Cause(), std::move(held));
    }
    retry_ = reactor().AddTimer(absl::Seconds(std::min(1 << std::min(retries_++, 5), 30)), [this] { BeginDeletion(); });
  })));
}

void KubeScope::DeletePods() {
  if (nodes_.empty()) return;
  kube::DeleteOptions options;
  options.grace_seconds = 1;
  host_->api().DeleteCollection(
      PodsPath(place_.space()), absl::StrCat(kScope, "=", place_.scope), options,
      host_->Here([](const absl::StatusOr<json>& answer) {
        // The namespace's end takes them along.
        if (!answer.ok() && !absl::IsNotFound(answer.status()) && !absl::IsCancelled(answer.status())) {
          LogWarning(answer.status().message());
        }
      }));
}

void KubeScope::TryRelease() {
  if (phase_ == Phase::kReleased && namespace_gone_) return Gone();
  if (phase_ != Phase::kDestroying || !deletion_accepted_) return;
  for (const auto& [name, node] : nodes_) {
    // Without a connection nothing was started, or the kubelet ends it.
    if (node->Processes() > 0) return;
  }
  phase_ = Phase::kReleased;
  for (const auto& [name, node] : nodes_) node->OnGone();
  reactor().CancelTimer(release_limit_);
  receipt_.took = reactor().Now() - destroyed_at_;
  if (!namespace_gone_) {
    receipt_.ending =
        absl::StrCat(place_.given.empty() ? "kube namespace " : "what it had in kube namespace ", place_.space());
  }
  EmitScope(EngineEvent::Kind::kScopeReleased, Cause(), receipt_);
  if (namespace_gone_) return Gone();
  TellHeld();
  late_timer_ = reactor().AddTimer(kUsualEnd, [this] {
    late_ = true;
    TellHeld();
  });
}

// Every change of what keeps the namespace, from the release on.
void KubeScope::TellHeld() {
  if (phase_ != Phase::kReleased) return;
  std::vector<std::string> blockers = BlockersOf(last_seen_, late_);
  if (blockers == blockers_) return;
  blockers_ = std::move(blockers);
  Receipt held;
  held.ending = receipt_.ending;
  held.blockers = blockers_;
  for (const std::string& blocker : blockers_) {
    LogInfo("a kube namespace stays", {{"namespace", place_.space()}, {"because", blocker}});
  }
  EmitScope(EngineEvent::Kind::kScopeHeld, Cause(), std::move(held));
}

void KubeScope::Gone() {
  if (const absl::Status removed = host_->journal().Remove(place_.scope); !removed.ok()) LogWarning(removed.message());
  EmitScope(EngineEvent::Kind::kScopeGone);
  if (!place_.given.empty()) host_->FreeNamespace(place_.given);
  host_->OnScopeGone(place_.scope);
}

void KubeScope::OnNamespace(const json* object) {
  if (object == nullptr) {
    if (entry_.uid.empty() || namespace_gone_) return;
    if (!ended()) return Lose(absl::StrCat("somebody deleted its kube namespace ", place_.space()));
    namespace_gone_ = true;
    for (const auto& [name, node] : nodes_) node->OnGone();
    deletion_accepted_ = true;
    return TryRelease();
  }
  last_seen_ = *object;
  if (!ended()) {
    if (phase_ == Phase::kReady && object->at("metadata").contains("deletionTimestamp")) {
      phase_ = Phase::kFailed;
      Cause cause;
      cause.code = CauseCode::kScopeTerminating;
      cause.message = absl::StrCat("somebody is deleting its kube namespace ", place_.space());
      EmitScope(EngineEvent::Kind::kScopeLost, cause);
    }
    return;
  }
  TellHeld();
}

}  // namespace mayfly::kubernetes
