// Carries engine events from the engine's threads to the run loop. It exists before the engine, which is made with it
// as its sink, and before the provisioner, which attaches later; what comes earlier waits.
#ifndef MAYFLY_SERVER_RUN_ENGINE_EVENT_QUEUE_H_
#define MAYFLY_SERVER_RUN_ENGINE_EVENT_QUEUE_H_

#include <functional>
#include <vector>

#include "mayfly/base/mutex.h"
#include "mayfly/engine/engine.h"

namespace mayfly {

// Thread-safe. Must outlive the engine.
class EngineEventQueue final : public EngineEventSink {
 public:
  void OnEngineEvent(const EngineEvent& event) override;

  // From now on `wake` is called, on the thread of the event, whenever the queue stops being empty; at once when it is
  // not empty now. It must not block. An empty function detaches; after that has returned, the old one is not running.
  void Attach(std::function<void()> wake);

  // Everything queued, oldest first.
  std::vector<EngineEvent> Take();

 private:
  Mutex mutex_;
  std::function<void()> wake_ ABSL_GUARDED_BY(mutex_);
  std::vector<EngineEvent> events_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace mayfly

#endif  // MAYFLY_SERVER_RUN_ENGINE_EVENT_QUEUE_H_
