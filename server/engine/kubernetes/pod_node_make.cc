// What a node makes in the cluster: its pod with what that needs, and its name for others.
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "server/engine/kubernetes/admission.h"
#include "server/engine/kubernetes/claims.h"
#include "server/engine/kubernetes/pod_node.h"
#include "server/obs/log.h"

namespace mayfly::kubernetes {

using nlohmann::json;

void PodNode::CreatePod() {
  PodOptions options = host_->MakePodOptions(pod());
  for (const Sidecar& sidecar : process_.sidecars) {
    options.sidecar_tokens[sidecar.name] = host_->MakePodOptions(SidecarPod(pod(), sidecar.name)).gate_token;
  }
  std::vector<Creation> wanted = PodObjects(host_->place(), {host_->place().scope, name_, attempt_}, process_, options);
  std::vector<Creation> names = NameObjects(host_->place(), name_, process_);
  // All of them before the first write: a pod that may not be leaves nothing behind.
  for (const auto* creations : {&wanted, &names}) {
    const absl::Status refused = AdmitAll(host_->place(), *creations);
    if (!refused.ok()) return Fail(CauseOfRefusal(refused));
  }
  const Creation pod = std::move(wanted.back());
  wanted.pop_back();
  CreateBehind(std::move(wanted), pod);
  if (process_.volumes.empty()) return;
  std::set<std::string> claims;
  for (const Volume& volume : process_.volumes) claims.insert(ClaimName(name_, volume.name));
  claims_ = std::make_unique<ClaimWatch>(host_, std::move(claims), [this](const PodVerdict& verdict) {
    verdict.kind == PodVerdict::Kind::kFailed ? Fail(verdict.cause) : Wait(verdict.cause);
  });
}

void PodNode::CreateBehind(std::vector<Creation> first, const Creation& pod) {
  const auto make = [this, pod] {
    if (state_ == State::kEnded) return;
    host_->Create(pod, Guarded([this](const auto& answer) { OnCreated(answer); }));
  };
  if (first.empty()) return make();
  // Kubelet and scheduler would find out a second later that what a pod needs came after it.
  const auto missing = std::make_shared<size_t>(first.size());
  for (Creation& creation : first) {
    const bool lasting = creation.object["kind"] == "PersistentVolumeClaim";
    host_->Create(std::move(creation), Guarded([this, make, missing, lasting](const absl::StatusOr<json>& answer) {
                    const bool made = answer.ok() || (lasting && absl::IsAlreadyExists(answer.status()));
                    if (!made) return Fail(CauseOfRefusal(answer.status()));
                    if (--*missing == 0) make();
                  }));
  }
}

void PodNode::OnCreated(const absl::StatusOr<json>& answer) {
  if (!answer.ok()) return Fail(CauseOfRefusal(answer.status()));
  uid_ = answer->at("metadata").at("uid").get<std::string>();
  if (state_ == State::kEnded) return host_->Delete(absl::StrCat(PodsPath(host_->place().space()), "/", pod()), uid_);
  // Behind all pods, so that the cluster has its work early. A name is not asked for before its pod has started.
  MakeNames(NameObjects(host_->place(), name_, process_));
}

void PodNode::MakeNames(std::vector<Creation> names) {
  if (std::exchange(named_, true)) return;
  for (Creation& creation : names) {
    host_->Create(std::move(creation), Guarded([this](const absl::StatusOr<json>& answer) {
                    if (!answer.ok() && !absl::IsAlreadyExists(answer.status())) Fail(CauseOfRefusal(answer.status()));
                  }));
  }
}

void PodNode::TryAddress(const std::string& proof) {
  if (link_ == nullptr || said_.empty() || said_ != proof) return;
  const bool fresh = std::exchange(address_, said_) != said_;
  // What replicas have written lacks this one's as long as it was not known.
  if (!endpoints_written_ || (fresh && !replica_.empty())) WriteEndpoints(address_);
}

void PodNode::WriteEndpoints(const std::string& address) {
  if (process_.ports.empty() || absl::StrContains(name_, '.')) {
    endpoints_written_ = true;
    return;
  }
  // Of a pod that an earlier server made, nobody knows whether its name was made, too.
  if (!named_) MakeNames(NameObjects(host_->place(), name_, process_));
  Creation endpoints = EndpointsObject(host_->place(), name_, process_, address);
  const auto written = Guarded([this](const absl::StatusOr<json>& answer) {
    if (!answer.ok()) return Fail(CauseOfRefusal(answer.status()));
    endpoints_written_ = true;
    LogDebug("endpoints written", {{"scope", host_->place().scope}, {"node", name_}});
    TryReady();
  });
  if (attempt_ > 1 || std::exchange(endpoints_made_, true)) return host_->Apply(std::move(endpoints), written);
  // On the way to ready, and a create costs the API server less than an apply.
  Creation creation = endpoints;
  creation.collection.resize(creation.collection.rfind('/'));
  host_->Create(std::move(creation), Guarded([this, endpoints, written](const absl::StatusOr<json>& answer) {
                  absl::IsAlreadyExists(answer.status()) ? host_->Apply(endpoints, written) : written(answer);
                }));
}

}  // namespace mayfly::kubernetes
