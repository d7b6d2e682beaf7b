// One named entry of a kubeconfig's lists, and what it says. Used by kubeconfig.cc alone.
#ifndef MAYFLY_SERVER_ENGINE_KUBERNETES_CLIENT_KUBECONFIG_ENTRIES_H_
#define MAYFLY_SERVER_ENGINE_KUBERNETES_CLIENT_KUBECONFIG_ENTRIES_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "nlohmann/json.hpp"
#include "server/engine/kubernetes/client/kubeconfig.h"

namespace mayfly::kube {

struct ConfigFile {
  std::string path;
  std::string shown;   // `path`, escaped.
  std::string folder;  // Absolute; relative paths in the file begin here.
  nlohmann::json json;
};

struct ConfigEntry {
  const ConfigFile* file = nullptr;
  std::string name;
  std::string shown;     // "user 'alice' of /home/alice/.kube/config"
  nlohmann::json value;  // A map.

  // INVALID_ARGUMENT, naming entry and key, when there stands something else. What is not set is empty or false.
  absl::StatusOr<std::string> Text(const char* key) const;
  absl::StatusOr<bool> Flag(const char* key) const;
  absl::StatusOr<std::vector<std::string>> Texts(const char* key) const;
  // The path under `key` from the file's folder; empty when it is not set.
  absl::StatusOr<std::string> Path(const char* key) const;
  // `data_key` (base64) or `path_key`.
  absl::StatusOr<TextOrFile> DataOrPath(const char* data_key, const char* path_key) const;
  absl::Status Error(absl::string_view message) const;
};

absl::StatusOr<KubeCluster> ReadCluster(const ConfigEntry& entry);
absl::StatusOr<KubeUser> ReadUser(const ConfigEntry& entry);

}  // namespace mayfly::kube

#endif  // MAYFLY_SERVER_ENGINE_KUBERNETES_CLIENT_KUBECONFIG_ENTRIES_H_
