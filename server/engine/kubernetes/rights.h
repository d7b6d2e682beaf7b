// What the server's identity must be allowed to do in a cluster, and what of it is missing. The same as the rules in
// docs/kubernetes.md.
#ifndef MAYFLY_SERVER_ENGINE_KUBERNETES_RIGHTS_H_
#define MAYFLY_SERVER_ENGINE_KUBERNETES_RIGHTS_H_

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace mayfly::kubernetes {

enum class RightsProfile {
  kCluster,  // In all kube namespaces, which it makes and deletes.
  kGiven,    // In one that somebody else made.
};

// "create pods", "patch endpointslices.discovery.k8s.io": what the status of a SelfSubjectRulesReview does not allow.
// Rules for single objects by name do not count.
std::vector<std::string> MissingRights(const nlohmann::json& status, RightsProfile profile = RightsProfile::kCluster,
                                       bool with_ingress = false);

}  // namespace mayfly::kubernetes

#endif  // MAYFLY_SERVER_ENGINE_KUBERNETES_RIGHTS_H_
