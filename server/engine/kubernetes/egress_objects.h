// `egress` of a service, as objects and parts of its pod. Pure.
//
// Single addresses are what network policies speak of; pods reach them by themselves. A name is no address: in the pod
// it stands for one of the loopback, where the gate listens and hands what connects to the server, which connects it
// with what the name means outside.
#ifndef MAYFLY_SERVER_ENGINE_KUBERNETES_EGRESS_OBJECTS_H_
#define MAYFLY_SERVER_ENGINE_KUBERNETES_EGRESS_OBJECTS_H_

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "mayfly/spec/process.h"
#include "server/engine/kubernetes/objects.h"
#include "server/engine/parts/egress_target.h"

namespace mayfly::kubernetes {

struct WayOut {
  EgressTarget target;  // Never a literal.
  std::string address;  // Of the pod's loopback.
};
// The names, in the order of MAYFLY_GATE_OUT.
std::vector<WayOut> WaysOut(const ProcessSpec& process);

// INVALID_ARGUMENT for what is not "host:port", and for a name's port that the service itself listens on.
absl::Status CheckEgress(const ProcessSpec& process);

// The value of MAYFLY_GATE_OUT; empty: no names.
std::string GateOutVariable(const ProcessSpec& process);
// The pod's hostAliases; empty: no names.
nlohmann::json HostAliases(const ProcessSpec& process);
// Whether the gate must listen below 1024.
bool HasLowWayOut(const ProcessSpec& process);

// The policy that lets the attempt's pod reach single addresses; nothing without any. It goes before the pod.
std::vector<Creation> EgressObjects(const Place& place, const NodeRef& node, const ProcessSpec& process);

}  // namespace mayfly::kubernetes

#endif  // MAYFLY_SERVER_ENGINE_KUBERNETES_EGRESS_OBJECTS_H_
