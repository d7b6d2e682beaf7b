#include "server/engine/parts/probe_budget.h"

#include <algorithm>

namespace mayfly {
namespace {

// Waking up costs ten times a lookup: the timer set anew, its interrupt, the way out of idle and back. Measured with
// bench_probe in a virtual machine; on bare metal it is less, and probing so a little below its share.
constexpr absl::Duration kWakeUp = absl::Microseconds(35);
// Timers of the reactor, and what the meter itself takes.
constexpr absl::Duration kUpkeep = absl::Nanoseconds(500);
constexpr absl::Duration kSameTurn = absl::Microseconds(100);
// Time is read from the wall, not from the thread's CPU clock, which would cost as much as a lookup. What is longer
// than this was not spent here but lost to another process.
constexpr absl::Duration kMostPerStep = absl::Microseconds(200);

}  // namespace

void ProbeBudget::Earn(absl::Duration now) {
  if (earned_until_ > -absl::InfiniteDuration()) {
    balance_ = std::min(burst_, balance_ + std::max(now - earned_until_, absl::ZeroDuration()) * share_);
  }
  earned_until_ = std::max(now, earned_until_);
}

void ProbeBudget::Charge(absl::Duration now, absl::Duration cost) {
  Earn(now);
  balance_ -= std::clamp(cost, absl::ZeroDuration(), kMostPerStep) + kUpkeep;
  if (now - turn_ > kSameTurn) {
    balance_ -= kWakeUp;
    turn_ = now;
  }
}

absl::Duration ProbeBudget::Wait(absl::Duration now) {
  Earn(now);
  return balance_ >= absl::ZeroDuration() ? absl::ZeroDuration() : -balance_ / share_;
}

}  // namespace mayfly
