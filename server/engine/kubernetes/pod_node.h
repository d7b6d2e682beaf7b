// One node of an environment on Kubernetes: attempt by attempt one pod, from its creation through its gate's calls to
// its end. The pod is made when the node is prepared; its process starts when the gate is told to.
#ifndef MAYFLY_SERVER_ENGINE_KUBERNETES_POD_NODE_H_
#define MAYFLY_SERVER_ENGINE_KUBERNETES_POD_NODE_H_

#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "mayfly/engine/engine.h"
#include "server/engine/kubernetes/claim_watch.h"
#include "server/engine/kubernetes/gate_hub.h"
#include "server/engine/kubernetes/gate_link.h"
#include "server/engine/kubernetes/gate_prober.h"
#include "server/engine/kubernetes/kube_node.h"
#include "server/engine/kubernetes/objects.h"
#include "server/engine/kubernetes/pod_cause.h"
#include "server/engine/kubernetes/pod_host.h"
#include "server/engine/kubernetes/sidecars.h"
#include "server/engine/kubernetes/stable_address.h"
#include "server/engine/parts/log_writer.h"
#include "server/engine/parts/probe.h"

namespace mayfly::kubernetes {

constexpr size_t kEvidenceLines = 10;  // Of its output, in a cause.

// Not thread-safe.
class PodNode final : public KubeNode {
 public:
  enum class State { kNew, kPreparing, kPrepared, kStarting, kRunning, kReady, kEnded };

  PodNode(PodHost* host, std::string name);
  ~PodNode() override;
  PodNode(const PodNode&) = delete;
  PodNode& operator=(const PodNode&) = delete;

  State state() const { return state_; }
  int attempt() const override { return attempt_; }
  bool Live() const override { return state_ != State::kNew && state_ != State::kEnded; }
  bool Runs() const override { return state_ == State::kRunning || state_ == State::kReady; }
  bool HasProcess() const { return Runs() || state_ == State::kStarting || held_end_ != nullptr; }
  const ProcessSpec& process() const override { return process_; }
  void AddGates(std::vector<GateLink*>* links) override {
    if (link_ != nullptr) links->push_back(link_.get());
  }
  GateLink* link() { return link_.get(); }  // Null without a connection.
  const EngineEvent* last_event() const { return events_.empty() ? nullptr : &events_.back(); }
  int Processes() const override { return HasProcess() ? 1 : 0; }
  FoundScope::Node Describe() const override;
  bool created() const { return !uid_.empty(); }
  const std::string& uid() const { return uid_; }
  // Its gate has told all that it knows, or there is none.
  bool Known() const override { return held_end_ == nullptr && (!Live() || (link_ != nullptr && !end_follows_)); }
  // The pod that is or was made for this attempt.
  std::string pod() const { return replica_.empty() ? PodName(name_, attempt_) : replica_; }
  const std::string& address() const { return address_; }  // Empty until it is known.
  bool replicated() const override { return false; }
  PodNode* Target() override { return this; }
  PodNode* FindPod(const std::string& name) override { return name == pod() ? this : nullptr; }
  std::map<std::string, std::string> Pods() const override;

  // As the contract has them; a repeated call repeats the last event.
  void Prepare(int attempt, ProcessSpec process) override;
  void Start(bool one_shot) override;
  void Stop() override;
  // Ends the process and the gate now. kExited with `stopped` follows from OnGone at the latest.
  void Kill() override;
  // Nothing of it runs any more: whoever is not told yet is told.
  void OnGone() override;

  // The gate called. `process` of a recovered node comes from its pod.
  void OnGate(const GateHello& hello, std::unique_ptr<GateLink> link);
  void OnSidecarGate(const std::string& sidecar, const GateHello& hello, std::unique_ptr<GateLink> link);
  // The pod changed, as the cluster says; null: it was deleted.
  void OnPod(const nlohmann::json* pod);
  // A warning of the cluster about this very pod.
  void OnWarning(const nlohmann::json& event);
  // A pod that was found by recovery.
  void Adopt(int attempt, const std::string& pod, const std::string& uid, ProcessSpec process) override;
  // Watches over a pod that a controller makes, as one of several of the node's name.
  void Join(int attempt, ProcessSpec process, const std::string& pod);
  void SetUid(const std::string& uid) { uid_ = uid; }
  void Retire() override;
  bool TakeGate(const GateHello& hello, std::unique_ptr<GateLink>& link) override;
  void OnPodEvent(const std::string& pod, const std::string& uid, int attempt, const nlohmann::json* object) override;

