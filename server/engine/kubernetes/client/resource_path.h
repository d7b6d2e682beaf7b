// Paths and queries of the Kubernetes API.
#ifndef MAYFLY_SERVER_ENGINE_KUBERNETES_CLIENT_RESOURCE_PATH_H_
#define MAYFLY_SERVER_ENGINE_KUBERNETES_CLIENT_RESOURCE_PATH_H_

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"

namespace mayfly::kube {

// "create", "/api/v1/namespaces/y/pods", "x" -> "create pods/x in ns/y"; what is not understood is given as it is.
std::string Describe(absl::string_view verb, absl::string_view path, absl::string_view name = "");

// "/path?key=value&..." with values percent-encoded; pairs with an empty value are left out.
std::string Target(absl::string_view path, const std::vector<std::pair<std::string, std::string>>& query);

// Percent-encodes everything but unreserved characters.
std::string UrlEscape(absl::string_view text);

}  // namespace mayfly::kube

#endif  // MAYFLY_SERVER_ENGINE_KUBERNETES_CLIENT_RESOURCE_PATH_H_
