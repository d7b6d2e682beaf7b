// A scope whose gates call a relay.
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/engine/kubernetes/kube_scope.h"

namespace mayfly::kubernetes {

using nlohmann::json;

void KubeScope::MakeRelay() {
  if (entry_.gate_address.empty() || relay_ != nullptr) return;
  GateRelay::Access access;
  access.dial = [this](const std::string& pod, int port, Stream::Callbacks callbacks) {
    return host_->DialPod(place_.space(), pod, port, std::move(callbacks));
  };
  access.on_gate = [this](UniqueFd socket, const std::string& peer) { host_->OnGateSocket(std::move(socket), peer); };
  access.on_refused = [this](const absl::Status& why) {
    if (phase_ != Phase::kReady) return;
    phase_ = Phase::kFailed;
    Cause cause = CauseOfRefusal(why);
    cause.message = absl::StrCat("its relay cannot be reached through the API server: ", cause.message);
    EmitScope(EngineEvent::Kind::kScopeLost, cause);
  };
  access.post = [host = host_](std::function<void()> fn) { host->Post(std::move(fn)); };
  relay_ = std::make_unique<GateRelay>(this, std::move(access));
}

void KubeScope::OnRelay(const std::string& pod, const std::string& uid, int attempt, const json* object) {
  if (relay_ != nullptr && !ended()) relay_->OnPod(pod, uid, attempt, object);
}

void KubeScope::AdoptRelay(const std::string& pod, const std::string& uid, int attempt) {
  if (relay_ == nullptr) return;
  for (const auto& [name, node] : nodes_) relay_->Know(node->process());
  relay_->Adopt(pod, uid, attempt);
}

}  // namespace mayfly::kubernetes
