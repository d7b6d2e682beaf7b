// One epoll set, timers and nothing else: what the launcher and every environment's init run on. Both are
// single-threaded processes without a server around them, so they have no Loop and hold no locks.
#ifndef MAYFLY_SERVER_ENGINE_PARTS_REACTOR_H_
#define MAYFLY_SERVER_ENGINE_PARTS_REACTOR_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace mayfly {

// Not thread-safe. File descriptors are not owned. A handler may add and remove any descriptor or timer, its own too:
// after Remove or CancelTimer returns, that handler is not called again, even if its event was already collected.
class Reactor {
 public:
  using Handler = std::function<void(uint32_t epoll_events)>;
  using TimerId = uint64_t;  // 0 is never a valid id.

  Reactor();
  ~Reactor();
  Reactor(const Reactor&) = delete;
  Reactor& operator=(const Reactor&) = delete;

  // Level-triggered. ALREADY_EXISTS for a descriptor that is watched; RESOURCE_EXHAUSTED from the kernel.
  absl::Status Add(int fd, uint32_t epoll_events, Handler handler);
  absl::Status Modify(int fd, uint32_t epoll_events);
  void Remove(int fd);  // Unknown descriptors are ignored. Call before closing it.

  // Once, `delay` from now, never inline. Microsecond resolution.
  TimerId AddTimer(absl::Duration delay, std::function<void()> fn);
  void CancelTimer(TimerId timer);

  // CLOCK_MONOTONIC, the same clock as Loop::Monotonic of the server.
  absl::Duration Now() const;

  // Runs until Stop. Events of one round are handled before timers that are due.
  void Run();
  void Stop() { stopping_ = true; }
  // One round: waits at most `max_wait`. For tests.
  void RunOnce(absl::Duration max_wait);

 private:
  int epoll_fd_ = -1;
  int timer_fd_ = -1;
  bool stopping_ = false;
  absl::Duration armed_ = absl::InfiniteDuration();  // What timer_fd_ is set to.
  uint64_t next_id_ = 1;
  std::map<int, std::shared_ptr<Handler>> handlers_;
  std::map<std::pair<absl::Duration, TimerId>, std::function<void()>> timers_;
  std::map<TimerId, absl::Duration> due_;

  void ArmTimer();
  void RunTimers();
};

}  // namespace mayfly

#endif  // MAYFLY_SERVER_ENGINE_PARTS_REACTOR_H_
