// A Loop whose clock the test turns. Everything runs on the test's own thread, in the same order every time.
#ifndef MAYFLY_TESTS_SUPPORT_VIRTUAL_LOOP_H_
#define MAYFLY_TESTS_SUPPORT_VIRTUAL_LOOP_H_

#include <map>
#include <utility>

#include "mayfly/base/loop.h"

namespace mayfly {

// Not thread-safe: post from the test's thread only.
class VirtualLoop final : public Loop {
 public:
  void Post(std::function<void()> fn) override { PostAfter(absl::ZeroDuration(), std::move(fn)); }
  TimerId PostAfter(absl::Duration delay, std::function<void()> fn) override;
  void Cancel(TimerId timer) override;
  absl::Duration Monotonic() const override { return now_; }
  absl::Time Wall() const override { return absl::FromUnixSeconds(1700000000) + now_; }

  // Runs what is due now and what that posts for now. Returns how many functions ran.
  int RunReady();
  // Runs everything due up to `duration` from now, moving the clock from one to the next, then to the end.
  void Advance(absl::Duration duration);
  // Runs until nothing is pending or `limit` of virtual time has passed; true when nothing is pending.
  bool RunUntilIdle(absl::Duration limit = absl::Hours(24 * 365));
  // Runs the next function if it is due within `limit`, moving the clock to it; false when there is none.
  bool Step(absl::Duration limit) { return RunNext(now_ + limit); }
  size_t pending() const { return queue_.size(); }

 private:
  bool RunNext(absl::Duration until);

  absl::Duration now_ = absl::Seconds(1);
  TimerId next_id_ = 1;
  std::map<std::pair<absl::Duration, TimerId>, std::function<void()>> queue_;
  std::map<TimerId, absl::Duration> due_;
};

}  // namespace mayfly

#endif  // MAYFLY_TESTS_SUPPORT_VIRTUAL_LOOP_H_
