// Which cluster, as whom: a kubeconfig's chosen context as plain values, read as kubectl reads it.
//
// Nothing here opens what a kubeconfig points at (certificates, token files, plugins): credentials.h does. Values of
// `token`, `password`, keys and plugins' variables are secrets and stand in no message.
#ifndef MAYFLY_SERVER_ENGINE_KUBERNETES_CLIENT_KUBECONFIG_H_
#define MAYFLY_SERVER_ENGINE_KUBERNETES_CLIENT_KUBECONFIG_H_

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"

namespace mayfly::kube {

// Something that stands in the kubeconfig itself (`text`, already decoded) or in a file beside it.
struct TextOrFile {
  std::string text;  // Wins over `path`.
  std::string path;  // Absolute.
  bool empty() const { return text.empty() && path.empty(); }
};

struct KubeCluster {
  std::string name;
  std::string server;  // http:// or https://
  TextOrFile ca;
  std::string tls_server_name;
  bool insecure = false;
  std::string proxy_url;             // http, https or socks5; empty: none.
  bool disable_compression = false;  // Accepted; we never ask for compression.
  std::string plugin_config;         // JSON of the extension client.authentication.k8s.io/exec; empty: none.
};

struct ExecPlugin {
  enum class Interactive { kNever, kIfAvailable, kAlways };

  std::string api_version;  // client.authentication.k8s.io/v1 or /v1beta1.
  std::string command;      // A path with '/', made absolute, or a name that is looked for in PATH.
  std::vector<std::string> args;
  std::vector<std::pair<std::string, std::string>> env;
  std::string install_hint;  // Shown when the command is missing. Untrusted.
  Interactive interactive = Interactive::kIfAvailable;
  bool provide_cluster_info = false;
};

struct KubeUser {
  std::string name;
  TextOrFile certificate;
  TextOrFile key;
  std::string token;
  std::string token_file;  // Wins over `token` as long as it can be read.
  std::string username;
  std::string password;
  std::optional<ExecPlugin> exec;
  // Impersonation; the other three only together with `as`.
  std::string as;
  std::string as_uid;
  std::vector<std::string> as_groups;
  std::vector<std::pair<std::string, std::vector<std::string>>> as_extra;
};

struct KubeContext {
  std::string source;  // For messages: "context 'dev' of /home/me/.kube/config".
  KubeCluster cluster;
  KubeUser user;
  std::string name_space = "default";
};

struct KubeconfigOptions {
  std::string path;        // Of one file that must exist; empty: those of `list`, else ~/.kube/config.
  std::string list;        // The value of KUBECONFIG: paths with ':' between; those that do not exist are passed over.
  std::string home;        // The value of HOME.
  std::string context;     // Instead of the file's current-context.
  std::string name_space;  // Instead of the context's.

  static KubeconfigOptions FromEnvironment();  // Sets `list` and `home`.
};

// Reads the files and picks the context. Of files that set the same entry the first one wins, whole. NOT_FOUND when
// there is no file, no such context, or nothing that it names; INVALID_ARGUMENT for what cannot be used. Messages name
// the file, the entry, and what to do. Reads small files: not for a thread that must not wait for a disk.
absl::StatusOr<KubeContext> LoadKubeconfig(const KubeconfigOptions& options);

struct InClusterOptions {
  std::string host;  // The values of KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT.
  std::string port;
  std::string folder = "/var/run/secrets/kubernetes.io/serviceaccount";

  static InClusterOptions FromEnvironment();
};

// The service account of the pod that we run in, as a context whose token and CA are files. FAILED_PRECONDITION when
// this is no pod, NOT_FOUND when it is one without a token.
absl::StatusOr<KubeContext> LoadInCluster(const InClusterOptions& options);

}  // namespace mayfly::kube

#endif  // MAYFLY_SERVER_ENGINE_KUBERNETES_CLIENT_KUBECONFIG_H_
