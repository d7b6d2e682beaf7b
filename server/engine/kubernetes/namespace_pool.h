// Kube namespaces that somebody made for mayfly, and which environment has which.
#ifndef MAYFLY_SERVER_ENGINE_KUBERNETES_NAMESPACE_POOL_H_
#define MAYFLY_SERVER_ENGINE_KUBERNETES_NAMESPACE_POOL_H_

#include <deque>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace mayfly::kubernetes {

// "team-a,mf-{1..20}" -> its names in order. INVALID_ARGUMENT for what no kube namespace is called, the cluster's own,
// a name that comes twice, and more than 1000.
absl::StatusOr<std::vector<std::string>> ParseNamespaces(absl::string_view text);

// Whoever comes first is served first. Pure; not thread-safe.
class NamespacePool {
 public:
  // A namespace that can be had from now on.
  void Add(const std::string& name);
  // `scope` has it, as its records say, whether it was added or not; what was not added nobody gets after it.
  void Hold(const std::string& name, const std::string& scope);

  // A free one, or "": the scope is then served when one is freed.
  std::string Take(const std::string& scope);
  // Not needed any more by one that waits.
  void Leave(const std::string& scope);
  // The scope that has it from now on; "" when nobody waits.
  std::string Free(const std::string& name);

  // "" when nobody has it.
  std::string HolderOf(const std::string& name) const;
  std::vector<std::string> FreeOnes() const;
  size_t size() const { return names_.size(); }

 private:
  std::vector<std::string> names_;
  std::map<std::string, std::string> holders_;  // By namespace.
  std::deque<std::string> waiting_;
};

}  // namespace mayfly::kubernetes

#endif  // MAYFLY_SERVER_ENGINE_KUBERNETES_NAMESPACE_POOL_H_
