// What mayfly lets itself send to a cluster: a list of what is allowed, checked over every object before it is written.
// Whatever a service.yml says and whatever else goes wrong, nothing that reaches beyond its own kube namespace or its
// own containers gets past it.
#ifndef MAYFLY_SERVER_ENGINE_KUBERNETES_ADMISSION_H_
#define MAYFLY_SERVER_ENGINE_KUBERNETES_ADMISSION_H_

#include <vector>

#include "absl/status/status.h"
#include "server/engine/kubernetes/objects.h"

namespace mayfly::kubernetes {

// OK when all of `creation` is allowed: a kind that mayfly makes, at the path where it belongs, in `place` and bearing
// its labels and identity, with no field but those that are known to be harmless and no value but theirs. Otherwise
// PERMISSION_DENIED with kind, name and field: "Pod 'web-1': spec.containers[0].image: must not be empty".
//
// For pods that is at least as narrow as the Pod Security Standard "restricted". Whether the cluster would take the
// object is another question: forms of names and amounts are left to it.
//
// Pure and thread-safe; microseconds an object.
absl::Status Admit(const Place& place, const Creation& creation);

// The first refusal among several.
absl::Status AdmitAll(const Place& place, const std::vector<Creation>& creations);

}  // namespace mayfly::kubernetes

#endif  // MAYFLY_SERVER_ENGINE_KUBERNETES_ADMISSION_H_
