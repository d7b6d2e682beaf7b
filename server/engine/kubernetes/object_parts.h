// What objects of all kinds have in common; for the files that make them.
#ifndef MAYFLY_SERVER_ENGINE_KUBERNETES_OBJECT_PARTS_H_
#define MAYFLY_SERVER_ENGINE_KUBERNETES_OBJECT_PARTS_H_

#include <nlohmann/json.hpp>
#include <string>

#include "absl/strings/string_view.h"
#include "server/engine/kubernetes/objects.h"

namespace mayfly::kubernetes {

// The path of a collection in the place: kinds "pods", or kinds "deployments" and api "/apis/apps/v1".
std::string Collection(const Place& place, absl::string_view kinds, absl::string_view api = "/api/v1");

// With labels and annotations that make it mayfly's.
nlohmann::json Object(const Place& place, const char* api, const char* kind, absl::string_view name);

// A policy's selector: the environment's pods with these labels. In a given kube namespace there may be pods of others,
// which it does not concern.
nlohmann::json OwnPods(const Place& place, nlohmann::json labels = nlohmann::json::object());

// The gate in a container, which every one begins with: its program, where that and /tmp are mounted, and what the
// container may do.
inline constexpr char kGateMap[] = "mayfly-gate";  // It comes from here.
inline constexpr char kGateProgram[] = "/.mayfly/gate";
nlohmann::json GateMounts();
// Appends the variable by which a gate knows whom to call, who it is and what proves it. `pod` that ends with '@' is a
// workload's: the pod's own name comes behind it.
void AddGateVariable(const std::string& before, absl::string_view pod, const std::string& behind,
                     const std::string& token, nlohmann::json* env);
nlohmann::json SecurityContext();

}  // namespace mayfly::kubernetes

#endif  // MAYFLY_SERVER_ENGINE_KUBERNETES_OBJECT_PARTS_H_
