// kubernetes_engine.cc: the verbs, from any thread; kubernetes_engine_world.cc: what the cluster and the gates tell, on
// the engine's thread, and recovery; kubernetes_engine_events.cc: what goes wrong with pods by the cluster's events;
// kubernetes_engine_access.cc: commands, connections and files; kubernetes_engine_doctor.cc: the cluster's state;
// kubernetes_engine_given.cc: kube namespaces that somebody else made.
#ifndef MAYFLY_SERVER_ENGINE_KUBERNETES_KUBERNETES_ENGINE_IMPL_H_
#define MAYFLY_SERVER_ENGINE_KUBERNETES_KUBERNETES_ENGINE_IMPL_H_

#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <utility>
#include <vector>

#include "mayfly/base/mutex.h"
#include "server/engine/kubernetes/client/api_client.h"
#include "server/engine/kubernetes/client/watch.h"
#include "server/engine/kubernetes/gate_hub.h"
#include "server/engine/kubernetes/image_book.h"
#include "server/engine/kubernetes/journal.h"
#include "server/engine/kubernetes/kube_scope.h"
#include "server/engine/kubernetes/kubernetes_engine.h"
#include "server/engine/kubernetes/namespace_owner.h"
#include "server/engine/kubernetes/namespace_pool.h"
#include "server/engine/kubernetes/outside_dialer.h"
#include "server/engine/parts/fd_stream.h"
#include "server/engine/parts/io_thread.h"
#include "server/engine/parts/relay.h"
#include "server/http/client.h"
#include "server/http/websocket.h"

namespace mayfly::kubernetes {

class KubernetesEngineImpl final : public KubernetesEngine, public ScopeHost {
 public:
  KubernetesEngineImpl(KubernetesEngineOptions options, Journal journal, EngineEventSink* sink);
  ~KubernetesEngineImpl() override;
  absl::Status Begin();

  Capabilities Describe() override;
  absl::StatusOr<std::vector<FoundScope>> Recover() override;
  absl::Status CreateScope(const ScopeSpec& spec) override;
  absl::Status Prepare(const NodeRef& ref, const ProcessSpec& process) override;
  absl::Status Start(const NodeRef& ref, bool one_shot) override;
  absl::Status Stop(const NodeRef& ref) override;
  absl::Status Expose(const NodeRef& ref, int port, int host_port) override;
  absl::Status Destroy(const std::string& id) override;
  absl::StatusOr<std::unique_ptr<Stream>> Exec(const ExecRequest& request, Stream::Callbacks callbacks) override;
  absl::StatusOr<std::unique_ptr<Stream>> Connect(const NodeRef& ref, int port, Stream::Callbacks callbacks) override;
  void Collect(const NodeRef& ref, std::vector<std::string> paths, std::string destination, int64_t max_bytes,
               std::function<void(absl::Status)> done) override;

 private:
  // Where to listen for gates, "IPV4:PORT".
  absl::StatusOr<std::string> GateListen();
  // Runs `fn` on the engine's thread and returns what it says: verbs take microseconds there.
  absl::Status OnThread(const std::function<absl::Status()>& fn);

  // ---- The engine's thread. ----
  absl::StatusOr<KubeScope*> FindScope(const std::string& id);
  absl::StatusOr<KubeNode*> FindNode(const NodeRef& ref, KubeScope** scope = nullptr);
  absl::StatusOr<PodNode*> FindRunning(const NodeRef& ref);
  void StartWatches();
  // `api` is "/api/v1", or a kube namespace's path there.
  std::unique_ptr<kube::Watch> WatchWarnings(const std::string& api);
  std::function<void(const absl::Status&)> Troubled(const std::string& what);
  // Any thread: a watch broke, or sees (OK).
  void Trouble(const std::string& what, const absl::Status& status);
  void DescribeNow(Capabilities* out);
  void DescribeGiven(Capabilities* out);
  void OnWarning(const nlohmann::json& event);
  // Of one scope, or of all.
  void OnPods(const std::vector<nlohmann::json>& pods, const std::string& only_scope);
  KubeScope* ScopeIn(const std::string& space);
  kube::WatchCallbacks PodCallbacks(const std::string& only_scope);
  // Whether all environments that are recorded are of this profile of rights.
  absl::Status CheckProfile();
  absl::Status TakeGiven();
  // What Recover concludes from. Of a given kube namespace, what makes it this server's stands for it.
  struct World {
    std::vector<nlohmann::json> spaces;
    std::vector<nlohmann::json> pods;
  };
  absl::StatusOr<World> ReadWorld();
  absl::StatusOr<World> ReadGiven();
  void Missing(const std::string& scope, const std::string& node, int attempt, const std::string& pod,
               const std::string& uid);
  void OnPodEvent(kube::WatchEvent event, const nlohmann::json& pod);
  void OnNamespaces(const std::vector<nlohmann::json>& all);
  void OnNamespaceEvent(kube::WatchEvent event, const nlohmann::json& object);
  // As WatchWarnings; null without an ingress domain.
  std::unique_ptr<kube::Watch> WatchIngresses(const std::string& api);
  void OnIngresses(const std::vector<nlohmann::json>& all);
  void OnIngressEvent(kube::WatchEvent event, const nlohmann::json& ingress);
  void OnGate(const GateHello& hello, std::unique_ptr<GateLink> link);
  absl::StatusOr<nlohmann::json> ListAndWait(const std::string& collection);
  // `ns` is null when its kube namespace is not there.
  FoundScope Found(const JournalEntry& entry, const nlohmann::json* ns, const std::vector<const nlohmann::json*>& pods);
  // Until every live node's gate has called, or the limit.
  void AwaitCalls(absl::Duration limit);
  void Join(int a, int b);
  std::string Selector() const;
  StartedStream Attach(FdStreamOptions options, Stream::Callbacks callbacks);

