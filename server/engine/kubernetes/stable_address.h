// A ClusterIP that stands for a service: the cluster's machines learn of it and of what is behind it some time after
// the endpoints were written, and whoever connects before that is refused. So the gates of the environment try it.
#ifndef MAYFLY_SERVER_ENGINE_KUBERNETES_STABLE_ADDRESS_H_
#define MAYFLY_SERVER_ENGINE_KUBERNETES_STABLE_ADDRESS_H_

#include <functional>
#include <memory>
#include <set>
#include <string>

#include "server/engine/kubernetes/pod_host.h"
#include "server/engine/parts/reactor.h"

namespace mayfly::kubernetes {

// Not thread-safe. Destroying it ends the trying.
class StableAddress {
 public:
  // `done` once, never inline, with what is to be noted: that the address leads to the service from every pod whose
  // gate is connected, after what time; or why it is not known to. `host` outlives this.
  StableAddress(PodHost* host, const std::string& service, int port, std::function<void(const std::string& note)> done);
  ~StableAddress();
  StableAddress(const StableAddress&) = delete;
  StableAddress& operator=(const StableAddress&) = delete;

 private:
  void OnService(const absl::StatusOr<nlohmann::json>& answer);
  void Round();
  void OnTried(GateLink* gate, bool good);
  void Finish(const std::string& note);

  PodHost* const host_;
  const int port_;
  std::function<void(const std::string&)> done_;
  const absl::Duration began_;
  std::string address_;
  std::set<GateLink*> good_;  // From whose pods it works.
  size_t trying_ = 0;         // Of this round.
  absl::Duration pause_;
  Reactor::TimerId timer_ = 0, limit_ = 0;
  std::shared_ptr<StableAddress*> self_;
};

}  // namespace mayfly::kubernetes

#endif  // MAYFLY_SERVER_ENGINE_KUBERNETES_STABLE_ADDRESS_H_
