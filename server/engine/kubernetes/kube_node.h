// One node of an environment, whether a single pod stands for it or several do.
#ifndef MAYFLY_SERVER_ENGINE_KUBERNETES_KUBE_NODE_H_
#define MAYFLY_SERVER_ENGINE_KUBERNETES_KUBE_NODE_H_

#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "mayfly/engine/engine.h"
#include "server/engine/kubernetes/gate_hub.h"
#include "server/engine/kubernetes/gate_link.h"

namespace mayfly::kubernetes {

class PodNode;

// Not thread-safe.
class KubeNode {
 public:
  virtual ~KubeNode() = default;

  virtual bool replicated() const = 0;
  virtual int attempt() const = 0;
  virtual bool Live() const = 0;  // Prepared, and its end was not told.
  virtual bool Runs() const = 0;
  virtual int Processes() const = 0;
  virtual FoundScope::Node Describe() const = 0;
  virtual const ProcessSpec& process() const = 0;
  // Those of its pods that are connected.
  virtual void AddGates(std::vector<GateLink*>* links) = 0;
  // Its gates have told all that they know, or there are none.
  virtual bool Known() const = 0;
  // UIDs by name of the pods that should be there.
  virtual std::map<std::string, std::string> Pods() const = 0;
  // What commands, connections and files go to; null when nothing of it is there.
  virtual PodNode* Target() = 0;
  virtual PodNode* FindPod(const std::string& pod) = 0;  // Null when it is none of its.

  // As the contract has them; a repeated call repeats the last event.
  virtual void Prepare(int attempt, ProcessSpec process) = 0;
  virtual void Start(bool one_shot) = 0;
  virtual void Stop() = 0;
  // Ends everything now, gates too. kExited with `stopped` follows from OnGone at the latest.
  virtual void Kill() = 0;
  // Nothing of it runs any more: whoever is not told yet is told.
  virtual void OnGone() = 0;
  // A node of the other sort takes its place: what is left in the cluster of its last attempt goes.
  virtual void Retire() = 0;

  // A gate called; false, and the link untouched, when it is none of its.
  virtual bool TakeGate(const GateHello& hello, std::unique_ptr<GateLink>& link) = 0;
  // A pod with its label changed or (null) was deleted. Labels can be copied: it must have the UID that is known.
  virtual void OnPodEvent(const std::string& pod, const std::string& uid, int attempt,
                          const nlohmann::json* object) = 0;
  // A pod that was found by recovery.
  virtual void Adopt(int attempt, const std::string& pod, const std::string& uid, ProcessSpec process) = 0;
};

}  // namespace mayfly::kubernetes

#endif  // MAYFLY_SERVER_ENGINE_KUBERNETES_KUBE_NODE_H_
