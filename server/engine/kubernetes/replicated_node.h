// A node with replicas: one Deployment (StatefulSet where it has volumes), whose pods the cluster's controller makes,
// each with a gate. Each pod is watched over by a PodNode, whose events are folded into those of the one node.
#ifndef MAYFLY_SERVER_ENGINE_KUBERNETES_REPLICATED_NODE_H_
#define MAYFLY_SERVER_ENGINE_KUBERNETES_REPLICATED_NODE_H_

#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <set>
#include <string>
#include <vector>

#include "server/engine/kubernetes/kube_node.h"
#include "server/engine/kubernetes/pod_host.h"
#include "server/engine/kubernetes/pod_node.h"
#include "server/engine/parts/log_writer.h"

namespace mayfly::kubernetes {

// PREPARED, STARTED and READY are told when they hold for as many pods as there are replicas. A replica that ends by
// itself ends the node. A pod that the cluster takes away (eviction, drain, deletion by hand) is replaced by its
// controller, and its successor goes as soon as its gate calls: the node stays what it is, and a kProbe tells of it.
class ReplicatedNode final : public KubeNode {
 public:
  ReplicatedNode(PodHost* host, std::string name);
  ~ReplicatedNode() override;
  ReplicatedNode(const ReplicatedNode&) = delete;
  ReplicatedNode& operator=(const ReplicatedNode&) = delete;

  bool replicated() const override { return true; }
  int attempt() const override { return attempt_; }
  bool Live() const override { return attempt_ > 0 && !ended_; }
  bool Runs() const override { return Live() && started_; }
  int Processes() const override;
  FoundScope::Node Describe() const override;
  const ProcessSpec& process() const override { return process_; }
  void AddGates(std::vector<GateLink*>* links) override;
  bool Known() const override;
  std::map<std::string, std::string> Pods() const override;
  PodNode* Target() override;  // Each time the next one.
  PodNode* FindPod(const std::string& pod) override;

  void Prepare(int attempt, ProcessSpec process) override;
  void Start(bool one_shot) override;
  void Stop() override;
  void Kill() override;
  void OnGone() override;
  void Retire() override;
  bool TakeGate(const GateHello& hello, std::unique_ptr<GateLink>& link) override;
  void OnPodEvent(const std::string& pod, const std::string& uid, int attempt, const nlohmann::json* object) override;
  void Adopt(int attempt, const std::string& pod, const std::string& uid, ProcessSpec process) override;

 private:
  struct Replica;
  Replica& Join(const std::string& pod);
  void Create();
  void MakeNames(std::vector<Creation> names);
  void CreateWorkload(const Creation& workload);
  void OnWorkload(const absl::StatusOr<nlohmann::json>& answer, const Creation& workload);
  void DeleteWorkload();
  std::string WorkloadPath() const;
  void OnReplica(Replica& replica, const EngineEvent& event);
  void OnOutput(Replica& replica, absl::string_view bytes, bool stderr_stream);
  void Say(const std::string& line);
  void Replace(Replica& replica, const Cause& cause);
  void Fold();
  void ExpectEnd();  // Because of Stop or Kill.
  void BeginEnd(EngineEvent event);
  void TryFinish();
  void Finish();
  void Fail(Cause cause);
  void WriteEndpoints();
  EngineEvent NewEvent(EngineEvent::Kind kind) const;
  void Emit(EngineEvent event);
  PodHost::Answer Guarded(PodHost::Answer fn);
  int Count(bool Replica::* flag) const;

  PodHost* const host_;
  const std::string name_;
  int attempt_ = 0;
  ProcessSpec process_;
  bool start_requested_ = false, stopping_ = false, killed_ = false, named_ = false;
  bool prepared_ = false, started_ = false, ready_ = false, ended_ = false;  // As told.
  std::string uid_;                                           // Of the workload; empty while it is not known.
  bool deleted_ = true;                                       // Nothing of the workload is left to be deleted.
  std::map<std::string, std::unique_ptr<Replica>> replicas_;  // By pod.
  std::set<std::string> former_;      // Pods that were replaced, and whose gates may still call.
  std::string turn_;                  // Whose it was to be the target.
  std::vector<EngineEvent> events_;   // Of this attempt.
  std::unique_ptr<EngineEvent> end_;  // To be told when nothing runs any more.
  std::unique_ptr<LogWriter> output_;
  bool applying_ = false, stale_ = false;  // The endpoints: being written, and other ones by now.
  std::vector<PodHost::Answer> applied_;
  Reactor::TimerId end_timer_ = 0, again_ = 0;
  std::shared_ptr<ReplicatedNode*> self_;
};

}  // namespace mayfly::kubernetes

#endif  // MAYFLY_SERVER_ENGINE_KUBERNETES_REPLICATED_NODE_H_
