// Names of images, as container tools write them: "nginx", "team/web:1.2", "registry.example.com:5000/web@sha256:...".
#ifndef MAYFLY_SERVER_ENGINE_KUBERNETES_REGISTRY_REFERENCE_H_
#define MAYFLY_SERVER_ENGINE_KUBERNETES_REGISTRY_REFERENCE_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace mayfly::registry {

// Every part is of harmless characters only and can stand in a URL's path as it is.
struct Reference {
  std::string registry;    // "docker.io", "registry.example.com:5000".
  std::string repository;  // "library/nginx".
  std::string tag;         // Empty only beside a digest.
  std::string digest;      // "sha256:" and 64 hex digits; empty: the tag decides.

  // "registry.example.com:5000/web@sha256:..."; `digest` must not be empty.
  std::string Pinned() const;
  friend bool operator==(const Reference&, const Reference&) = default;
};

// Without a registry "docker.io" is meant, there "library/" before single words, and without a tag "latest".
// INVALID_ARGUMENT says what is wrong.
absl::StatusOr<Reference> ParseReference(absl::string_view text);

// "sha256:" and 64 lower-case hex digits; others are not spoken here.
bool IsDigest(absl::string_view text);

}  // namespace mayfly::registry

#endif  // MAYFLY_SERVER_ENGINE_KUBERNETES_REGISTRY_REFERENCE_H_
