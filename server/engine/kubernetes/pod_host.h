// What a node needs of its environment and engine.
#ifndef MAYFLY_SERVER_ENGINE_KUBERNETES_POD_HOST_H_
#define MAYFLY_SERVER_ENGINE_KUBERNETES_POD_HOST_H_

#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "mayfly/engine/engine.h"
#include "server/base/unique_fd.h"
#include "server/engine/kubernetes/objects.h"
#include "server/engine/parts/egress_target.h"

namespace mayfly {
class Reactor;
namespace kube {
class ApiClient;
}
}  // namespace mayfly

namespace mayfly::kubernetes {

class GateLink;

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
  // What a pod's process prints, as it comes: for hosts that have no log folder.
  virtual void OnOutput(absl::string_view bytes, bool stderr_stream) = 0;
  // Answers come on the engine's thread, never inline.
  virtual void Create(Creation creation, Answer answer) = 0;
  virtual void Apply(Creation creation, Answer answer) = 0;
  virtual void Delete(const std::string& path, const std::string& uid) = 0;
  virtual PodOptions MakePodOptions(const std::string& pod) const = 0;
  // Joins the socket with what is outside of the environment; closes it where that cannot be reached.
  virtual void ConnectOut(const std::string& node, const EgressTarget& target, UniqueFd socket) = 0;
  // Of all gates of the environment that are connected, until the next turn.
  virtual std::vector<GateLink*> Gates() = 0;
  // For reading only: whatever is written passes the above. What it calls back is to be brought here.
  virtual kube::ApiClient& api() = 0;
  virtual std::function<void(absl::StatusOr<nlohmann::json>)> Here(Answer answer) = 0;
};

}  // namespace mayfly::kubernetes

#endif  // MAYFLY_SERVER_ENGINE_KUBERNETES_POD_HOST_H_
