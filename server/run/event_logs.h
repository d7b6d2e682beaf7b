// The EventHub in memory: the newest events of live environments, older ones and those of deleted environments from the
// store. The run loop appends what is durable; watchers read at their own pace.
#ifndef MAYFLY_SERVER_RUN_EVENT_LOGS_H_
#define MAYFLY_SERVER_RUN_EVENT_LOGS_H_

#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "mayfly/base/mutex.h"
#include "server/run/event_hub.h"
#include "server/store/store.h"

namespace mayfly {

// Thread-safe. `store` must outlive it and its subscriptions.
class EventLogs final : public EventHub {
 public:
  explicit EventLogs(Store* store) : store_(store) {}

  absl::StatusOr<std::unique_ptr<EventSubscription>> Subscribe(const std::string& uid, int64_t after,
                                                               std::function<void()> wake) override;

  // Begins a log in memory whose first event will be number `last_sequence` + 1; what is before it lies in the store.
  void Open(const std::string& uid, int64_t last_sequence);
  // Durable events, in order. Wakes the watchers.
  void Append(const std::string& uid, std::vector<Event> events);
  // No event will follow. The log leaves memory with its last watcher.
  void Finish(const std::string& uid);

 private:
  class Log;
  class Subscription;

  std::shared_ptr<Log> Find(const std::string& uid);

  Store* const store_;
  Mutex mutex_;
  std::map<std::string, std::shared_ptr<Log>> logs_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace mayfly

#endif  // MAYFLY_SERVER_RUN_EVENT_LOGS_H_
