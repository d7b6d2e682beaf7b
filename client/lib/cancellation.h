// Lets one thread end a call that another thread is blocked in.
#ifndef MAYFLY_CLIENT_LIB_CANCELLATION_H_
#define MAYFLY_CLIENT_LIB_CANCELLATION_H_

#include <functional>
#include <utility>

#include "mayfly/base/mutex.h"

namespace mayfly {

// Cancel() may come before, during or after the call; it sticks. Thread-safe.
class Cancellation {
 public:
  void Cancel() {
    MutexLock lock(mutex_);
    cancelled_ = true;
    if (abort_) abort_();
  }
  bool cancelled() const {
    MutexLock lock(mutex_);
    return cancelled_;
  }
  // For the call itself: how to abort what it now waits for (nullptr: nothing any more). Run at once when cancelled.
  void SetAbort(std::function<void()> abort) {
    MutexLock lock(mutex_);
    abort_ = std::move(abort);
    if (cancelled_ && abort_) abort_();
  }

 private:
  mutable Mutex mutex_;
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;
  std::function<void()> abort_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace mayfly

#endif  // MAYFLY_CLIENT_LIB_CANCELLATION_H_
