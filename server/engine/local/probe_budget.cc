#include "server/engine/local/probe_budget.h"

#include <algorithm>

namespace mayfly::local {
namespace {

// Out of epoll_wait and back, with the timer set anew: measured with bench_probe.
constexpr absl::Duration kWakeUp = absl::Microseconds(5);
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
  balance_ -= std::clamp(cost, absl::ZeroDuration(), kMostPerStep);
  if (now - turn_ > kSameTurn) {
    balance_ -= kWakeUp;
    turn_ = now;
  }
}

absl::Duration ProbeBudget::Wait(absl::Duration now) {
  Earn(now);
  return balance_ >= absl::ZeroDuration() ? absl::ZeroDuration() : -balance_ / share_;
}

}  // namespace mayfly::local
