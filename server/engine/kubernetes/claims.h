// Storage of services: a PersistentVolumeClaim for each volume, made before the first pod that mounts it and kept until
// the kube namespace goes.
#ifndef MAYFLY_SERVER_ENGINE_KUBERNETES_CLAIMS_H_
#define MAYFLY_SERVER_ENGINE_KUBERNETES_CLAIMS_H_

#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "mayfly/spec/process.h"
#include "server/engine/kubernetes/objects.h"
#include "server/engine/kubernetes/pod_cause.h"

namespace mayfly::kubernetes {

// "db.data": no other volume's, whatever dashes are in the names.
std::string ClaimName(absl::string_view node, absl::string_view volume);

// What a claim asks for, of the cluster's default storage class; 1 GiB where the spec does not say.
nlohmann::json ClaimSpec(const Volume& volume);
std::vector<Creation> ClaimObjects(const Place& place, absl::string_view node, const ProcessSpec& process);

// The name of a volume inside its pod.
std::string VolumeName(const Volume& volume);
// Appended to a pod's `volumes`, and to a container's `volumeMounts`.
void AddVolumes(absl::string_view node, const ProcessSpec& process, nlohmann::json* volumes);
void AddVolumeMounts(const ProcessSpec& process, nlohmann::json* mounts);

// Why a claim is not bound, from an event about it: kFailed for what no waiting mends, kWaiting otherwise, kFine for
// what is no trouble. The event's own words are the evidence.
PodVerdict JudgeClaimEvent(const nlohmann::json& event);

}  // namespace mayfly::kubernetes

#endif  // MAYFLY_SERVER_ENGINE_KUBERNETES_CLAIMS_H_
