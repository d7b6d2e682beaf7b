// A clock whose waits take no time: what is posted for later runs at once, and the time in between counts as passed.
#ifndef MAYFLY_TESTS_SUPPORT_HASTY_LOOP_H_
#define MAYFLY_TESTS_SUPPORT_HASTY_LOOP_H_

#include <chrono>
#include <functional>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "mayfly/base/loop.h"
#include "mayfly/base/mutex.h"

namespace mayfly {

// Thread-safe. Runs functions on the thread that posts them, so it is for code whose functions only pass on to another
// loop. Timers cannot be cancelled.
class HastyLoop final : public Loop {
 public:
  void Post(std::function<void()> fn) override { fn(); }
  TimerId PostAfter(absl::Duration delay, std::function<void()> fn) override {
    {
      MutexLock lock(mutex_);
      delays_.push_back(delay);
      skipped_ += delay;
    }
    fn();
    return 1;
  }
  void Cancel(TimerId) override {}
  absl::Duration Monotonic() const override {
    MutexLock lock(mutex_);
    return absl::FromChrono(std::chrono::steady_clock::now().time_since_epoch()) + skipped_;
  }
  absl::Time Wall() const override { return absl::Now(); }

  std::vector<absl::Duration> delays() const {
    MutexLock lock(mutex_);
    return delays_;
  }

 private:
  mutable Mutex mutex_;
  std::vector<absl::Duration> delays_ ABSL_GUARDED_BY(mutex_);
  absl::Duration skipped_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace mayfly

#endif  // MAYFLY_TESTS_SUPPORT_HASTY_LOOP_H_
