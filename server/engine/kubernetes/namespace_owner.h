// Kube namespaces that somebody made for mayfly: whose they are, and whether they are fit.
#ifndef MAYFLY_SERVER_ENGINE_KUBERNETES_NAMESPACE_OWNER_H_
#define MAYFLY_SERVER_ENGINE_KUBERNETES_NAMESPACE_OWNER_H_

#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "server/engine/kubernetes/client/endpoint.h"
#include "server/engine/kubernetes/objects.h"

namespace mayfly::kube {
class ApiClient;
}

namespace mayfly::kubernetes {

struct OwnedNamespace {
  std::string name;
  std::string uid;      // Of the ConfigMap "mayfly-owner" that makes it this server's; empty while it is not.
  std::string trouble;  // Why no environment can be in it, and what to do; empty: nothing.
};

// What a second server reads when it is given the same namespace.
struct OwnerNote {
  std::string installation, identity;  // As of Place; the identity is this server's alone.
  std::string host, state_dir;
  bool with_ingress = false;  // Rights for that are needed, too.
};

// Takes each namespace by creating its ConfigMap where there is none, and looks whether it is fit: that it enforces the
// restricted Pod Security Standard, that this identity may do what the engine does, and that a pod would be taken. What
// is looked at is answered by dry runs and a review of the caller's own rights; nothing but the ConfigMap is written.
// FAILED_PRECONDITION names the first one that another server has; all but those `in_use` are let go again then.
// Blocks for a few round trips, of all namespaces at the same time.
absl::StatusOr<std::vector<OwnedNamespace>> TakeNamespaces(kube::ApiClient& api, const kube::Endpoint& endpoint,
                                                           const std::vector<std::string>& names, const OwnerNote& note,
                                                           const std::set<std::string>& in_use);

// Lets others have them; waits no longer than a few seconds, and says nothing of what fails.
void LetGoNamespaces(kube::ApiClient& api, const std::vector<OwnedNamespace>& taken);

}  // namespace mayfly::kubernetes

#endif  // MAYFLY_SERVER_ENGINE_KUBERNETES_NAMESPACE_OWNER_H_
