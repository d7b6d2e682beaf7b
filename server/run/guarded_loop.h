// The run loop as everything in this folder sees it: one turn at a time, and none any more once it is closed. Closing
// waits for the turn that runs, so that whoever closed it may take apart what turns touch.
#ifndef MAYFLY_SERVER_RUN_GUARDED_LOOP_H_
#define MAYFLY_SERVER_RUN_GUARDED_LOOP_H_

#include <atomic>
#include <functional>
#include <memory>

#include "mayfly/base/loop.h"
#include "mayfly/base/mutex.h"

namespace mayfly {

// Thread-safe. Functions may outlive it in the wrapped loop; they do nothing then.
class GuardedLoop final : public Loop {
 public:
  explicit GuardedLoop(Loop* loop) : loop_(loop), gate_(std::make_shared<Gate>()) {}
  ~GuardedLoop() override { Close(); }

  void Post(std::function<void()> fn) override {
    if (!closed_) loop_->Post(Wrap(std::move(fn)));
  }
  TimerId PostAfter(absl::Duration delay, std::function<void()> fn) override {
    return closed_ ? 0 : loop_->PostAfter(delay, Wrap(std::move(fn)));
  }
  void Cancel(TimerId timer) override {
    if (timer != 0) loop_->Cancel(timer);
  }
  absl::Duration Monotonic() const override { return loop_->Monotonic(); }
  absl::Time Wall() const override { return loop_->Wall(); }

  // Runs `fn` now, as one turn. Must not be called from a turn.
  void RunAsTurn(const std::function<void()>& fn) { Wrap(fn)(); }

  // No turn runs when this has returned. Must not be called from a turn. Idempotent.
  void Close() {
    closed_ = true;
    MutexLock lock(gate_->mutex);
    gate_->open = false;
  }

 private:
  struct Gate {
    Mutex mutex;
    bool open ABSL_GUARDED_BY(mutex) = true;
  };
  std::function<void()> Wrap(std::function<void()> fn) {
    return [gate = gate_, fn = std::move(fn)] {
      MutexLock lock(gate->mutex);
      if (gate->open) fn();
    };
  }

  Loop* const loop_;
  const std::shared_ptr<Gate> gate_;
  std::atomic<bool> closed_{false};  // Late posts do not reach a loop that may be gone.
};

}  // namespace mayfly

#endif  // MAYFLY_SERVER_RUN_GUARDED_LOOP_H_
