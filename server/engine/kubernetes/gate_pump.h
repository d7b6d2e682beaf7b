// Joins a local socket with a port inside a pod, through the pod's gate: what a proxy, a probe and a port-forward need.
#ifndef MAYFLY_SERVER_ENGINE_KUBERNETES_GATE_PUMP_H_
#define MAYFLY_SERVER_ENGINE_KUBERNETES_GATE_PUMP_H_

#include <functional>
#include <memory>

#include "absl/status/statusor.h"
#include "server/base/unique_fd.h"
#include "server/engine/kubernetes/gate_link.h"
#include "server/engine/parts/reactor.h"

namespace mayfly::kubernetes {

// Dials `port` through `link`. `done` is called once, inline or later: with a connected stream socket of this process,
// joined with the port byte for byte and held up on either side by the other one, or with why there is none
// (UNAVAILABLE: nobody listens, or the gate is gone). The join lives on `reactor` until both sides have said all, one
// breaks, or the link ends; it must not outlive either. Reads at most 16 KiB a turn.
void DialThroughGate(Reactor& reactor, GateLink& link, int port, std::function<void(absl::StatusOr<UniqueFd>)> done);

// The same for the stream `id` that the gate has opened (GATE_OUT): what is said to the socket, the pod hears.
absl::StatusOr<UniqueFd> AcceptFromGate(Reactor& reactor, GateLink& link, uint16_t id);

}  // namespace mayfly::kubernetes

#endif  // MAYFLY_SERVER_ENGINE_KUBERNETES_GATE_PUMP_H_
