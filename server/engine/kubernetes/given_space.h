// An environment's objects in a kube namespace that somebody else made: each is written down before it is created, and
// deleted by its UID at the end. What others have there is not touched.
#ifndef MAYFLY_SERVER_ENGINE_KUBERNETES_GIVEN_SPACE_H_
#define MAYFLY_SERVER_ENGINE_KUBERNETES_GIVEN_SPACE_H_

#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <set>
#include <string>
#include <vector>

#include "server/engine/kubernetes/client/watch.h"
#include "server/engine/kubernetes/ledger.h"
#include "server/engine/kubernetes/pod_host.h"
#include "server/engine/parts/reactor.h"

namespace mayfly::kubernetes {

// On the engine's thread. `host` outlives it; its Create and Apply are not used.
class GivenSpace {
 public:
  using Answer = PodHost::Answer;
  struct Removal {
    std::function<void()> on_accepted;  // Whatever runs or is reachable: the cluster has accepted its deletion.
    std::function<void()> on_gone;      // Nothing recorded is there any more.
    // What is still there and why, verbatim; whenever it changes.
    std::function<void(std::vector<std::string>)> on_blockers;
  };

  GivenSpace(PodHost* host, Ledger ledger);
  ~GivenSpace();
  GivenSpace(const GivenSpace&) = delete;
  GivenSpace& operator=(const GivenSpace&) = delete;

  // Of admitted objects. An object that exists and is not the environment's is PERMISSION_DENIED; one that is, is the
  // success.
  void Create(Creation creation, Answer answer);
  // The path is the object's own. Changes only an object that this environment has made.
  void Apply(Creation creation, Answer answer);

  // Once. Callbacks come later, never inline, and may destroy the GivenSpace. Refused deletions are tried again.
  void Remove(Removal removal);

  // As the watch of the kube namespace's pods tells: one that bears the environment's identity, and all.
  void OnPod(const std::string& uid, bool there);
  void OnPods(const std::vector<nlohmann::json>& all);

  // Of an object that was made; "" otherwise.
  std::string UidAt(const std::string& path) const;

 private:
  struct Object {
    std::string uid;
    int writes = 0;                        // Under way.
    bool begun = false, accepted = false;  // Its deletion.
    std::string blocker;
    Reactor::TimerId retry = 0;
    int retries = 0;
    std::unique_ptr<kube::Watch> watch;  // Of its end.
  };

  Answer Guarded(Answer fn);
  void OnMade(const std::string& path, const absl::StatusOr<nlohmann::json>& made, const Answer& answer);
  // Whose the object of that name is.
  void LookUp(const std::string& path, std::function<void(absl::StatusOr<nlohmann::json>)> done);
  void Begin(const std::string& path);
  void FindOut(const std::string& path);
  void Delete(const std::string& path, const std::string& uid);
  void Later(const std::string& path, const absl::Status& why);
  void AwaitEnd(const std::string& path);
  void Confirm(const std::string& path);
  void Block(const std::string& path, std::string blocker);
  void TellBlockers();
  absl::Status IntendClaims(const nlohmann::json& workload);
  // It is not there; "": something else went.
  void Forget(const std::string& path);
  void Progress();

  PodHost* const host_;
  Ledger ledger_;
  std::map<std::string, Object> objects_;  // By path.
  // Also those that a controller makes. Until all have been told once, nobody knows whether there are some.
  std::set<std::string> pods_;
  bool pods_known_ = false;
  bool removing_ = false, told_accepted_ = false, told_gone_ = false, slow_ = false;
  Removal removal_;
  std::vector<std::string> told_blockers_;
  Reactor::TimerId progress_ = 0, patience_ = 0;
  std::shared_ptr<GivenSpace*> self_;
};

}  // namespace mayfly::kubernetes

#endif  // MAYFLY_SERVER_ENGINE_KUBERNETES_GIVEN_SPACE_H_
