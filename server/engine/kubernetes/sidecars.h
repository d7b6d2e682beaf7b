// The sidecars of one pod: each has a gate of its own, is let go with the service and ended with it.
#ifndef MAYFLY_SERVER_ENGINE_KUBERNETES_SIDECARS_H_
#define MAYFLY_SERVER_ENGINE_KUBERNETES_SIDECARS_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "absl/strings/string_view.h"
#include "mayfly/spec/process.h"
#include "server/engine/kubernetes/gate_hub.h"
#include "server/engine/kubernetes/gate_link.h"
#include "server/engine/kubernetes/marked_lines.h"
#include "server/engine/kubernetes/objects.h"

namespace mayfly::kubernetes {

// Of the container; no service is called so.
std::string SidecarContainer(absl::string_view name);
// Whom its gate says to be: "POD/NAME".
std::string SidecarPod(absl::string_view pod, absl::string_view name);

nlohmann::json SidecarObject(const Place& place, absl::string_view pod, const Sidecar& sidecar,
                             const PodOptions& options);

// Not thread-safe.
class Sidecars {
 public:
  struct Callbacks {
    // Whole lines, each marked with the sidecar's name.
    std::function<void(absl::string_view lines, bool stderr_stream)> on_output;
    // One has ended that should not have: "sidecar proxy exited with code 3".
    std::function<void(const std::string& what)> on_trouble;
    // None runs any more, after End. May be told more than once.
    std::function<void()> on_ended;
  };
  Sidecars(Reactor& reactor, Callbacks callbacks);
  ~Sidecars();
  Sidecars(const Sidecars&) = delete;
  Sidecars& operator=(const Sidecars&) = delete;

  void OnGate(const std::string& name, const GateHello& hello, std::unique_ptr<GateLink> link);
  // Those that wait start, and those that call from now on.
  void Start();
  // Ends them and their gates, and those that call from now on.
  void End();
  // One of them runs, or did when it was last heard.
  bool running() const;
  // A line of one of them, as on_output has it.
  bool Marked(absl::string_view line) const;

 private:
  struct One {
    std::unique_ptr<GateLink> link;
    bool runs = false, told = false;
    uint64_t output_seen = 0;
    std::unique_ptr<MarkedLines> lines;
  };
  void OnFrame(const std::string& name, const gate_frame& frame, absl::string_view payload);
  void OnOutput(One& one, absl::string_view payload, bool stderr_stream);
  void OnEnd(const std::string& name, One& one, const std::string& how);

  Reactor& reactor_;
  const Callbacks callbacks_;
  bool started_ = false, ending_ = false;
  std::map<std::string, One> all_;
  std::shared_ptr<Sidecars*> self_;
};

}  // namespace mayfly::kubernetes

#endif  // MAYFLY_SERVER_ENGINE_KUBERNETES_SIDECARS_H_
