// How gates reach a server that pods cannot call, such as one on a laptop: a pod in every environment passes on what
// they say (gate/relay.c), and the server reaches into that pod through the API server, as kubectl port-forward does.
// Gates call a ClusterIP that leads to it. What it costs is in docs/kubernetes.md.
#ifndef MAYFLY_SERVER_ENGINE_KUBERNETES_GATE_RELAY_H_
#define MAYFLY_SERVER_ENGINE_KUBERNETES_GATE_RELAY_H_

#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <set>
#include <string>
#include <vector>

#include "server/engine/kubernetes/pod_host.h"
#include "server/engine/kubernetes/relay_stream.h"

namespace mayfly::kubernetes {

// The label kNode of the relay's pod. No node of an environment is named so: a test's name has another first part.
inline constexpr char kRelayNode[] = "relay.mayfly";
inline constexpr char kRelayName[] = "mayfly-gates";  // Of its Service: no service of an environment is named so.
inline constexpr int kRelayPort = 9444;               // Of the pod, for gates.
inline constexpr int kRelayBackPort = 9445;           // On the pod's loopback, for the server.

// The Service whose ClusterIP gates call; its endpoints are GateRelay's to write.
Creation RelayService(const Place& place);
// "IPV4:PORT" that gates call, from the Service as the cluster has it; empty without an address.
std::string RelayAddress(const nlohmann::json& service);

// Not thread-safe; lives on the engine's thread, of one environment.
class GateRelay {
 public:
  struct Access {
    // Opens a connection to `port` of a pod's loopback, by the API server.
    std::function<std::unique_ptr<Stream>(const std::string& pod, int port, Stream::Callbacks callbacks)> dial;
    std::function<void(UniqueFd socket, const std::string& peer)> on_gate;  // A gate is on the line.
    std::function<void(const absl::Status& why)> on_refused;                // The cluster does not let us into pods.
    RelayStream::Post post;
  };
  // `host` outlives this.
  GateRelay(PodHost* host, Access access);
  ~GateRelay();
  GateRelay(const GateRelay&) = delete;
  GateRelay& operator=(const GateRelay&) = delete;

  // A pod with so many gates is made. The relay needs an image, of which it uses nothing: that of the first service
  // whose image can be pulled, as it is there or comes anyway.
  void Expect(const ProcessSpec& process, int gates);
  // For a pod that was found again. Nothing is made.
  void Know(const ProcessSpec& process);
  // Found again: the relay's own pod, or (empty) that there is none.
  void Adopt(const std::string& pod, const std::string& uid, int attempt);
  void OnPod(const std::string& pod, const std::string& uid, int attempt, const nlohmann::json* object);

 private:
  void Make();
  void Again();
  void Fill();
  void Open();
  void OnGreeting(RelayStream* stream, const std::string& address);
  void OnEnd(RelayStream* stream, const absl::Status& status);
  void WriteEndpoints(const std::string& address);

  PodHost* const host_;
  const Access access_;
  std::vector<ProcessSpec> images_;  // With an image each; tried in turn.
  size_t image_ = 0;
  int attempt_ = 0;
  bool placed_ = false;  // A machine was found for the pod: it can be dialled.
  std::string pod_, uid_;
  std::string address_;  // That the endpoints have.
  int expected_ = 0;     // Gates that have not called.
  std::set<std::unique_ptr<RelayStream>> streams_;
  absl::Duration pause_;
  Reactor::TimerId again_ = 0, dial_again_ = 0;
  std::shared_ptr<GateRelay*> self_;
};

}  // namespace mayfly::kubernetes

#endif  // MAYFLY_SERVER_ENGINE_KUBERNETES_GATE_RELAY_H_
