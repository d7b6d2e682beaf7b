// When the server ends: a signal, a request, or having been idle.
#ifndef MAYFLY_SERVER_APP_LIFETIME_H_
#define MAYFLY_SERVER_APP_LIFETIME_H_

#include <functional>
#include <string>

#include "absl/time/time.h"
#include "server/base/unique_fd.h"

namespace mayfly::app {

class Lifetime {
 public:
  // Blocks SIGTERM and SIGINT for this thread and those made from now on: construct it before there are others. SIGPIPE
  // is ignored from then on.
  Lifetime();

  // Ends Wait. Thread-safe.
  void Stop();

  struct Idle {
    absl::Duration after = absl::InfiniteDuration();  // Infinite: never.
    std::function<bool()> now;                        // Nothing is live and nobody is connected.
    std::function<absl::Duration()> last_activity;    // CLOCK_MONOTONIC; what came and went between two looks.
  };
  // Wait ends, too, when `fd` is readable and `reason` says something. Before Wait.
  void EndWhen(int fd, std::function<std::string()> reason);

  // Blocks until the server is to end; why, for the log.
  std::string Wait(const Idle& idle);

 private:
  UniqueFd signals_;
  UniqueFd stop_;
  int watched_ = -1;
  std::function<std::string()> watch_reason_;
};

}  // namespace mayfly::app

#endif  // MAYFLY_SERVER_APP_LIFETIME_H_
