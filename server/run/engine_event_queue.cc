#include "server/run/engine_event_queue.h"

#include <utility>

namespace mayfly {

void EngineEventQueue::OnEngineEvent(const EngineEvent& event) {
  MutexLock lock(mutex_);
  events_.push_back(event);
  if (events_.size() == 1 && wake_) wake_();
}

void EngineEventQueue::Attach(std::function<void()> wake) {
  MutexLock lock(mutex_);
  wake_ = std::move(wake);
  if (!events_.empty() && wake_) wake_();
}

std::vector<EngineEvent> EngineEventQueue::Take() {
  MutexLock lock(mutex_);
  return std::exchange(events_, {});
}

}  // namespace mayfly
