// What stands for a service with replicas: a Deployment, or a StatefulSet where it has volumes, since those are each
// replica's own.
#ifndef MAYFLY_SERVER_ENGINE_KUBERNETES_WORKLOAD_OBJECTS_H_
#define MAYFLY_SERVER_ENGINE_KUBERNETES_WORKLOAD_OBJECTS_H_

#include <string>
#include <vector>

#include "server/engine/kubernetes/objects.h"

namespace mayfly::kubernetes {

// Whom the gates of a workload's pods are given a token for: "web-1@". Each says "web-1@POD".
std::string WorkloadIdentity(absl::string_view node, int attempt);

// The API's path of it. A StatefulSet keeps its name over the attempts, because its volumes are called after it.
std::string WorkloadPathOf(const Place& place, const NodeRef& node, const ProcessSpec& process);

// The workload, and before it the Secret that its pods need.
std::vector<Creation> WorkloadObjects(const Place& place, const NodeRef& node, const ProcessSpec& process,
                                      const PodOptions& options);

}  // namespace mayfly::kubernetes

#endif  // MAYFLY_SERVER_ENGINE_KUBERNETES_WORKLOAD_OBJECTS_H_
