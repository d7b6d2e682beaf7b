#include <future>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "mayfly/base/status.h"
#include "server/engine/kubernetes/kubernetes_engine_impl.h"
#include "server/obs/log.h"

namespace mayfly::kubernetes {
namespace {

using nlohmann::json;

// Gates of running services call again within a second of a server's return.
constexpr absl::Duration kCallLimit = absl::Seconds(3);

std::string Meta(const json& object, const char* part, const char* key) {
  const auto meta = object.find("metadata");
  if (meta == object.end() || !meta->is_object()) return "";
  const auto map = meta->find(part);
  if (map == meta->end() || !map->is_object()) return "";
  return map->value(key, "");
}

std::string Name(const json& object) {
  return object.value("metadata", json::object()).value("name", "");
}

std::string Uid(const json& object) {
  return object.value("metadata", json::object()).value("uid", "");
}

int Attempt(const json& pod) {
  int attempt = 0;
  return absl::SimpleAtoi(Meta(pod, "labels", kAttempt), &attempt) ? attempt : 0;
}

}  // namespace

std::string KubernetesEngineImpl::Selector() const {
  return absl::StrCat(kManagedBy, "=mayfly,", kInstallation, "=", options_.installation);
}

std::function<void(absl::StatusOr<json>)> KubernetesEngineImpl::Here(Answer answer) {
  return [this, answer = std::move(answer)](absl::StatusOr<json> result) {
    io_.Post([answer, result = std::move(result)] { answer(result); });
  };
}

void KubernetesEngineImpl::OnScopeGone(const std::string& scope) {
  io_.Post([this, scope] {
    scopes_.erase(scope);
    ForgetImages(scope);
  });
}

void KubernetesEngineImpl::StartWatches() {
  kube::WatchOptions pods;
  pods.collection = "/api/v1/pods";
  pods.label_selector = Selector();
  pod_watch_ = std::make_unique<kube::Watch>(*api_, pods, PodCallbacks(""));
  kube::WatchOptions namespaces;
  namespaces.collection = "/api/v1/namespaces";
  namespaces.label_selector = Selector();
  namespace_watch_ = std::make_unique<kube::Watch>(
      *api_, namespaces,
      kube::WatchCallbacks{[this](std::vector<json> all) {
                             Trouble("kube namespaces", absl::OkStatus());
                             io_.Post([this, all = std::move(all)] { OnNamespaces(all); });
                           },
                           [this](kube::WatchEvent event, json object) {
                             Trouble("kube namespaces", absl::OkStatus());
                             io_.Post([this, event, object = std::move(object)] { OnNamespaceEvent(event, object); });
                           },
                           Troubled("kube namespaces")});
  event_watch_ = WatchWarnings("/api/v1");
}

std::function<void(const absl::Status&)> KubernetesEngineImpl::Troubled(const std::string& what) {
  return [this, what](const absl::Status& trouble) {
    LogWarning(absl::StrCat(what, " are not seen"), {{"error", trouble}});
    Trouble(what, trouble);
  };
}

kube::WatchCallbacks KubernetesEngineImpl::PodCallbacks(const std::string& only_scope) {
  const std::string what = only_scope.empty() ? "pods" : absl::StrCat("pods of ", only_scope);
  return {[this, only_scope, what](std::vector<json> all) {
            Trouble(what, absl::OkStatus());
            io_.Post([this, only_scope, all = std::move(all)] { OnPods(all, only_scope); });
          },
          [this, what](kube::WatchEvent event, json pod) {
            Trouble(what, absl::OkStatus());
            io_.Post([this, event, pod = std::move(pod)] { OnPodEvent(event, pod); });
          },
          Troubled(what)};
}

KubeScope* KubernetesEngineImpl::ScopeIn(const std::string& space) {
  const auto it = scopes_.find(gives_namespaces() ? pool_.HolderOf(space) : space);
  return it == scopes_.end() ? nullptr : it->second.get();
}

void KubernetesEngineImpl::OnPods(const std::vector<json>& pods, const std::string& only_scope) {
  std::set<std::pair<std::string, std::string>> seen;
  for (const json& pod : pods) {
    seen.emplace(pod["metadata"].value("namespace", ""), Name(pod));
    OnPodEvent(kube::WatchEvent::kModified, pod);
  }
  for (const auto& [id, scope] : scopes_) {
    if (!only_scope.empty() && id != only_scope) continue;
    scope->OnPods(pods);
    const std::string& space = scope->place().space();
    for (const auto& [name, node] : scope->nodes()) {
      for (const auto& [pod, uid] : node->Pods()) {
        if (seen.count({space, pod}) == 0) Missing(id, name, node->attempt(), pod, uid);
      }
    }
  }
}

void KubernetesEngineImpl::Missing(const std::string& scope, const std::string& node, int attempt,
                                   const std::string& pod, const std::string& uid) {
  // The list may be older than the pod: ask for it.
  api_->Get(absl::StrCat(PodsPath(scopes_.at(scope)->place().space()), "/", pod),
            Here([this, scope, node, attempt, pod, uid](const absl::StatusOr<json>& answer) {
              const auto it = scopes_.find(scope);
              if (it == scopes_.end() || (!answer.ok() && !absl::IsNotFound(answer.status()))) return;
              if (answer.ok() && Uid(*answer) == uid) return;
              it->second->OnPod(node, pod, uid, attempt, nullptr);
            }));
}

void KubernetesEngineImpl::OnPodEvent(kube::WatchEvent event, const json& pod) {
  KubeScope* const scope = ScopeIn(pod["metadata"].value("namespace", ""));
  // Labels can be copied; this is a secret of ours.
  if (scope == nullptr || Meta(pod, "annotations", kIdentity) != scope->identity()) return;
  scope->OnPodSeen(Uid(pod), event != kube::WatchEvent::kDeleted);
  const json* const object = event == kube::WatchEvent::kDeleted ? nullptr : &pod;
  const std::string node = Meta(pod, "labels", kNode);
  if (node == kRelayNode) return scope->OnRelay(Name(pod), Uid(pod), Attempt(pod), object);
  scope->OnPod(node, Name(pod), Uid(pod), Attempt(pod), object);
}

void KubernetesEngineImpl::OnNamespaces(const std::vector<json>& all) {
  std::map<std::string, std::string> uids;
  for (const json& object : all) {
    uids[Name(object)] = Uid(object);
    OnNamespaceEvent(kube::WatchEvent::kModified, object);
  }
  std::vector<KubeScope*> gone;
  for (const auto& [id, scope] : scopes_) {
    const auto it = uids.find(id);
    if (!scope->uid().empty() && (it == uids.end() || it->second != scope->uid())) gone.push_back(scope.get());
  }
  // The list may be older than a namespace that was made meanwhile: ask for each.
  for (const KubeScope* const scope : gone) {
    api_->Get(NamespacePath(scope->spec().id),
              Here([this, id = scope->spec().id, uid = scope->uid()](const absl::StatusOr<json>& answer) {
                const auto it = scopes_.find(id);
                if (it == scopes_.end() || it->second->uid() != uid) return;
                if (absl::IsNotFound(answer.status()) || (answer.ok() && Uid(*answer) != uid)) {
                  it->second->OnNamespace(nullptr);
                }
              }));
  }
}

void KubernetesEngineImpl::OnNamespaceEvent(kube::WatchEvent event, const json& object) {
  const auto it = scopes_.find(Name(object));
  if (it == scopes_.end() || it->second->uid() != Uid(object)) return;
  it->second->OnNamespace(event == kube::WatchEvent::kDeleted ? nullptr : &object);
}

void KubernetesEngineImpl::OnGate(const GateHello& hello, std::unique_ptr<GateLink> link) {
  const auto it = scopes_.find(hello.scope);
  if (it != scopes_.end()) it->second->OnGate(hello, std::move(link));
  MutexLock lock(mutex_);
  ++calls_;
  called_.NotifyAll();
}

void KubernetesEngineImpl::Emit(const EngineEvent& event) {
  if (!recovering_) return sink_->OnEngineEvent(event);
  held_.push_back(event);
  MutexLock lock(mutex_);
  ++calls_;
  called_.NotifyAll();
}

absl::StatusOr<json> KubernetesEngineImpl::ListAndWait(const std::string& collection) {
  std::promise<absl::StatusOr<json>> promise;
  api_->List(collection, Selector(), "",
             [&promise](absl::StatusOr<json> answer) { promise.set_value(std::move(answer)); });
  return promise.get_future().get();
}

FoundScope KubernetesEngineImpl::Found(const JournalEntry& entry, const json* ns,
                                       const std::vector<const json*>& pods) {
  FoundScope found;
  found.id = entry.spec.id;
  found.environment = entry.spec.environment;
  auto made = std::make_unique<KubeScope>(this, entry);
  KubeScope& scope = *made;
  scopes_[entry.spec.id] = std::move(made);
  if (ns == nullptr && entry.uid.empty()) {
    // The former server's request may still be on its way: once this one is answered, it cannot come any more.
    scope.Make();
    return found;
  }
  if (ns == nullptr) {
    io_.Post([this, id = entry.spec.id] {
      const auto it = scopes_.find(id);
      if (it != scopes_.end()) it->second->Lose("its kube namespace is not there");
    });
    return found;
  }
  scope.Adopt(*ns);
  std::map<std::string, const json*> latest;
  for (const json* const pod : pods) {
    const json*& known = latest[Meta(*pod, "labels", kNode)];
    if (known == nullptr || Attempt(*known) < Attempt(*pod)) known = pod;
  }
  for (const json* const pod : pods) {
    const std::string name = Meta(*pod, "labels", kNode);
    if (name == kRelayNode) continue;
    const ProcessSpec process = ProcessOf(Meta(*pod, "annotations", kProcess));
    const bool replicated = process.replicas > 1;
    // One that is being replaced is none any more.
    const bool leaves = replicated && pod->at("metadata").contains("deletionTimestamp");
    if (leaves || Attempt(*pod) != Attempt(*latest[name])) continue;
    scope.AddNode(name, replicated).Adopt(Attempt(*pod), Name(*pod), Uid(*pod), process);
  }
  const auto relay = latest.find(kRelayNode);
  if (relay == latest.end()) {
    scope.AdoptRelay("", "", 0);
  } else {
    scope.AdoptRelay(Name(*relay->second), Uid(*relay->second), Attempt(*relay->second));
  }
  return found;
}

absl::StatusOr<KubernetesEngineImpl::World> KubernetesEngineImpl::ReadWorld() {
  MAYFLY_ASSIGN_OR_RETURN(json namespaces, ListAndWait("/api/v1/namespaces"));
  MAYFLY_ASSIGN_OR_RETURN(json pods, ListAndWait("/api/v1/pods"));
  World world;
  for (json& object : namespaces["items"]) world.spaces.push_back(std::move(object));
  for (json& pod : pods["items"]) world.pods.push_back(std::move(pod));
  return world;
}

absl::StatusOr<std::vector<FoundScope>> KubernetesEngineImpl::Recover() {
  MAYFLY_ASSIGN_OR_RETURN(const World world, gives_namespaces() ? ReadGiven() : ReadWorld());
  std::vector<FoundScope> found;
  absl::Status status;
  io_.Run([&] {
    recovering_ = true;
    std::vector<std::string> broken;
    const auto entries = journal_.Read(&broken);
    status = entries.status();
    if (!status.ok()) return;
    for (const std::string& name : broken)
      LogError("a record of an environment's place cannot be read", {{"file", name}});
    for (const JournalEntry& entry : *entries) {
      if (scopes_.count(entry.spec.id) > 0) continue;
      const std::string space = entry.given.empty() ? entry.spec.id : entry.given;
      const json* ns = nullptr;
      for (const json& object : world.spaces) {
        const bool ours =
            entry.uid.empty() ? Meta(object, "annotations", kIdentity) == entry.identity : Uid(object) == entry.uid;
        if (Name(object) == space && ours) ns = &object;
      }
      std::vector<const json*> inside;
      for (const json& pod : world.pods) {
        if (ns != nullptr && pod["metadata"].value("namespace", "") == space &&
            Meta(pod, "annotations", kIdentity) == entry.identity) {
          inside.push_back(&pod);
        }
      }
      found.push_back(Found(entry, ns, inside));
    }
  });
  // Not before: what it tells first is for the scopes that were found.
  if (!gives_namespaces() && ingress_watch_ == nullptr) ingress_watch_ = WatchIngresses(kNetworkingApi);
  if (status.ok()) AwaitCalls(kCallLimit);
  io_.Run([&] {
    for (FoundScope& scope : found) {
      const auto it = scopes_.find(scope.id);
      if (it == scopes_.end()) continue;
      for (const auto& [name, node] : it->second->nodes()) scope.nodes.push_back(node->Describe());
    }
    // Told only after the caller knows whose they are.
    io_.Post([this] {
      recovering_ = false;
      for (const EngineEvent& event : std::exchange(held_, {})) Emit(event);
    });
  });
  MAYFLY_RETURN_IF_ERROR(status);
  {
    MutexLock lock(mutex_);
    recovered_ = true;
  }
  return found;
}

void KubernetesEngineImpl::AwaitCalls(absl::Duration limit) {
  const auto end = std::chrono::steady_clock::now() + absl::ToChronoMilliseconds(limit);
  MutexLock lock(mutex_);
  for (;;) {
    bool complete = true;
    const uint64_t calls = calls_;
    mutex_.Unlock();
    io_.Run([&] {
      for (const auto& [id, scope] : scopes_) {
        for (const auto& [name, node] : scope->nodes()) complete &= node->Known();
      }
    });
    mutex_.Lock();
    if (complete) return;
    while (calls_ == calls) {
      if (!called_.WaitUntil(mutex_, end)) return;
    }
  }
}

}  // namespace mayfly::kubernetes
