#include "server/app/engine_host.h"

#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "mayfly/base/status.h"
#include "mayfly/base/text.h"
#include "server/engine/kubernetes/client/credentials.h"
#include "server/engine/kubernetes/client/kubeconfig.h"
#include "server/engine/kubernetes/kubernetes_engine.h"
#include "server/engine/kubernetes/namespace_pool.h"
#include "server/engine/local/descriptor.h"
#include "server/engine/local/launcher.h"
#include "server/engine/local/local_engine.h"
#include "server/engine/parts/log_reader.h"
#include "server/obs/log.h"

namespace mayfly::app {
namespace {

class LocalHost final : public EngineHost {
 public:
  explicit LocalHost(local::LauncherHandle launcher) : launcher_(std::move(launcher)) {}

  ~LocalHost() override {
    engine_.reset();
    if (launcher_.pid == 0) return;
    launcher_.channel.Reset();
    if (const absl::Status ended = local::AwaitLauncherEnd(launcher_.pid); !ended.ok()) {
      LogWarning(ended.message());
    }
  }

  absl::StatusOr<Engine*> Start(EngineEventSink* sink, const std::string& state_dir, const std::string&) override {
    engine_ = local::LocalEngine::Create({.state_dir = state_dir}, std::exchange(launcher_, {}), sink);
    return engine_.get();
  }

  LogSource* logs() override { return &logs_; }
  Execer* execer() override { return engine_.get(); }
  Connector* connector() override { return engine_.get(); }
  FileCollector* collector() override { return engine_.get(); }

 private:
  local::LauncherHandle launcher_;  // Until Start.
  std::unique_ptr<local::LocalEngine> engine_;
  LogReader logs_;
};

class KubernetesHost final : public EngineHost {
 public:
  KubernetesHost(const EngineHostOptions& options, kube::KubeContext context)
      : options_(options), context_(std::move(context)) {}

  absl::StatusOr<Engine*> Start(EngineEventSink* sink, const std::string& state_dir,
                                const std::string& installation) override {
    kubernetes::KubernetesEngineOptions options;
    options.state_dir = state_dir;
    options.installation = installation;
    options.gate_listen = options_.gate_listen;
    options.gate_relay = options_.gate_relay;
    options.registry = options_.registry;
    options.egress_to_host = options_.egress_to_host;
    options.ingress = {options_.ingress_domain, options_.ingress_class, options_.ingress_namespace,
                       options_.ingress_tls};
    options.registry_config = options_.registry_config;
    options.registry_insecure = options_.registry_insecure;
    if (!options_.kube_namespaces.empty()) {
      MAYFLY_ASSIGN_OR_RETURN(options.namespaces, kubernetes::ParseNamespaces(options_.kube_namespaces));
    }
    options.namespace_wait = options_.kube_namespace_wait;
    MAYFLY_ASSIGN_OR_RETURN(options.endpoint, kube::MakeEndpoint(context_));
    MAYFLY_ASSIGN_OR_RETURN(engine_, kubernetes::KubernetesEngine::Create(std::move(options), sink));
    return engine_.get();
  }

  LogSource* logs() override { return &logs_; }
  Execer* execer() override { return engine_.get(); }
  Connector* connector() override { return engine_.get(); }
  FileCollector* collector() override { return engine_.get(); }

 private:
  const EngineHostOptions options_;
  const kube::KubeContext context_;
  std::unique_ptr<kubernetes::KubernetesEngine> engine_;
  LogReader logs_;
};

// A kubeconfig that is named or that there is; in a pod without one, the pod's own account.
absl::StatusOr<kube::KubeContext> FindCluster(const EngineHostOptions& options) {
  kube::KubeconfigOptions config = kube::KubeconfigOptions::FromEnvironment();
  config.path = options.kubeconfig;
  config.context = options.kube_context;
  absl::StatusOr<kube::KubeContext> context = kube::LoadKubeconfig(config);
  if (context.ok() || !config.path.empty() || !config.list.empty() || !config.context.empty()) return context;
  absl::StatusOr<kube::KubeContext> inside = kube::LoadInCluster(kube::InClusterOptions::FromEnvironment());
  return inside.ok() || !absl::IsFailedPrecondition(inside.status()) ? inside : context;
}

}  // namespace

namespace {

// An engine that finds nothing of its own would have every environment of the other one called lost.
absl::Status CheckWhose(const EngineHostOptions& options) {
  std::string other;
  if (options.engine == "local") {
    std::error_code none;
    for (const auto& file : std::filesystem::directory_iterator(options.state_dir + "/kubernetes", none)) {
      if (file.path().extension() == ".json") other = "kubernetes";
    }
  } else if (const auto scopes = local::ListScopes(options.state_dir); scopes.ok() && !scopes->empty()) {
    other = "local";
  }
  if (other.empty()) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("state folder '", EscapeLine(options.state_dir), "' holds environments of the engine ", other,
                   ": start the server with --engine ", other, ", or with another --state-dir"));
}

}  // namespace

absl::StatusOr<std::unique_ptr<EngineHost>> MakeEngineHost(const EngineHostOptions& options) {
  MAYFLY_RETURN_IF_ERROR(CheckWhose(options));
  if (options.engine == "kubernetes") {
    if (!options.kube_namespaces.empty()) {
      MAYFLY_RETURN_IF_ERROR(
          Annotate(kubernetes::ParseNamespaces(options.kube_namespaces).status(), "--kube-namespaces"));
    }
    MAYFLY_ASSIGN_OR_RETURN(kube::KubeContext context, FindCluster(options));
    return std::make_unique<KubernetesHost>(options, std::move(context));
  }
  if (options.engine != "local") {
    return absl::InvalidArgumentError(absl::StrCat("there is no engine '", options.engine, "'"));
  }
  MAYFLY_ASSIGN_OR_RETURN(
      local::LauncherHandle launcher,
      local::ForkLauncher({.state_dir = options.state_dir, .egress_to_host = options.egress_to_host}));
  return std::make_unique<LocalHost>(std::move(launcher));
}

}  // namespace mayfly::app
