// One pod of a node with replicas, and how it speaks to that node.
#ifndef MAYFLY_SERVER_ENGINE_KUBERNETES_REPLICA_H_
#define MAYFLY_SERVER_ENGINE_KUBERNETES_REPLICA_H_

#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "server/engine/kubernetes/marked_lines.h"
#include "server/engine/kubernetes/pod_host.h"
#include "server/engine/kubernetes/pod_node.h"
#include "server/engine/kubernetes/replicated_node.h"

namespace mayfly::kubernetes {

struct ReplicaCallbacks {
  std::function<void(const EngineEvent&)> on_event;
  std::function<void(absl::string_view bytes, bool stderr_stream)> on_output;
  // Its own are to be among the endpoints; the answer once they are.
  std::function<void(PodHost::Answer)> on_endpoints;
};

// What a PodNode takes for its environment: it makes and deletes nothing, and its name is that of all replicas.
class ReplicaHost final : public PodHost {
 public:
  ReplicaHost(PodHost* host, ReplicaCallbacks callbacks) : host_(host), callbacks_(std::move(callbacks)) {}

  Reactor& reactor() override { return host_->reactor(); }
  const Place& place() const override { return host_->place(); }
  void Emit(const EngineEvent& event) override { callbacks_.on_event(event); }
  int log_folder() const override { return -1; }
  void OnOutput(absl::string_view bytes, bool stderr_stream) override { callbacks_.on_output(bytes, stderr_stream); }
  // All that a pod that was joined ever writes is its endpoints, the first time as a new object.
  void Create(Creation, Answer answer) override { callbacks_.on_endpoints(std::move(answer)); }
  void Apply(Creation, Answer answer) override { callbacks_.on_endpoints(std::move(answer)); }
  void Delete(const std::string&, const std::string&) override {}  // Its controller would make it again.
  PodOptions MakePodOptions(const std::string& pod) const override { return host_->MakePodOptions(pod); }
  void ConnectOut(const std::string& node, const EgressTarget& target, UniqueFd socket) override {
    host_->ConnectOut(node, target, std::move(socket));
  }
  std::vector<GateLink*> Gates() override { return host_->Gates(); }
  kube::ApiClient& api() override { return host_->api(); }
  std::function<void(absl::StatusOr<nlohmann::json>)> Here(Answer answer) override {
    return host_->Here(std::move(answer));
  }

 private:
  PodHost* const host_;
  const ReplicaCallbacks callbacks_;
};

struct ReplicatedNode::Replica {
  Replica(PodHost* all, ReplicaCallbacks callbacks, const std::string& short_name)
      : mark(short_name), lines(short_name), host(all, std::move(callbacks)) {}
  std::string pod() const { return node->pod(); }

  const std::string mark;  // Its name's last part.
  bool prepared = false, started = false, ready = false, ended = false;
  MarkedLines lines;
  ReplicaHost host;
  std::unique_ptr<PodNode> node;
};

}  // namespace mayfly::kubernetes

#endif  // MAYFLY_SERVER_ENGINE_KUBERNETES_REPLICA_H_
