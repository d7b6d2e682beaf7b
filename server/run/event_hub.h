// The newest events of every environment in memory, and who waits for more. Writers append on the run loop; watchers
// pull at their own pace, so that a stalled one costs the others nothing: it is woken once and holds no queue of its
// own.
#ifndef MAYFLY_SERVER_RUN_EVENT_HUB_H_
#define MAYFLY_SERVER_RUN_EVENT_HUB_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "mayfly/report/event.h"

namespace mayfly {

// An event as all watchers share it. `wire` belongs to the API: it caches the serialized form there, once per event.
struct SharedEvent {
  Event event;
  mutable std::shared_ptr<const void> wire;  // Read and written with std::atomic_load and std::atomic_store only.
};

// One watcher of one environment. Not thread-safe by itself; destroying it unsubscribes, after which `wake` is not
// called.
class EventSubscription {
 public:
  virtual ~EventSubscription() = default;
  // The next events, at most `limit`, in order and without gaps; empty when there are none now. `wake` is armed again
  // by a Read that returned fewer than `limit`.
  virtual std::vector<std::shared_ptr<const SharedEvent>> Read(int limit) = 0;
  // True when everything was read and no event will ever follow.
  virtual bool finished() = 0;
};

// Thread-safe.
class EventHub {
 public:
  virtual ~EventHub() = default;
  // Starts after sequence number `after`. `wake` is called on any thread, at most once per arming, as soon as Read
  // would return something or finished() turns true (also at once); it must not block and must not call back inline.
  // NOT_FOUND for a uid that is neither in memory nor in the store.
  virtual absl::StatusOr<std::unique_ptr<EventSubscription>> Subscribe(const std::string& uid, int64_t after,
                                                                       std::function<void()> wake) = 0;
};

}  // namespace mayfly

#endif  // MAYFLY_SERVER_RUN_EVENT_HUB_H_
