// How many calls are under way, so that a server that stops knows when the last one has its answer. gRPC's own shutdown
// waits for clients to hang up, which those that sit on an idle connection may not do for seconds.
#ifndef MAYFLY_SERVER_API_CALL_COUNT_H_
#define MAYFLY_SERVER_API_CALL_COUNT_H_

#include <chrono>
#include <memory>

#include "absl/time/time.h"
#include "mayfly/base/mutex.h"

namespace mayfly::api {

// A call is under way as long as its token lives. The count outlives its tokens' owners.
using CallToken = std::shared_ptr<void>;

// Thread-safe.
class CallCount {
 public:
  CallToken Enter() {
    {
      MutexLock lock(state_->mutex);
      ++state_->calls;
    }
    return CallToken(nullptr, [state = state_](void*) {
      MutexLock lock(state->mutex);
      if (--state->calls == 0) state->none.NotifyAll();
    });
  }

  // False when `limit` came first.
  bool WaitForNone(absl::Duration limit) {
    const auto deadline = std::chrono::steady_clock::now() + absl::ToChronoNanoseconds(limit);
    MutexLock lock(state_->mutex);
    while (state_->calls > 0) {
      if (!state_->none.WaitUntil(state_->mutex, deadline)) return state_->calls == 0;
    }
    return true;
  }

 private:
  struct State {
    Mutex mutex;
    CondVar none;
    int calls ABSL_GUARDED_BY(mutex) = 0;
  };
  const std::shared_ptr<State> state_ = std::make_shared<State>();
};

}  // namespace mayfly::api

#endif  // MAYFLY_SERVER_API_CALL_COUNT_H_
