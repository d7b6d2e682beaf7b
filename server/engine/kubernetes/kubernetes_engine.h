// The Kubernetes engine: an environment is a kube namespace, a service a pod that is made at once and whose process
// starts when its needs are met, held back by a gate. See docs/kubernetes.md.
#ifndef MAYFLY_SERVER_ENGINE_KUBERNETES_KUBERNETES_ENGINE_H_
#define MAYFLY_SERVER_ENGINE_KUBERNETES_KUBERNETES_ENGINE_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "mayfly/engine/engine.h"
#include "mayfly/engine/interactive.h"
#include "server/engine/kubernetes/client/endpoint.h"
#include "server/engine/kubernetes/ingress_objects.h"

namespace mayfly::kubernetes {

struct KubernetesEngineOptions {
  std::string state_dir;     // The engine keeps what it must know after a crash in its folder "kubernetes".
  std::string installation;  // Tells this installation's objects from another one's in the same cluster.
  kube::Endpoint endpoint;
  std::string gate_listen;  // "IPV4:PORT" at which pods reach this process; empty: the address towards the API server.
  // Pods cannot call this process: a pod in every environment passes on what their gates say (gate_relay.h). Then
  // gate_listen is not used for new environments.
  bool gate_relay = false;
  std::string registry;                        // Put before images that name no registry.
  std::string registry_config;                 // A docker config.json with credentials for registries; may be empty.
  std::vector<std::string> registry_insecure;  // "HOST:PORT" of registries that are spoken to over plain http.
  IngressOptions ingress;
  bool egress_to_host = false;  // Names in `egress` may lead to this machine's loopback.
  // Kube namespaces that somebody made for this server alone, each for one environment at a time; empty: each
  // environment makes one of its own.
  std::vector<std::string> namespaces;
  absl::Duration namespace_wait = absl::Minutes(10);  // For a free one.
};

// Thread-safe. Owns one thread of its own and those of its client; `sink` must outlive it. Environments live on when it
// is destroyed, for a later one with the same state folder to Recover.
class KubernetesEngine : public Engine, public Execer, public Connector, public FileCollector {
 public:
  // INVALID_ARGUMENT for options that cannot be; UNAVAILABLE and its like when the API server does not answer or lets
  // nobody in; the gates' port can be taken (ALREADY_EXISTS).
  static absl::StatusOr<std::unique_ptr<KubernetesEngine>> Create(KubernetesEngineOptions options,
                                                                  EngineEventSink* sink);
};

}  // namespace mayfly::kubernetes

#endif  // MAYFLY_SERVER_ENGINE_KUBERNETES_KUBERNETES_ENGINE_H_
