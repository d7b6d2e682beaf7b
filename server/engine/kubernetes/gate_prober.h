// Finds out when a service in a pod is ready. Where the port is looked for is the gate's business, in the pod itself;
// HTTP and gRPC are asked through the gate, so that probes need no way from here to the pods' network.
#ifndef MAYFLY_SERVER_ENGINE_KUBERNETES_GATE_PROBER_H_
#define MAYFLY_SERVER_ENGINE_KUBERNETES_GATE_PROBER_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "server/engine/kubernetes/gate_link.h"
#include "server/engine/parts/probe.h"

namespace mayfly::kubernetes {

// Not thread-safe. For kTcp, kHttp and kGrpc; the other kinds are the Prober's. Destroying it ends probing.
class GateProber {
 public:
  // `address` is the pod's. The link must outlive it.
  GateProber(Reactor& reactor, GateLink& link, Probe probe, std::string address, Prober::Callbacks callbacks);
  ~GateProber();
  GateProber(const GateProber&) = delete;
  GateProber& operator=(const GateProber&) = delete;

  // Once, when the process was started.
  void Start();
  // GATE_LISTENING and GATE_PORTS.
  void OnListening();
  void OnPorts(absl::string_view text);

 private:
  void Ask();
  void OnConnected(absl::StatusOr<UniqueFd> fd);
  void OnAnswer(ProbeAnswer answer);
  void Report();

  Reactor& reactor_;
  GateLink& link_;
  const Probe probe_;
  const std::string address_;
  Prober::Callbacks callbacks_;
  std::unique_ptr<ProbeExchange> exchange_;
  Reactor::TimerId timer_ = 0, report_timer_ = 0;
  absl::Duration started_;
  bool listening_ = false;
  std::string last_answer_;
  std::shared_ptr<GateProber*> self_;
};

}  // namespace mayfly::kubernetes

#endif  // MAYFLY_SERVER_ENGINE_KUBERNETES_GATE_PROBER_H_
