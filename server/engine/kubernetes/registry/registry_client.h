// Reads from registries of images (OCI distribution, version 2): which content a name stands for, and what command an
// image brings. Nothing that a registry says is trusted: answers are bounded and contents have the digest that names
// them.
#ifndef MAYFLY_SERVER_ENGINE_KUBERNETES_REGISTRY_REGISTRY_CLIENT_H_
#define MAYFLY_SERVER_ENGINE_KUBERNETES_REGISTRY_REGISTRY_CLIENT_H_

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/engine/kubernetes/registry/docker_config.h"
#include "server/engine/kubernetes/registry/reference.h"
#include "server/http/client.h"

namespace mayfly::registry {

struct ImageConfig {
  std::vector<std::string> command;              // Entrypoint, then Cmd; may be empty.
  std::map<std::string, std::string> variables;  // Env.
  std::string workdir;
  std::string user;  // As it stands there: "65532", "nobody", "1000:1000".
  friend bool operator==(const ImageConfig&, const ImageConfig&) = default;
};

struct Image {
  std::string digest;  // Of what the name stands for; of an index where the image has several platforms.
  std::optional<ImageConfig> config;
};

struct RegistryClientOptions {
  std::set<std::string> insecure;              // Registries, as of Reference, that are spoken to over plain http.
  std::string architecture;                    // Of the cluster's machines, in Go's words; empty: this machine's.
  absl::Duration deadline = absl::Seconds(2);  // For one Resolve without the configuration.
  absl::Duration config_deadline = absl::Seconds(10);  // With it.
  // A registry that does not answer is not asked again for so long: its answer is the same, at once.
  absl::Duration pause = absl::Seconds(30);
};

// Thread-safe. Signs in anonymously, with user and password, or with a token got for them, as the registry asks.
class RegistryClient {
 public:
  // Errors by code, with a sentence that names the registry's host and never holds credentials:
  //   NOT_FOUND          there is no such image, or none for the cluster's machines
  //   UNAUTHENTICATED    it wants credentials and none are known for it
  //   PERMISSION_DENIED  it refuses those that are known for it
  //   UNAVAILABLE        it does not answer in time, or its certificate is not trusted
  //   DATA_LOSS          its answer is not what it should be: another digest, too large, no manifest
  using Done = std::function<void(absl::StatusOr<Image>)>;

  // `credentials` must outlive this.
  RegistryClient(RegistryClientOptions options, DockerConfig* credentials);
  ~RegistryClient();  // Not from a callback. What runs ends first, with CANCELLED.
  RegistryClient(const RegistryClient&) = delete;
  RegistryClient& operator=(const RegistryClient&) = delete;

  // Asks anew each time. `done` comes once, on a thread of the client's, never inline.
  void Resolve(const Reference& reference, bool with_config, Done done);

 private:
  class Impl;
  class Lookup;
  std::unique_ptr<Impl> impl_;
};

}  // namespace mayfly::registry

#endif  // MAYFLY_SERVER_ENGINE_KUBERNETES_REGISTRY_REGISTRY_CLIENT_H_
