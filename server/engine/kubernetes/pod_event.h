// What only the cluster's events tell of a pod that does not come up: volumes that cannot be mounted or attached, a
// sandbox that cannot be made.
#ifndef MAYFLY_SERVER_ENGINE_KUBERNETES_POD_EVENT_H_
#define MAYFLY_SERVER_ENGINE_KUBERNETES_POD_EVENT_H_

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "server/engine/kubernetes/pod_cause.h"

namespace mayfly::kubernetes {

struct PodEventVerdict {
  PodVerdict verdict;  // kFine, kWaiting or kFailed.
  // "configmaps/NAME" or "secrets/NAME" of the pod's namespace: the kubelet says that it does not exist. It may have
  // looked too early, so `verdict` holds only if it is not there indeed.
  std::string missing;
};

// Of one event of type Warning about a pod. Never fails: what it does not understand, or what passes by itself, is
// fine.
PodEventVerdict JudgePodEvent(const nlohmann::json& event);

}  // namespace mayfly::kubernetes

#endif  // MAYFLY_SERVER_ENGINE_KUBERNETES_POD_EVENT_H_
