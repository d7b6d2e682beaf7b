// How long a probe waits between two looks. Apart from the Prober, so that it can be read and tested without one.
#ifndef MAYFLY_SERVER_ENGINE_PARTS_PROBE_PACE_H_
#define MAYFLY_SERVER_ENGINE_PARTS_PROBE_PACE_H_

#include <algorithm>

#include "absl/time/time.h"

namespace mayfly {

inline absl::Duration LookPace(absl::Duration age) {
  return std::clamp(age / 512, absl::Microseconds(500), absl::Milliseconds(2));
}

// For a service that listens and answers unhealthily: each question costs it work.
inline absl::Duration AnswerPace(absl::Duration age) {
  return std::clamp(age / 64, absl::Milliseconds(1), absl::Milliseconds(50));
}

// `took`: what the last run needed, of which only the beginning counts: one that hung costs little.
inline absl::Duration CommandPace(absl::Duration age, absl::Duration took) {
  return std::max(std::clamp(age / 16, absl::Milliseconds(5), absl::Seconds(1)), std::min(2 * took, absl::Seconds(2)));
}

// The wait from `now` that comes nearest to `interval` from below and ends on a multiple of the largest power of two of
// 250 us that is no longer than it. Probes of about the same pace so fall due together and share one wake-up.
inline absl::Duration AlignedWait(absl::Duration now, absl::Duration interval) {
  absl::Duration step = absl::Microseconds(250);
  while (step * 2 <= interval && step < absl::Seconds(1)) step *= 2;
  return std::max(absl::Floor(now + interval, step) - now, absl::Microseconds(1));
}

}  // namespace mayfly

#endif  // MAYFLY_SERVER_ENGINE_PARTS_PROBE_PACE_H_
