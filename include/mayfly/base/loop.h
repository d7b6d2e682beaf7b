// Time and turns: the one way mayfly code waits.
//
// A Loop runs posted functions one at a time, in order of their due time and, for equal due times, in the order they
// were posted. Whatever is only ever touched from functions of one Loop needs no lock; that is how an Orchestrator owns
// its state. Nothing in mayfly sleeps: code that must act later posts.
//
// Two implementations: RealLoop (server/base/real_loop.h, one thread, monotonic clock) and VirtualLoop
// (tests/support/virtual_loop.h, the test turns the clock and every run is repeatable).
#ifndef MAYFLY_BASE_LOOP_H_
#define MAYFLY_BASE_LOOP_H_

#include <cstdint>
#include <functional>

#include "absl/time/time.h"

namespace mayfly {

// Names one pending timer of one Loop; 0 is never a valid id.
using TimerId = uint64_t;

class Loop {
 public:
  virtual ~Loop() = default;

  // Runs `fn` on the loop as soon as what was posted before it has run. Thread-safe; never runs `fn` inline.
  // After the loop has stopped, `fn` is destroyed without being run.
  virtual void Post(std::function<void()> fn) = 0;

  // Runs `fn` on the loop once, `delay` from now (a negative delay counts as zero). Thread-safe.
  virtual TimerId PostAfter(absl::Duration delay, std::function<void()> fn) = 0;

  // After Cancel returns on the loop's own thread, the timer's function will not run. Unknown ids, 0 and timers that
  // have fired are ignored. Thread-safe; from another thread the function may just be running.
  virtual void Cancel(TimerId timer) = 0;

  // Monotonic time since an arbitrary origin; deadlines and durations are measured with it. Thread-safe.
  virtual absl::Duration Monotonic() const = 0;

  // Wall-clock time, for stamps that people read and for expiry. May jump. Thread-safe.
  virtual absl::Time Wall() const = 0;
};

}  // namespace mayfly

#endif  // MAYFLY_BASE_LOOP_H_
