#include <unistd.h>

#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "mayfly/base/ids.h"
#include "mayfly/base/status.h"
#include "server/engine/kubernetes/kubernetes_engine_impl.h"
#include "server/engine/kubernetes/object_parts.h"
#include "server/obs/log.h"

namespace mayfly::kubernetes {
namespace {

using nlohmann::json;

constexpr size_t kNamedHolders = 3;

std::string HostName() {
  char name[256] = "";
  return gethostname(name, sizeof name - 1) == 0 ? name : "?";
}

}  // namespace

absl::Status KubernetesEngineImpl::CheckProfile() {
  std::vector<std::string> broken;
  MAYFLY_ASSIGN_OR_RETURN(const std::vector<JournalEntry> entries, journal_.Read(&broken));
  for (const JournalEntry& entry : entries) {
    if (entry.given.empty() != gives_namespaces()) continue;
    return absl::FailedPreconditionError(absl::StrCat(
        "environment ", entry.spec.environment, " is in ",
        gives_namespaces() ? "a kube namespace that this server made: take it down without --kube-namespaces first"
                           : absl::StrCat("kube namespace ", entry.given,
                                          ", which somebody else made: take it down with --kube-namespaces first")));
  }
  return absl::OkStatus();
}

absl::Status KubernetesEngineImpl::TakeGiven() {
  OwnerNote note;
  note.installation = options_.installation;
  note.host = HostName();
  note.state_dir = options_.state_dir;
  note.with_ingress = !options_.ingress.domain.empty();
  MAYFLY_ASSIGN_OR_RETURN(note.identity, journal_.Value("namespaces-owner", NewUuid()));
  // What an environment is in stays this server's, also when it is not in the list any more.
  std::vector<std::string> names = options_.namespaces;
  const std::set<std::string> listed(names.begin(), names.end());
  std::set<std::string> in_use;
  std::vector<std::string> broken;
  MAYFLY_ASSIGN_OR_RETURN(const std::vector<JournalEntry> entries, journal_.Read(&broken));
  for (const JournalEntry& entry : entries) {
    if (!in_use.insert(entry.given).second) continue;
    if (listed.count(entry.given) == 0) names.push_back(entry.given);
  }
  MAYFLY_ASSIGN_OR_RETURN(owned_, TakeNamespaces(*api_, options_.endpoint, names, note, in_use));
  std::string trouble;
  int fit = 0;
  for (const OwnedNamespace& one : owned_) {
    if (!one.trouble.empty()) {
      LogWarning(one.trouble);
      if (trouble.empty()) trouble = one.trouble;
    } else if (listed.count(one.name) > 0) {
      ++fit;
      io_.Run([&] { pool_.Add(one.name); });
    }
  }
  io_.Run([&] {
    for (const JournalEntry& entry : entries) pool_.Hold(entry.given, entry.spec.id);
  });
  // With environments of its own it starts all the same: who else would take them down?
  if (fit > 0 || !entries.empty()) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("no kube namespace of --kube-namespaces can take an environment. The first: ", trouble));
}

void KubernetesEngineImpl::FreeNamespace(const std::string& name) {
  const std::string next = pool_.Free(name);
  if (next.empty()) return;
  // Never inline: the one before is not done yet.
  io_.Post([this, next, name] {
    const auto it = scopes_.find(next);
    if (it != scopes_.end() && !it->second->ended()) return it->second->OnGiven(name);
    FreeNamespace(name);
  });
}

std::string KubernetesEngineImpl::OwnerUid(const std::string& name) const {
  for (const OwnedNamespace& one : owned_) {
    if (one.name == name) return one.uid;
  }
  return "";
}

std::string KubernetesEngineImpl::NamespacesInUse() const {
  std::vector<std::string> holders;
  for (const auto& [id, scope] : scopes_) {
    if (!scope->place().given.empty()) {
      holders.push_back(absl::StrCat(scope->spec().environment, scope->ended() ? " (ending)" : ""));
    }
  }
  const size_t more = holders.size() > kNamedHolders ? holders.size() - kNamedHolders : 0;
  holders.resize(holders.size() - more);
  return absl::StrCat("one of ", pool_.size(), " kube namespaces; they are used by ", absl::StrJoin(holders, ", "),
                      more > 0 ? absl::StrCat(" and ", more, " more") : "");
}

std::vector<std::unique_ptr<kube::Watch>> KubernetesEngineImpl::WatchSpace(const std::string& scope,
                                                                           const std::string& space) {
  kube::WatchOptions pods;
  pods.collection = PodsPath(space);
  pods.label_selector = absl::StrCat(Selector(), ",", kScope, "=", scope);
  std::vector<std::unique_ptr<kube::Watch>> watches;
  watches.push_back(std::make_unique<kube::Watch>(*api_, pods, PodCallbacks(scope)));
  watches.push_back(WatchWarnings(NamespacePath(space)));
  watches.push_back(WatchIngresses(absl::StrCat(kNetworkingApi, "/namespaces/", space)));
  return watches;
}

absl::StatusOr<KubernetesEngineImpl::World> KubernetesEngineImpl::ReadGiven() {
  World world;
  std::vector<std::string> broken;
  MAYFLY_ASSIGN_OR_RETURN(const std::vector<JournalEntry> entries, journal_.Read(&broken));
  for (const JournalEntry& entry : entries) {
    const std::string uid = OwnerUid(entry.given);
    // Without rights there nothing can be said of it, and nothing done: it is told as lost.
    if (uid.empty()) continue;
    MAYFLY_ASSIGN_OR_RETURN(json pods, ListAndWait(PodsPath(entry.given)));
    MAYFLY_ASSIGN_OR_RETURN(json maps, ListAndWait(absl::StrCat(NamespacePath(entry.given), "/configmaps")));
    json notes = json::object();
    for (const json& map : maps["items"]) {
      const json found = map["metadata"].value("annotations", json::object());
      if (map["metadata"].value("name", "") == kGateMap && found.value(kIdentity, "") == entry.identity) notes = found;
    }
    world.spaces.push_back({{"metadata", {{"name", entry.given}, {"uid", uid}, {"annotations", notes}}}});
    for (json& pod : pods["items"]) world.pods.push_back(std::move(pod));
  }
  return world;
}

}  // namespace mayfly::kubernetes
