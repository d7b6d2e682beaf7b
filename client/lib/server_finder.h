// The per-user server: where its state lies, whether it runs, and how to start it.
//
// A running mayflyd is described by <state>/server.json {"pid", "version", "socket"}, which it writes when it serves.
// Its own lock on the folder decides which of two servers started at the same time stays; the other one exits, and its
// starter uses the winner. One that is on its way out holds the lock to its end, which whoever wants a server waits
// for.
#ifndef MAYFLY_CLIENT_LIB_SERVER_FINDER_H_
#define MAYFLY_CLIENT_LIB_SERVER_FINDER_H_

#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace mayfly {

// What mayflyd exits with when another server holds the state folder.
inline constexpr int kServerStateTaken = 9;

struct LocalServer {
  std::string socket;  // Absolute path.
  std::string version;
  std::string engine;  // Empty: it does not say.
  int64_t pid = 0;
  bool started = false;  // By this call.
};

// `flag`, else $MAYFLY_STATE_DIR, else $XDG_STATE_HOME/mayfly, else ~/.local/state/mayfly; made absolute.
// FAILED_PRECONDITION when there is no home either.
absl::StatusOr<std::string> StateDir(absl::string_view flag);

// The server that answers on its socket now. NOT_FOUND when none does.
absl::StatusOr<LocalServer> FindServer(const std::string& state_dir);

struct StartOptions {
  std::string state_dir;
  std::string engine;                          // Of one that is started; empty: its own choice.
  std::string binary;                          // Empty: mayflyd beside this program, else in PATH.
  absl::Duration timeout = absl::Seconds(20);  // Until it serves.
  absl::Duration exit_when_idle = absl::Seconds(60);
  int cancel_fd = -1;  // Readable: give up with CANCELLED. Not read from, not owned.
};

// FindServer, or else starts one in its own session with its output in <state>/server.log, and waits until it serves;
// before that, for the end of one that is ending. Safe against another process doing the same. NOT_FOUND: no mayflyd to
// start. UNAVAILABLE: it did not come up, with what it wrote last, or the one before does not end.
absl::StatusOr<LocalServer> FindOrStartServer(const StartOptions& options);

// As FindServer; but of one that starts or ends just now it waits for what becomes of it. `binary` is not used.
absl::StatusOr<LocalServer> FindSettledServer(const StartOptions& options);

// Calls `stop`, which asks the server of the state folder to end, and waits until it has ended and let go of the
// folder. The error of `stop`; UNAVAILABLE when it does not end within `timeout`.
absl::Status EndServer(const StartOptions& options, const std::function<absl::Status()>& stop);

}  // namespace mayfly

#endif  // MAYFLY_CLIENT_LIB_SERVER_FINDER_H_