  // `done` with the archive's end; FAILED_PRECONDITION without a connection.
  void Collect(const std::vector<std::string>& paths, int64_t max_bytes, std::function<void(absl::string_view)> on_data,
               std::function<void(absl::Status)> done);

 private:
  EngineEvent NewEvent(EngineEvent::Kind kind) const;
  void Emit(EngineEvent event);
  // Once the sidecars have ended, too.
  void EmitEnd(EngineEvent event);
  void TellEnd();
  void MakeSidecars();
  void RepeatLast();
  void CreatePod();
  void CreateBehind(std::vector<Creation> first, const Creation& pod);
  void OnCreated(const absl::StatusOr<nlohmann::json>& answer);
  void MakeNames(std::vector<Creation> names);
  void WriteEndpoints(const std::string& address);
  // Others are led to an address only when network or cluster say that it is this pod's.
  void TryAddress(const std::string& proof);
  void TryStart();
  void OpenOutput();
  void OnFrame(const gate_frame& frame, absl::string_view payload);
  void OnOutput(const gate_frame& frame, absl::string_view payload);
  void OnOut(const gate_frame& frame, absl::string_view payload);
  void OnStarted(absl::Duration when);
  // A moment of the gate's clock by ours: the two are compared with every message, and the quickest one counts.
  absl::Duration Here(int64_t gate_us);
  void OnFailedStart(absl::string_view text);
  void OnExited(absl::string_view text);
  void AskWhy(EngineEvent event);
  void OnLinkLost();
  void BeginProbing();
  void RunInside(const std::vector<std::string>& argv, std::function<void(int, std::string)> done);
  void OnProbeFailing(const ProbeFailure& failure);
  void TryReady();
  // Whether its stable address, where it has one, leads to it; TryReady again when it does.
  bool IsRouted();
  void EndProbing();
  void LetGateGo();
  void KillGate();
  // Something that may pass keeps the pod from running; told, and given up after a while.
  void Wait(Cause cause);
  void AwaitCall();  // Its container runs: the gate is to call soon.
  void Fail(Cause cause);
  void End(const PodVerdict& verdict);
  Cause Diagnose(int exit_code, int signal, long oom_kills) const;
  PodHost::Answer Guarded(std::function<void(const absl::StatusOr<nlohmann::json>&)> fn);

  PodHost* const host_;
  const std::string name_;
  std::string replica_;  // The pod's name, where a controller gave it.
  State state_ = State::kNew;
  int attempt_ = 0;
  bool one_shot_ = false, stop_requested_ = false, start_requested_ = false;
  bool endpoints_made_ = false;  // Perhaps: an apply then finds out.
  bool end_follows_ = false, probe_ready_ = false, endpoints_written_ = false, named_ = false, routed_ = false;
  ProcessSpec process_;
  std::vector<EngineEvent> events_;  // Of this attempt.
  std::string uid_;
  std::string said_;     // Its address, as its gate says.
  std::string pod_ip_;   // And as the cluster says; empty while it does not.
  std::string address_;  // The same, once it is known to be its own.
  absl::Duration started_at_;
  absl::Duration clock_ahead_;  // Of ours before the pod's machine's, at most; see Here.
  uint64_t output_seen_ = 0;
  Cause waiting_for_;                      // The latest thing that the pod waits for.
  std::vector<std::string> sidecar_ends_;  // What became of those that did not run on.
  Cause deletion_;                         // Its pod is being deleted, and not by us.
  Reactor::TimerId grace_timer_ = 0, pending_timer_ = 0, call_timer_ = 0;
  std::unique_ptr<ClaimWatch> claims_;  // Until its gate calls.
  std::unique_ptr<LogWriter> output_;
  std::unique_ptr<GateLink> link_;
  std::unique_ptr<Sidecars> sidecars_;     // Null before the first one calls.
  std::unique_ptr<EngineEvent> held_end_;  // Until its sidecars have ended, or why it ended is known.
  Reactor::TimerId held_timer_ = 0;
  bool sidecar_speaks_ = false;
  std::unique_ptr<GateProber> gate_prober_;
  std::unique_ptr<StableAddress> stable_;
  std::unique_ptr<Prober> prober_;
  std::shared_ptr<PodNode*> self_;
};

}  // namespace mayfly::kubernetes

#endif  // MAYFLY_SERVER_ENGINE_KUBERNETES_POD_NODE_H_
