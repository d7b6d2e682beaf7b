// One environment's place: its kube namespace with what belongs there, and its nodes.
#ifndef MAYFLY_SERVER_ENGINE_KUBERNETES_KUBE_SCOPE_H_
#define MAYFLY_SERVER_ENGINE_KUBERNETES_KUBE_SCOPE_H_

#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "server/base/unique_fd.h"
#include "server/engine/kubernetes/gate_relay.h"
#include "server/engine/kubernetes/given_space.h"
#include "server/engine/kubernetes/ingress_route.h"
#include "server/engine/kubernetes/journal.h"
#include "server/engine/kubernetes/pod_node.h"
#include "server/engine/kubernetes/pull_secret.h"
#include "server/engine/parts/proxy.h"

namespace mayfly::kube {
class ApiClient;
}

namespace mayfly::kubernetes {

// What a scope needs of the engine. All on the engine's thread.
class ScopeHost {
 public:
  using Answer = PodHost::Answer;
  virtual ~ScopeHost() = default;
  virtual Reactor& reactor() = 0;
  virtual Journal& journal() = 0;
  virtual kube::ApiClient& api() = 0;
  // An answer of the client, brought to the engine's thread.
  virtual std::function<void(absl::StatusOr<nlohmann::json>)> Here(Answer answer) = 0;
  virtual void Emit(const EngineEvent& event) = 0;
  virtual PodOptions MakePodOptions(const std::string& scope, const std::string& pod) const = 0;
  virtual const std::string& gate_program() const = 0;
  virtual const std::string& installation() const = 0;
  virtual const std::string& secret() const = 0;  // Of the installation.
  virtual registry::DockerConfig& credentials() = 0;
  // Whether a new environment's gates call a relay.
  virtual bool relays_gates() const = 0;
  // A connection to a pod's loopback, through the API server; `post` brings its callbacks to the engine's thread.
  virtual std::unique_ptr<Stream> DialPod(const std::string& space, const std::string& pod, int port,
                                          Stream::Callbacks callbacks) = 0;
  virtual void Post(std::function<void()> fn) = 0;
  virtual void OnGateSocket(UniqueFd socket, const std::string& peer) = 0;
  virtual const IngressOptions& ingress() const = 0;
  // The answer comes on the engine's thread.
  virtual void Ask(http::Request request, std::function<void(http::Outcome)> done) = 0;
  // As PodHost::ConnectOut; `who` is for the log.
  virtual void ConnectOut(const std::string& who, const EgressTarget& target, UniqueFd socket) = 0;
  // Nothing is left of it; the host forgets it, soon.
  virtual void OnScopeGone(const std::string& scope) = 0;

  // Kube namespaces that somebody made (--kube-namespaces). Without: each scope makes its own.
  virtual bool gives_namespaces() const = 0;
  // "": none is free; then KubeScope::OnGiven follows, unless it leaves.
  virtual std::string TakeNamespace(const std::string& scope) = 0;
  virtual void LeaveQueue(const std::string& scope) = 0;
  virtual void FreeNamespace(const std::string& name) = 0;
  // What makes it this server's.
  virtual std::string OwnerUid(const std::string& name) const = 0;
  // "one of 3 kube namespaces, which shop, demo and 1 more have"
  virtual std::string NamespacesInUse() const = 0;
  virtual absl::Duration namespace_wait() const = 0;
  // Of what one scope has there; what they see comes to KubeScope::OnPods, OnPod and so on.
  virtual std::vector<std::unique_ptr<kube::Watch>> WatchSpace(const std::string& scope, const std::string& space) = 0;
};

// Not thread-safe.
class KubeScope final : public PodHost {
 public:
  enum class Phase { kCreating, kReady, kFailed, kDestroying, kReleased };

  KubeScope(ScopeHost* host, JournalEntry entry);
  ~KubeScope() override;

  const ScopeSpec& spec() const { return entry_.spec; }
  const std::string& uid() const { return entry_.uid; }
  const std::string& identity() const { return entry_.identity; }
  Phase phase() const { return phase_; }
  bool ended() const { return phase_ == Phase::kDestroying || phase_ == Phase::kReleased; }
  KubeNode* FindNode(const std::string& name);
  const std::map<std::string, std::unique_ptr<KubeNode>>& nodes() const { return nodes_; }
  const std::map<std::string, std::string>& addresses() const { return addresses_; }

  // Writes down the intent, then makes the namespace and what every one holds; kScopeReady or kScopeFailed.
  void Make();
  // Found again by recovery; what a half made one lacks is made, and kScopeReady follows.
  void Adopt(const nlohmann::json& space);
  // What its request says by now of labels and expiry is written to the namespace, for people, in time.
  void Retell(const ScopeSpec& spec);
  // Its namespace vanished while nobody looked.
  void Lose(const std::string& message);
  void RepeatReady();
  // `done` when the cluster's machines can be told who may pull from these; see PullSecret::Provide.
  void ProvidePulls(const std::set<std::string>& registries, const PullSecret::Done& done);
  void Prepare(const NodeRef& ref, const ProcessSpec& process);
  KubeNode& AddNode(const std::string& name, bool replicated);
  absl::Status Expose(const NodeRef& ref, int port, int host_port);
  void Destroy();

