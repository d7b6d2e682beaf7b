// What a node needs of its environment and engine.
#ifndef MAYFLY_SERVER_ENGINE_KUBERNETES_POD_HOST_H_
#define MAYFLY_SERVER_ENGINE_KUBERNETES_POD_HOST_H_

#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "absl/status/statusor.h"
#include "mayfly/engine/engine.h"
#include "server/engine/kubernetes/objects.h"

namespace mayfly {
class Reactor;
namespace kube {
class ApiClient;
}
}  // namespace mayfly

namespace mayfly::kubernetes {

// All on the engine's thread.
class PodHost {
 public:
  using Answer = std::function<void(const absl::StatusOr<nlohmann::json>&)>;
  virtual ~PodHost() = default;
  virtual Reactor& reactor() = 0;
  virtual const Place& place() const = 0;
  virtual void Emit(const EngineEvent& event) = 0;
  // The scope's log folder; -1 without one.
  virtual int log_folder() const = 0;
  // Answers come on the engine's thread, never inline.
  virtual void Create(Creation creation, Answer answer) = 0;
  virtual void Apply(Creation creation, Answer answer) = 0;
  virtual void DeletePod(const std::string& name, const std::string& uid) = 0;
  virtual PodOptions MakePodOptions(const std::string& pod) const = 0;
  // For reading only: whatever is written passes the above. What it calls back is to be brought here.
  virtual kube::ApiClient& api() = 0;
  virtual std::function<void(absl::StatusOr<nlohmann::json>)> Here(Answer answer) = 0;
};

}  // namespace mayfly::kubernetes

#endif  // MAYFLY_SERVER_ENGINE_KUBERNETES_POD_HOST_H_