  // ScopeHost.
  Reactor& reactor() override { return *io_.reactor(); }
  Journal& journal() override { return journal_; }
  kube::ApiClient& api() override { return *api_; }
  std::function<void(absl::StatusOr<nlohmann::json>)> Here(Answer answer) override;
  void Emit(const EngineEvent& event) override;
  // Images (kubernetes_engine_images.cc).
  struct Pending {
    int attempt = 0;
    bool started = false, one_shot = false;
  };
  absl::Status OpenRegistries();
  ImageBook& BookOf(const std::string& scope);
  void ForgetImages(const std::string& scope);
  // Begins looking up what its nodes name.
  void ExpectImages(const KubeScope& scope);
  // Prepares it once its images are known and can be pulled; inline where they are.
  void PrepareResolved(const NodeRef& ref, const ProcessSpec& process);
  void OnResolved(const NodeRef& ref, const ProcessSpec& named, const ResolvedProcess& resolved);
  // Null when it was stopped meanwhile.
  Pending* FindPending(const NodeRef& ref);
  bool StopPending(const NodeRef& ref);  // False when it is not pending.

  PodOptions MakePodOptions(const std::string& scope, const std::string& pod) const override;
  const std::string& gate_program() const override;
  const std::string& installation() const override { return options_.installation; }
  const std::string& secret() const override { return secret_; }
  registry::DockerConfig& credentials() override { return credentials_; }
  bool relays_gates() const override { return options_.gate_relay; }
  std::unique_ptr<Stream> DialPod(const std::string& space, const std::string& pod, int port,
                                  Stream::Callbacks callbacks) override;
  void Post(std::function<void()> fn) override { io_.Post(std::move(fn)); }
  void OnGateSocket(UniqueFd socket, const std::string& peer) override { hub_->Take(std::move(socket), peer); }
  const IngressOptions& ingress() const override { return options_.ingress; }
  void Ask(http::Request request, std::function<void(http::Outcome)> done) override;
  void ConnectOut(const std::string& who, const EgressTarget& target, UniqueFd socket) override;
  absl::Status StartDialer();
  void OnScopeGone(const std::string& scope) override;
  bool gives_namespaces() const override { return !options_.namespaces.empty(); }
  std::string TakeNamespace(const std::string& scope) override { return pool_.Take(scope); }
  void LeaveQueue(const std::string& scope) override { pool_.Leave(scope); }
  void FreeNamespace(const std::string& name) override;
  std::string OwnerUid(const std::string& name) const override;
  std::string NamespacesInUse() const override;
  absl::Duration namespace_wait() const override { return options_.namespace_wait; }
  std::vector<std::unique_ptr<kube::Watch>> WatchSpace(const std::string& scope, const std::string& space) override;

  const KubernetesEngineOptions options_;
  EngineEventSink* const sink_;
  Journal journal_;
  std::string secret_;
  std::unique_ptr<kube::ApiClient> api_;
  registry::DockerConfig credentials_;
  std::unique_ptr<registry::RegistryClient> registries_;
  std::unique_ptr<http::WebSocketClient> sockets_ = std::make_unique<http::WebSocketClient>();
  std::unique_ptr<http::Client> asker_;  // Null without an ingress domain.
  std::vector<OwnedNamespace> owned_;    // Of --kube-namespaces, as found at the start.
  // The engine's thread's.
  std::unique_ptr<GateHub> hub_;
  std::unique_ptr<OutsideDialer> outside_;
  std::map<std::string, std::unique_ptr<KubeScope>> scopes_;
  std::map<std::string, std::unique_ptr<ImageBook>> books_;         // By scope.
  std::map<std::pair<std::string, std::string>, Pending> pending_;  // Scope and node whose images are looked up.
  NamespacePool pool_;
  bool recovering_ = false;
  std::vector<EngineEvent> held_;  // While recovering.
  std::map<uint64_t, std::unique_ptr<Relay>> relays_;
  uint64_t last_relay_ = 0;
  std::unique_ptr<kube::Watch> pod_watch_, namespace_watch_, event_watch_, ingress_watch_;
  Mutex mutex_;
  CondVar called_;
  uint64_t calls_ ABSL_GUARDED_BY(mutex_) = 0;  // Of gates, so far.
  bool recovered_ ABSL_GUARDED_BY(mutex_) = false;
  // Of watches that broke: when last, and why.
  std::map<std::string, std::pair<absl::Time, std::string>> troubles_ ABSL_GUARDED_BY(mutex_);
  IoThread io_;  // Last: its thread uses all of the above.
};

}  // namespace mayfly::kubernetes

#endif  // MAYFLY_SERVER_ENGINE_KUBERNETES_KUBERNETES_ENGINE_IMPL_H_
