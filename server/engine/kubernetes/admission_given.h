// What an environment may write in a kube namespace that somebody else made; for admission.cc.
#ifndef MAYFLY_SERVER_ENGINE_KUBERNETES_ADMISSION_GIVEN_H_
#define MAYFLY_SERVER_ENGINE_KUBERNETES_ADMISSION_GIVEN_H_

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "absl/status/status.h"
#include "server/engine/kubernetes/objects.h"

namespace mayfly::kubernetes {

// Of an object whose shape was looked at before. Only what belongs to the environment is its business there: not the
// kube namespace as a whole, not pods of others. In a namespace of its own a policy is for all pods, or for a
// service's.
absl::Status CheckGiven(const Place& place, const std::string& kind, const nlohmann::json& object);

}  // namespace mayfly::kubernetes

#endif  // MAYFLY_SERVER_ENGINE_KUBERNETES_ADMISSION_GIVEN_H_
