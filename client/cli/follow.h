// Watching an environment on a console until something is reached: the heart of up, run, test, down and watch.
#ifndef MAYFLY_CLIENT_CLI_FOLLOW_H_
#define MAYFLY_CLIENT_CLI_FOLLOW_H_

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "client/cli/progress.h"
#include "client/cli/session.h"

namespace mayfly {

struct FollowRequest {
  std::string name;
  std::string uid;                            // Empty: whichever has the name now.
  int64_t told_until = 0;                     // Events up to this one are known already and not told again.
  std::function<bool(const Progress&)> done;  // Asked after each event; empty: never.
  absl::Time deadline = absl::InfiniteFuture();
  bool until_gone = false;                         // Go on after DELETED, until its platform has forgotten it.
  bool silent = false;                             // Nothing is shown.
  std::function<void(const v1::Event&)> on_event;  // Instead of showing progress.
};

enum class FollowEnd { kDone, kInterrupted, kTimeout, kError };

struct FollowResult {
  FollowEnd end = FollowEnd::kDone;
  absl::Status status;  // kError: why.
  Progress progress;
};

// Shows progress on standard error: a redrawn block on a terminal, else a line per change. Returns when `done` said so
// or the server ended the stream (kDone), at a SIGINT or SIGTERM, at the deadline, or when the server stays away.
FollowResult Follow(Session& session, ProvisionerClient& client, const FollowRequest& request);

}  // namespace mayfly

#endif  // MAYFLY_CLIENT_CLI_FOLLOW_H_
