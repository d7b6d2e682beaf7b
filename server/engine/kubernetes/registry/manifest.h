// What registries answer with, read without trust. Pure.
#ifndef MAYFLY_SERVER_ENGINE_KUBERNETES_REGISTRY_MANIFEST_H_
#define MAYFLY_SERVER_ENGINE_KUBERNETES_REGISTRY_MANIFEST_H_

#include <map>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/engine/kubernetes/registry/registry_client.h"

namespace mayfly::registry {

// Exactly one is set.
struct ManifestLink {
  std::string config;    // Of an image: its configuration's digest.
  std::string manifest;  // Of an index: the digest of the image's manifest for the platform.
};

// DATA_LOSS for what is no manifest, NOT_FOUND for an index without linux/`architecture`.
absl::StatusOr<ManifestLink> ReadManifest(absl::string_view text, absl::string_view architecture);

// DATA_LOSS for what is no configuration or unreasonable: over 1,000 words or 128 KiB, or with a NUL.
absl::StatusOr<ImageConfig> ReadConfig(absl::string_view text);

// What a WWW-Authenticate header asks for; `scheme` in lower case, parameters by name. Empty for what is none.
struct Challenge {
  std::string scheme;
  std::map<std::string, std::string> parameters;
};
Challenge ParseChallenge(absl::string_view header);

}  // namespace mayfly::registry

#endif  // MAYFLY_SERVER_ENGINE_KUBERNETES_REGISTRY_MANIFEST_H_
