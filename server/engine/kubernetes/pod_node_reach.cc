// How a node is reached by its stable address, and what it reaches outside.
#include <cstring>

#include "server/engine/kubernetes/egress_objects.h"
#include "server/engine/kubernetes/gate_pump.h"
#include "server/engine/kubernetes/pod_node.h"

namespace mayfly::kubernetes {

bool PodNode::IsRouted() {
  if (routed_ || !process_.stable_address || process_.ports.empty()) return true;
  if (stable_ != nullptr) return false;
  // What is probed is listened on; other ports may come later.
  const int port = process_.probe.port != 0 ? process_.probe.port : process_.ports.front().number;
  stable_ = std::make_unique<StableAddress>(host_, name_, port, [this](const std::string& note) {
    EngineEvent event = NewEvent(EngineEvent::Kind::kProbe);
    event.message = note;
    Emit(event);
    routed_ = true;
    // Never from here: it is the address that calls, and ready ends it.
    host_->reactor().AddTimer(absl::ZeroDuration(), [weak = std::weak_ptr<PodNode*>(self_)] {
      const auto self = weak.lock();
      if (self == nullptr) return;
      (*self)->stable_.reset();
      (*self)->TryReady();
    });
  });
  return false;
}

void PodNode::OnOut(const gate_frame& frame, absl::string_view payload) {
  uint16_t way = 0;
  const std::vector<WayOut> ways = WaysOut(process_);
  if (link_ == nullptr || payload.size() != sizeof way) return;
  memcpy(&way, payload.data(), sizeof way);
  absl::StatusOr<UniqueFd> socket = AcceptFromGate(host_->reactor(), *link_, frame.id);
  if (!socket.ok() || way >= ways.size()) return;  // The end of the socket closes the stream.
  host_->ConnectOut(name_, ways[way].target, *std::move(socket));
}

}  // namespace mayfly::kubernetes
