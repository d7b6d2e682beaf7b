// How much of a core all the probes of one init may cost. Bursts are free, so that young services are watched closely;
// in the long run the share holds, however many probes are pending and however slow the machine is.
#ifndef MAYFLY_SERVER_ENGINE_PARTS_PROBE_BUDGET_H_
#define MAYFLY_SERVER_ENGINE_PARTS_PROBE_BUDGET_H_

#include "absl/time/time.h"
#include "server/engine/parts/reactor.h"

namespace mayfly {

// Not thread-safe. One per reactor, shared by its Probers and living longer than they.
class ProbeBudget {
 public:
  // `share` of one core, a little less than the 3 % that 21 pending probes may cost; `burst`: CPU time that may be
  // spent at once after doing nothing for long.
  explicit ProbeBudget(double share = 0.025, absl::Duration burst = absl::Milliseconds(150))
      : share_(share), burst_(burst), balance_(burst) {}

  // Takes `cost` at time `now` of the reactor. A turn of the reactor that had not been charged yet costs its wake-up,
  // too.
  void Charge(absl::Duration now, absl::Duration cost);
  // How long to wait from `now` until there is something to spend; zero when there is.
  absl::Duration Wait(absl::Duration now);

  // Charges the time from its construction to its destruction.
  class Meter {
   public:
    Meter(ProbeBudget* budget, const Reactor& reactor)
        : budget_(budget), reactor_(reactor), start_(budget != nullptr ? reactor.Now() : absl::ZeroDuration()) {}
    ~Meter() {
      if (budget_ != nullptr) budget_->Charge(start_, reactor_.Now() - start_);
    }
    Meter(const Meter&) = delete;
    Meter& operator=(const Meter&) = delete;

   private:
    ProbeBudget* budget_;
    const Reactor& reactor_;
    absl::Duration start_;
  };

 private:
  void Earn(absl::Duration now);

  const double share_;
  const absl::Duration burst_;
  absl::Duration balance_;
  absl::Duration earned_until_ = -absl::InfiniteDuration();
  absl::Duration turn_ = -absl::InfiniteDuration();  // When the last one charged began.
};

}  // namespace mayfly

#endif  // MAYFLY_SERVER_ENGINE_PARTS_PROBE_BUDGET_H_
