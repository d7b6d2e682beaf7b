// An engine with all that belongs to it, by the name of --engine. The only place besides daemon.cc that names concrete
// classes of engines.
#ifndef MAYFLY_SERVER_APP_ENGINE_HOST_H_
#define MAYFLY_SERVER_APP_ENGINE_HOST_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "mayfly/engine/engine.h"
#include "mayfly/engine/interactive.h"

namespace mayfly::app {

// Made in two steps: before any thread (the local engine forks its launcher then), and once the state folder is ours.
class EngineHost {
 public:
  virtual ~EngineHost() = default;

  // `sink` must outlive this. The engine's own; call once.
  virtual absl::StatusOr<Engine*> Start(EngineEventSink* sink, const std::string& state_dir,
                                        const std::string& installation) = 0;

  // After Start; nullptr where the engine has none.
  virtual LogSource* logs() = 0;
  virtual Execer* execer() = 0;
  virtual Connector* connector() = 0;
  virtual FileCollector* collector() = 0;
};

struct EngineHostOptions {
  std::string engine;  // "local" or "kubernetes".
  std::string state_dir;
  bool egress_to_host = false;
  // kubernetes: see the flags of the same names.
  std::string kubeconfig, kube_context, gate_listen, registry, registry_config;
  std::vector<std::string> registry_insecure;
  std::string ingress_domain, ingress_class, ingress_namespace;
  bool ingress_tls = false;
  std::string kube_namespaces;
  absl::Duration kube_namespace_wait;
  bool gate_relay = false;
};

// The process must have one thread only. INVALID_ARGUMENT for an engine that does not exist; for a cluster that cannot
// be used what its kubeconfig or API server says.
absl::StatusOr<std::unique_ptr<EngineHost>> MakeEngineHost(const EngineHostOptions& options);

}  // namespace mayfly::app

#endif  // MAYFLY_SERVER_APP_ENGINE_HOST_H_
