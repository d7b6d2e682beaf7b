// Warnings of the cluster about pods, of all environments by one watch.
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/engine/kubernetes/client/api_client.h"
#include "server/engine/kubernetes/kubernetes_engine_impl.h"
#include "server/engine/kubernetes/pod_event.h"
#include "server/obs/log.h"

namespace mayfly::kubernetes {

using nlohmann::json;

std::unique_ptr<kube::Watch> KubernetesEngineImpl::WatchWarnings(const std::string& api) {
  kube::WatchOptions options;
  options.collection = absl::StrCat(api, "/events");
  options.field_selector = "type=Warning,involvedObject.kind=Pod";
  const auto one = [this](json event) { io_.Post([this, event = std::move(event)] { OnWarning(event); }); };
  return std::make_unique<kube::Watch>(*api_, options,
                                       kube::WatchCallbacks{[one](std::vector<json> all) {
                                                              for (json& event : all) one(std::move(event));
                                                            },
                                                            [one](kube::WatchEvent kind, json event) {
                                                              if (kind != kube::WatchEvent::kDeleted)
                                                                one(std::move(event));
                                                            },
                                                            [](const absl::Status& trouble) {
                                                              LogWarning("what goes wrong with pods is not seen",
                                                                         {{"error", trouble}});
                                                            }});
}

void KubernetesEngineImpl::OnWarning(const json& event) {
  const auto about = event.find("involvedObject");
  if (about == event.end() || !about->is_object()) return;
  const auto text = [&about](const char* key) {
    const auto it = about->find(key);
    return it != about->end() && it->is_string() ? it->get<std::string>() : std::string();
  };
  KubeScope* const scope = ScopeIn(text("namespace"));
  if (scope == nullptr || scope->ended()) return;
  const std::string name = text("name"), uid = text("uid");
  for (const auto& [unused, node] : scope->nodes()) {
    // Events outlive their pods: only what is said of this very one counts.
    PodNode* const pod = node->FindPod(name);
    if (pod != nullptr && pod->uid() == uid) return pod->OnWarning(event);
  }
}

void PodNode::OnWarning(const json& event) {
  // A gate that has called needs nothing more of the cluster.
  if (!Live() || link_ != nullptr || HasProcess()) return;
  PodEventVerdict told = JudgePodEvent(event);
  if (told.verdict.kind == PodVerdict::Kind::kFine) return;
  if (event.value("reason", "") == "FailedScheduling") {
    // The pod says the same, and usually first.
    if (waiting_for_.empty()) Wait(std::move(told.verdict.cause));
    return;
  }
  if (told.missing.empty()) {
    return told.verdict.kind == PodVerdict::Kind::kFailed ? Fail(std::move(told.verdict.cause))
                                                          : Wait(std::move(told.verdict.cause));
  }
  host_->api().Get(
      absl::StrCat(NamespacePath(host_->place().space()), "/", told.missing),
      host_->Here(Guarded([this, cause = std::move(told.verdict.cause)](const absl::StatusOr<json>& answer) {
        if (Live() && link_ == nullptr && absl::IsNotFound(answer.status())) Fail(cause);
      })));
}

}  // namespace mayfly::kubernetes
