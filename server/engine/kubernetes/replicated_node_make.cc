// What a node with replicas has in the cluster: its workload, and the endpoints of all of its pods.
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "server/engine/kubernetes/admission.h"
#include "server/engine/kubernetes/client/api_client.h"
#include "server/engine/kubernetes/replica.h"
#include "server/engine/kubernetes/replicated_node.h"
#include "server/engine/kubernetes/workload_objects.h"

namespace mayfly::kubernetes {
namespace {

using nlohmann::json;

// A StatefulSet of the last attempt is away within a moment of its deletion.
constexpr absl::Duration kNameTaken = absl::Milliseconds(200);

std::string MetaOf(const json& object, const char* part, const char* key) {
  const json& metadata = object.at("metadata");
  return metadata.contains(part) ? metadata.at(part).value(key, "") : "";
}

}  // namespace

void ReplicatedNode::Create() {
  const NodeRef ref{host_->place().scope, name_, attempt_};
  const std::string identity = WorkloadIdentity(name_, attempt_);
  PodOptions options = host_->MakePodOptions(identity);
  for (const Sidecar& sidecar : process_.sidecars) {
    options.sidecar_tokens[sidecar.name] = host_->MakePodOptions(SidecarPod(identity, sidecar.name)).gate_token;
  }
  std::vector<Creation> wanted = WorkloadObjects(host_->place(), ref, process_, options);
  std::vector<Creation> names = NameObjects(host_->place(), name_, process_);
  for (const auto* creations : {&wanted, &names}) {
    const absl::Status refused = AdmitAll(host_->place(), *creations);
    if (!refused.ok()) return Fail(CauseOfRefusal(refused));
  }
  MakeNames(std::move(names));
  const Creation workload = std::move(wanted.back());
  wanted.pop_back();
  if (wanted.empty()) return CreateWorkload(workload);
  host_->Create(std::move(wanted[0]), Guarded([this, workload](const absl::StatusOr<json>& answer) {
                  // An identical one of this attempt, from before this server's time, is as good.
                  if (!answer.ok() && !absl::IsAlreadyExists(answer.status()))
                    return Fail(CauseOfRefusal(answer.status()));
                  CreateWorkload(workload);
                }));
}

void ReplicatedNode::MakeNames(std::vector<Creation> names) {
  if (std::exchange(named_, true)) return;
  for (Creation& creation : names) {
    host_->Create(std::move(creation), Guarded([this](const absl::StatusOr<json>& answer) {
                    if (!answer.ok() && !absl::IsAlreadyExists(answer.status())) Fail(CauseOfRefusal(answer.status()));
                  }));
  }
}

void ReplicatedNode::CreateWorkload(const Creation& workload) {
  if (!Live() || end_ != nullptr) return;
  deleted_ = false;
  host_->Create(workload, Guarded([this, workload](const auto& answer) { OnWorkload(answer, workload); }));
}

void ReplicatedNode::OnWorkload(const absl::StatusOr<json>& answer, const Creation& workload) {
  if (absl::IsAlreadyExists(answer.status())) {
    host_->api().Get(WorkloadPath(), host_->Here(Guarded([this, workload](const absl::StatusOr<json>& found) {
      const bool gone = absl::IsNotFound(found.status());
      if (!found.ok() && !gone) return Fail(CauseOfRefusal(found.status()));
      const bool same = found.ok() && MetaOf(*found, "annotations", kIdentity) == host_->place().identity &&
                        MetaOf(*found, "labels", kAttempt) == absl::StrCat(attempt_);
      if (same) return OnWorkload(found, workload);
      again_ = host_->reactor().AddTimer(kNameTaken, [this, workload] {
        again_ = 0;
        CreateWorkload(workload);
      });
    })));
    return;
  }
  if (!answer.ok()) {
    deleted_ = true;
    return Fail(CauseOfRefusal(answer.status()));
  }
  uid_ = answer->at("metadata").at("uid").get<std::string>();
  if (ended_ || end_ != nullptr) DeleteWorkload();
}

std::string ReplicatedNode::WorkloadPath() const {
  return WorkloadPathOf(host_->place(), {host_->place().scope, name_, attempt_}, process_);
}

void ReplicatedNode::DeleteWorkload() {
  // The kube namespace takes it along.
  if (deleted_ || killed_) return;
  const std::string path = WorkloadPath();
  if (!uid_.empty()) {
    deleted_ = true;
    return host_->Delete(path, uid_);
  }
  // Of an adopted one only its pods are known; while it is being made, the answer tells.
  host_->api().Get(path, host_->Here(Guarded([this, path](const absl::StatusOr<json>& found) {
    if (deleted_ || !found.ok() || MetaOf(*found, "annotations", kIdentity) != host_->place().identity) return;
    deleted_ = true;
    host_->Delete(path, found->at("metadata").at("uid").get<std::string>());
  })));
}

void ReplicatedNode::Retire() {
  host_->reactor().CancelTimer(std::exchange(again_, 0));
  if (attempt_ > 0) DeleteWorkload();
}

void ReplicatedNode::WriteEndpoints() {
  if (process_.ports.empty()) {
    for (const PodHost::Answer& answer : std::exchange(applied_, {})) answer(json::object());
    return;
  }
  stale_ = true;
  if (applying_) return;
  // Of an adopted one nobody knows whether its name was made, too.
  if (!named_) MakeNames(NameObjects(host_->place(), name_, process_));
  std::vector<std::string> addresses;
  for (const auto& [pod, replica] : replicas_) {
    if (!replica->ended && !replica->node->address().empty()) addresses.push_back(replica->node->address());
  }
  applying_ = true;
  stale_ = false;
  Creation slice = EndpointsObject(host_->place(), name_, process_, "");
  json& endpoints = slice.object["endpoints"] = json::array();
  for (const std::string& address : addresses) {
    endpoints.push_back({{"addresses", json::array({address})}, {"conditions", {{"ready", true}}}});
  }
  host_->Apply(std::move(slice),
               Guarded([this, waited = std::exchange(applied_, {})](const absl::StatusOr<json>& answer) {
                 applying_ = false;
                 for (const PodHost::Answer& one : waited) one(answer);
                 if (stale_) WriteEndpoints();
               }));
}

}  // namespace mayfly::kubernetes
