// The YAML of a kubeconfig as JSON: the only place of the Kubernetes client that knows yaml-cpp.
#ifndef MAYFLY_SERVER_ENGINE_KUBERNETES_CLIENT_KUBECONFIG_YAML_H_
#define MAYFLY_SERVER_ENGINE_KUBERNETES_CLIENT_KUBECONFIG_YAML_H_

#include <string>

#include "absl/status/statusor.h"
#include "nlohmann/json_fwd.hpp"

namespace mayfly::kube {

constexpr size_t kMaxKubeconfigBytes = 4 << 20;
constexpr int kMaxKubeconfigDepth = 64;
constexpr size_t kMaxKubeconfigNodes = 200000;  // With every alias expanded.

// The one document of `text`; an empty file is an empty object. A scalar without quotes that reads as null, true, false
// or a number is one, as in JSON; what YAML 1.1 also takes for booleans ("yes", "on") stays text. INVALID_ARGUMENT
// with `name`, line and column for what is no YAML, more than one document, a key twice, a key that is no text, and for
// anything over the limits. Never shows what stands in the file.
absl::StatusOr<nlohmann::json> KubeconfigYamlToJson(const std::string& text, const std::string& name);

}  // namespace mayfly::kube

#endif  // MAYFLY_SERVER_ENGINE_KUBERNETES_CLIENT_KUBECONFIG_YAML_H_
