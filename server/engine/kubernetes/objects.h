// What mayfly creates in a cluster, as JSON. Pure; everything that reaches the API server is made here.
#ifndef MAYFLY_SERVER_ENGINE_KUBERNETES_OBJECTS_H_
#define MAYFLY_SERVER_ENGINE_KUBERNETES_OBJECTS_H_

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "mayfly/engine/engine.h"

namespace mayfly::kubernetes {

// Labels and annotations by which mayfly finds its objects. They can be copied: what belongs to an environment is what
// bears the recorded UID, or the annotation kIdentity with a value that only its journal knows.
inline constexpr char kManagedBy[] = "app.kubernetes.io/managed-by";
inline constexpr char kInstallation[] = "mayfly.dev/installation";
inline constexpr char kScope[] = "mayfly.dev/scope";
inline constexpr char kNode[] = "mayfly.dev/node";
inline constexpr char kAttempt[] = "mayfly.dev/attempt";
inline constexpr char kIdentity[] = "mayfly.dev/identity";
// What a later server must know of a pod's process, as JSON.
inline constexpr char kProcess[] = "mayfly.dev/process";

// What every pod runs as; without rights, and without a token.
inline constexpr char kAccount[] = "mayfly";

// The part of a pod that is the service's, beside sidecars.
inline constexpr char kContainer[] = "service";

// One environment's place, and what all of its objects have in common.
struct Place {
  std::string scope;         // The environment's: a label's value, and part of what gates say.
  std::string installation;  // A label's value.
  std::string identity;      // 128 random bits, written to the journal before anything is created.
  std::string given = "";    // A kube namespace that somebody else made for it; empty: it makes one of its own.

  // The kube namespace, as paths have it. Only here, never where `scope` is meant: another environment may have had it
  // before.
  const std::string& space() const { return given.empty() ? scope : given; }
};

struct Creation {
  std::string collection;  // Path of the API: "/api/v1/namespaces/x/pods".
  nlohmann::json object;
};

nlohmann::json NamespaceObject(const Place& place, const ScopeSpec& spec);

// What every environment has before its first pod: service account, gate, network policy, and in a kube namespace of
// its own quota and limits; in a given one they are its administrator's. `gate` is the program's bytes; `gate_address`
// is where it calls outside of the environment, "IPV4:PORT"; empty: nowhere.
std::vector<Creation> ScopeObjects(const Place& place, absl::string_view gate, absl::string_view gate_address);

struct PodOptions {
  std::string gate_address;
  std::string gate_token;
  std::string registry;  // Put before images that name no registry of their own; may be empty.
  std::map<std::string, std::string> sidecar_tokens;  // By sidecar.
  std::string pull_secret;                            // See pull_secret.h; may be empty.
};

// Of one attempt; never the same for two.
std::string PodName(absl::string_view node, int attempt);
std::string ImageName(absl::string_view image, absl::string_view registry);

// INVALID_ARGUMENT for what no pod can be made of.
absl::Status CheckProcess(const ProcessSpec& process);

// The pod, and before it what it needs: a Secret where there are secrets or files, and claims for its volumes, which
// may be there already.
std::vector<Creation> PodObjects(const Place& place, const NodeRef& node, const ProcessSpec& process,
                                 const PodOptions& options);

// The service's name for others: headless and without a selector, since its endpoints are ours to write. Nothing when
// the process has no ports.
std::vector<Creation> NameObjects(const Place& place, absl::string_view node, const ProcessSpec& process);
// Path and object of the endpoints, for server-side apply.
Creation EndpointsObject(const Place& place, absl::string_view node, const ProcessSpec& process,
                         absl::string_view address);

// What the annotation kProcess of a pod says; a default for what cannot be read. Only what is needed to watch over and
// end a process that runs: its probe, ports and stop policy.
ProcessSpec ProcessOf(const std::string& annotation);

std::string NamespacePath(absl::string_view space);
std::string PodsPath(absl::string_view space);

}  // namespace mayfly::kubernetes

#endif  // MAYFLY_SERVER_ENGINE_KUBERNETES_OBJECTS_H_
