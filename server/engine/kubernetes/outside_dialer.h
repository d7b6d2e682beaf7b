// Connects to what is outside of every environment, for pods whose `egress` names it.
#ifndef MAYFLY_SERVER_ENGINE_KUBERNETES_OUTSIDE_DIALER_H_
#define MAYFLY_SERVER_ENGINE_KUBERNETES_OUTSIDE_DIALER_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>

#include "absl/status/statusor.h"
#include "server/base/unique_fd.h"
#include "server/engine/parts/egress_target.h"
#include "server/engine/parts/io_thread.h"

namespace mayfly::kubernetes {

// Lives on the thread of `io`, which outlives it. Names are looked up by `getent`, as this machine has them: a lookup
// cannot be taken back in a process, and a process can.
class OutsideDialer {
 public:
  struct Options {
    bool to_host = false;              // Loopback of this machine may be meant.
    std::set<uint32_t> out_of_bounds;  // Network order: beside those that IsOutOfBounds has.
  };
  OutsideDialer(IoThread& io, Options options);
  ~OutsideDialer();  // Nothing is called any more.
  OutsideDialer(const OutsideDialer&) = delete;
  OutsideDialer& operator=(const OutsideDialer&) = delete;

  // `done` once, later, with a connected stream socket. PERMISSION_DENIED when the name leads only to what is out of
  // bounds, NOT_FOUND for no such name, RESOURCE_EXHAUSTED while too many are under way, UNAVAILABLE otherwise.
  void Dial(const EgressTarget& target, std::function<void(absl::StatusOr<UniqueFd>)> done);

 private:
  struct Call;
  void OnLookedUp(uint64_t id);
  void TryNext(uint64_t id);
  void OnConnected(uint64_t id);
  void Finish(uint64_t id, absl::StatusOr<UniqueFd> result);

  IoThread& io_;
  const Options options_;
  uint64_t last_ = 0;
  std::map<uint64_t, std::unique_ptr<Call>> calls_;
};

}  // namespace mayfly::kubernetes

#endif  // MAYFLY_SERVER_ENGINE_KUBERNETES_OUTSIDE_DIALER_H_
