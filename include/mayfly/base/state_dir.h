// Where a per-user server keeps its state and how a client on the same machine finds it. Both sides use these
// functions, so that they agree without asking each other.
#ifndef MAYFLY_BASE_STATE_DIR_H_
#define MAYFLY_BASE_STATE_DIR_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace mayfly {

// $MAYFLY_STATE_DIR, else $XDG_STATE_HOME/mayfly, else ~/.local/state/mayfly; the same rule for root.
// FAILED_PRECONDITION when no variable is set and the user has no home.
absl::StatusOr<std::string> DefaultStateDir();

// The socket of the server of `state_dir` (absolute): "<state_dir>/mayflyd.sock". A path of a socket has at most 107
// bytes; for a longer one "$XDG_RUNTIME_DIR/mayfly-<hash>.sock", else "/tmp/mayfly-<uid>/<hash>.sock".
std::string SocketPath(absl::string_view state_dir);

// "<state_dir>/server.json": {"pid", "start_time" (RFC 3339), "version", "commit", "socket", "state_dir"}, written once
// the server answers and removed when it ends in order.
std::string ServerFilePath(absl::string_view state_dir);

// Makes `dir` (and its parents) with mode 0700 where missing. FAILED_PRECONDITION when it is a link, belongs to someone
// else or is writable by others: whoever can put files there could speak in the server's name.
absl::Status MakePrivateDir(const std::string& dir);

}  // namespace mayfly

#endif  // MAYFLY_BASE_STATE_DIR_H_