  // As the cluster tells.
  void OnNamespace(const nlohmann::json* object);  // Null: it is not there any more.
  void OnPod(const std::string& node, const std::string& pod, const std::string& uid, int attempt,
             const nlohmann::json* object);  // Null: it was deleted.
  // In a given kube namespace, in addition and before: each pod of its own, and all that there are.
  void OnPodSeen(const std::string& uid, bool there);
  void OnPods(const std::vector<nlohmann::json>& all);
  // The kube namespace that it waited for.
  void OnGiven(const std::string& name);
  void OnRelay(const std::string& pod, const std::string& uid, int attempt, const nlohmann::json* object);  // As OnPod.
  // After all nodes were adopted: its relay's pod; empty: there is none.
  void AdoptRelay(const std::string& pod, const std::string& uid, int attempt);
  void OnGate(const GateHello& hello, std::unique_ptr<GateLink> link);
  void OnIngress(const std::string& name, const nlohmann::json* ingress);  // Null as above.

  // PodHost.
  Reactor& reactor() override { return host_->reactor(); }
  const Place& place() const override { return place_; }
  void Emit(const EngineEvent& event) override;
  int log_folder() const override { return log_folder_.get(); }
  void Create(Creation creation, Answer answer) override;
  void Apply(Creation creation, Answer answer) override;
  void OnOutput(absl::string_view, bool) override {}  // Is in the log folder.
  void Delete(const std::string& path, const std::string& uid) override;
  PodOptions MakePodOptions(const std::string& pod) const override;
  void ConnectOut(const std::string& node, const EgressTarget& target, UniqueFd socket) override;
  std::vector<GateLink*> Gates() override;
  kube::ApiClient& api() override { return host_->api(); }
  std::function<void(absl::StatusOr<nlohmann::json>)> Here(Answer answer) override {
    return host_->Here(std::move(answer));
  }

 private:
  void EmitScope(EngineEvent::Kind kind, Cause cause = Cause(), Receipt receipt = Receipt());
  void MakeInGiven();
  absl::Status EnterGiven();
  void RemoveFromGiven();
  void OnNamespaceMade(const absl::StatusOr<nlohmann::json>& answer);
  void MakeObjects();
  void OnObjectMade(const absl::Status& status);
  std::set<std::string> Registries() const;  // Of all images that are known to be named.
  void MakeRelay();
  void Fail(Cause cause);
  void BeginDeletion();
  void DeletePods();
  void TryRelease();
  void Gone();
  void TellNotes();
  // What bears the notes: the kube namespace, or in a given one the gate's ConfigMap.
  Creation NoteBearer() const;
  void TellByObject(std::vector<Creation>* wanted);
  void TellHeld();
  Answer Guarded(Answer fn);
  absl::Status ExposeOnHost(const NodeRef& ref, int port, int host_port);
  void ExposeByIngress(const NodeRef& ref, int port, const ProcessSpec& process);
  void TellExposed(const NodeRef& ref, int port, const IngressRoute::Told& told);
  void SetRoutesReady(const NodeRef& ref, bool ready);
  void DropRoutes(const std::string& node, const ProcessSpec& process);
  void RemoveRoutes();
  void RemoveIngress(const std::string& name, const nlohmann::json& ingress);

  ScopeHost* const host_;
  JournalEntry entry_;
  Place place_;
  Phase phase_ = Phase::kCreating;
  UniqueFd log_folder_;
  std::map<std::string, std::unique_ptr<KubeNode>> nodes_;
  std::map<std::string, std::string> addresses_;              // Exposed, by "node:port".
  std::map<std::string, std::unique_ptr<TcpProxy>> proxies_;  // The same.
  std::unique_ptr<GateRelay> relay_;                          // Null where gates call the server itself.
  struct Route {
    NodeRef ref;  // The latest that asked.
    int port = 0;
    std::unique_ptr<IngressRoute> route;
  };
  std::map<std::string, Route> routes_;              // By the name of their Ingress.
  std::map<std::string, nlohmann::json> ingresses_;  // As the cluster has them.
  std::set<std::string> dropped_;                    // Not exposed any more before the cluster told of them.
  std::vector<std::function<void()>> waiting_;       // Until it is ready.
  int objects_missing_ = 0;
  bool making_ = false;  // The answer to the namespace's creation has not come.
  bool deletion_accepted_ = false, namespace_gone_ = false;
  bool refused_ = false;  // Its deletion, until Destroy is called again.
  absl::Duration destroyed_at_;
  Receipt receipt_;
  std::vector<std::string> blockers_;  // What keeps the namespace, as last told.
  nlohmann::json last_seen_;           // The namespace.
  bool late_ = false;
  std::map<std::string, std::string> notes_;  // Annotations that the namespace has of us, as far as known.
  bool telling_ = false;
  Reactor::TimerId retry_ = 0, release_limit_ = 0, tell_again_ = 0, wait_limit_ = 0, late_timer_ = 0;
  bool queued_ = false;  // For a kube namespace.
  int retries_ = 0;
  PullSecret pull_secret_;
  std::shared_ptr<KubeScope*> self_;
  std::unique_ptr<GivenSpace> given_;                  // In a kube namespace that somebody else made.
  std::vector<std::unique_ptr<kube::Watch>> watches_;  // There.
};

}  // namespace mayfly::kubernetes

#endif  // MAYFLY_SERVER_ENGINE_KUBERNETES_KUBE_SCOPE_H_
