// Who we are to registries: the file that `docker login` writes, config.json, of which only `auths` is read. What its
// credsStore and credHelpers would say is not asked: they are programs of somebody's desktop.
#ifndef MAYFLY_SERVER_ENGINE_KUBERNETES_REGISTRY_DOCKER_CONFIG_H_
#define MAYFLY_SERVER_ENGINE_KUBERNETES_REGISTRY_DOCKER_CONFIG_H_

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "mayfly/base/mutex.h"

namespace mayfly::registry {

struct Credentials {
  std::string user;
  std::string password;  // Never to be logged, stored or put into a message.
  friend bool operator==(const Credentials&, const Credentials&) = default;
};

// By Reference::registry. Entries without user and password are left out and named in `ignored`, one sentence in all.
// INVALID_ARGUMENT for what is no such file; the message holds nothing of its contents.
absl::StatusOr<std::map<std::string, Credentials>> ParseDockerConfig(absl::string_view text, std::string* ignored);

// The file, read again when it has changed. Thread-safe.
class DockerConfig {
 public:
  // `path` may be empty: nobody is known. `warn` gets one line about a file that has become unreadable (the last that
  // was read goes on counting) and about entries that are not used.
  explicit DockerConfig(std::string path, std::function<void(absl::string_view)> warn = nullptr);

  // Reads it now; what is wrong with the file.
  absl::Status Load();
  // Those for a registry; null without. `registry` is as of Reference. May read a small file.
  std::shared_ptr<const Credentials> Find(const std::string& registry);

 private:
  absl::Status LoadIfChanged() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const std::string path_;
  const std::function<void(absl::string_view)> warn_;
  Mutex mutex_;
  std::map<std::string, std::shared_ptr<const Credentials>> known_ ABSL_GUARDED_BY(mutex_);
  std::string stamp_ ABSL_GUARDED_BY(mutex_);  // Of the file as it was read: identity, size and time.
};

// What the cluster's machines need to pull from these registries: the text of a Secret's .dockerconfigjson.
std::string DockerConfigFor(const std::map<std::string, Credentials>& by_registry);

}  // namespace mayfly::registry

#endif  // MAYFLY_SERVER_ENGINE_KUBERNETES_REGISTRY_DOCKER_CONFIG_H_
