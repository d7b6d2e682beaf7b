// Credential plugins: what client.authentication.k8s.io/v1 and /v1beta1 say, without any state.
#ifndef MAYFLY_SERVER_ENGINE_KUBERNETES_CLIENT_EXEC_PLUGIN_H_
#define MAYFLY_SERVER_ENGINE_KUBERNETES_CLIENT_EXEC_PLUGIN_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/engine/kubernetes/client/kubeconfig.h"

namespace mayfly::kube {

struct PluginCredential {
  std::string token;        // Empty: none.
  std::string certificate;  // PEM; empty: none.
  std::string key;
  absl::Time expiry = absl::InfiniteFuture();
};

// The value of KUBERNETES_EXEC_INFO. `ca` is the cluster's CA as PEM; it and `cluster` are told where the plugin asked
// for them.
std::string PluginInfo(const ExecPlugin& plugin, const KubeCluster& cluster, const std::string& ca);

// What a plugin printed. INVALID_ARGUMENT says what is wrong with it and shows nothing of it.
absl::StatusOr<PluginCredential> ParsePluginOutput(const std::string& output, const std::string& api_version);

struct PluginRun {
  std::string who;  // "user 'alice'", for messages.
  ExecPlugin plugin;
  std::string info;              // PluginInfo.
  std::vector<std::string> env;  // The server's own; the plugin's variables come on top.
  absl::Duration deadline = absl::Seconds(60);
  int cancel_fd = -1;  // See SpawnRequest.
};

// Runs the plugin and waits for it: for a thread of its own. UNAUTHENTICATED when it gave no credentials, whatever the
// reason, with what it printed to stderr or its install hint; CANCELLED as RunProgram.
absl::StatusOr<PluginCredential> RunPlugin(const PluginRun& run);

}  // namespace mayfly::kube

#endif  // MAYFLY_SERVER_ENGINE_KUBERNETES_CLIENT_EXEC_PLUGIN_H_
