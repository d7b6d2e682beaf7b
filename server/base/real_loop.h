// The Loop of a running server: one thread of its own, the monotonic clock.
#ifndef MAYFLY_SERVER_BASE_REAL_LOOP_H_
#define MAYFLY_SERVER_BASE_REAL_LOOP_H_

#include <map>
#include <thread>
#include <utility>

#include "mayfly/base/loop.h"
#include "mayfly/base/mutex.h"

namespace mayfly {

// Thread-safe. The destructor stops it: the function that is running finishes, the rest are destroyed unrun. It must
// not be destroyed from its own thread.
class RealLoop final : public Loop {
 public:
  RealLoop();
  ~RealLoop() override;
  RealLoop(const RealLoop&) = delete;
  RealLoop& operator=(const RealLoop&) = delete;

  void Post(std::function<void()> fn) override;
  TimerId PostAfter(absl::Duration delay, std::function<void()> fn) override;
  void Cancel(TimerId timer) override;
  absl::Duration Monotonic() const override;
  absl::Time Wall() const override;

  // Stops as the destructor does, so that members which functions refer to can be destroyed after it. Idempotent.
  void Stop();

 private:
  // Due time in nanoseconds, then order of posting.
  using Key = std::pair<int64_t, TimerId>;

  TimerId Add(int64_t due_ns, std::function<void()> fn);
  void Run();

  Mutex mutex_;
  CondVar wake_;
  std::map<Key, std::function<void()>> queue_ ABSL_GUARDED_BY(mutex_);
  std::map<TimerId, int64_t> due_ ABSL_GUARDED_BY(mutex_);
  TimerId next_id_ ABSL_GUARDED_BY(mutex_) = 1;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace mayfly

#endif  // MAYFLY_SERVER_BASE_REAL_LOOP_H_
