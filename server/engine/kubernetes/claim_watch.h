// Why a pod's volumes are not there, while it waits for them: a pod says nothing of it, only events about its claims
// do.
#ifndef MAYFLY_SERVER_ENGINE_KUBERNETES_CLAIM_WATCH_H_
#define MAYFLY_SERVER_ENGINE_KUBERNETES_CLAIM_WATCH_H_

#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <set>
#include <string>

#include "server/engine/kubernetes/client/watch.h"
#include "server/engine/kubernetes/pod_cause.h"
#include "server/engine/kubernetes/pod_host.h"
#include "server/engine/parts/reactor.h"

namespace mayfly::kubernetes {

// Lives for as long as a pod waits; looks from a while after its making on, since most volumes are there by then. Not
// thread-safe.
class ClaimWatch {
 public:
  using OnTrouble = std::function<void(const PodVerdict& verdict)>;  // May destroy the ClaimWatch.

  ClaimWatch(PodHost* host, std::set<std::string> claims, OnTrouble on_trouble);
  ~ClaimWatch();
  ClaimWatch(const ClaimWatch&) = delete;
  ClaimWatch& operator=(const ClaimWatch&) = delete;

 private:
  void Begin();
  void OnEvent(const nlohmann::json& event);

  PodHost* const host_;
  const std::set<std::string> claims_;
  const OnTrouble on_trouble_;
  Reactor::TimerId begin_ = 0;
  std::shared_ptr<ClaimWatch*> self_;
  std::unique_ptr<kube::Watch> watch_;
};

}  // namespace mayfly::kubernetes

#endif  // MAYFLY_SERVER_ENGINE_KUBERNETES_CLAIM_WATCH_H_
