// Credentials of registries in an environment's kube namespace: one Secret with those that its images need and the
// server knows, and nothing else. Pods name it (`imagePullSecrets`); the service account names none, so that a registry
// that is used later, or other credentials, need no right to change anything: they make another Secret.
#ifndef MAYFLY_SERVER_ENGINE_KUBERNETES_PULL_SECRET_H_
#define MAYFLY_SERVER_ENGINE_KUBERNETES_PULL_SECRET_H_

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "server/engine/kubernetes/admission_shape.h"
#include "server/engine/kubernetes/pod_host.h"
#include "server/engine/kubernetes/registry/docker_config.h"

namespace mayfly::kubernetes {

// `salt` keeps the name, which changes with the credentials, from telling about them.
Creation PullSecretObject(const Place& place, const std::map<std::string, registry::Credentials>& by_registry,
                          const std::string& salt);

// For admission.cc: whether a Secret is the above or has nothing of it, and what a pod may name.
absl::Status CheckSecretKind(const nlohmann::json& object);
shape::Shape PullSecretsOfPod();

// Not thread-safe.
class PullSecret {
 public:
  using Find = std::function<std::shared_ptr<const registry::Credentials>(const std::string& registry)>;
  using Done = std::function<void(const absl::Status&)>;

  // `host` must outlive this.
  PullSecret(PodHost* host, Find find, std::string salt);

  // These are used, too, from now on. `done` when the Secret for all of them is there, inline where none is needed or
  // it is there already; never when this is gone.
  void Provide(const std::set<std::string>& registries, const Done& done);
  // Of the latest that is there; empty without one.
  const std::string& name() const { return name_; }

 private:
  void OnMade(const std::string& name, const absl::Status& status);

  PodHost* const host_;
  const Find find_;
  const std::string salt_;
  std::set<std::string> used_;
  std::string name_;
  std::map<std::string, std::vector<Done>> waiting_;  // By name.
  std::shared_ptr<PullSecret*> self_;
};

}  // namespace mayfly::kubernetes

#endif  // MAYFLY_SERVER_ENGINE_KUBERNETES_PULL_SECRET_H_
