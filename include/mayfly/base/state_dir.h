// Where a per-user server keeps its state and how a client on the same machine finds it. Both sides use these
// functions, so that they agree without asking each other.
#ifndef MAYFLY_BASE_STATE_DIR_H_
#define MAYFLY_BASE_STATE_DIR_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

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

// "<state_dir>/lock": the lock on it is what counts; its one line says for people and clients who holds it.
std::string LockFilePath(absl::string_view state_dir);

// A process as that line names it: the time of its start, in ticks since boot, tells it from later ones of its number.
struct LockHolder {
  int64_t pid = 0;
  int64_t start_ticks = 0;
};
std::string LockLine(const LockHolder& holder, absl::Time since);
std::optional<LockHolder> ParseLockLine(absl::string_view line);

// Of a process that is there, a zombie too; nothing otherwise.
std::optional<int64_t> ProcessStartTicks(int64_t pid);

// Makes `dir` (and its parents) with mode 0700 where missing. FAILED_PRECONDITION when it is a link, belongs to someone
// else or is writable by others: whoever can put files there could speak in the server's name.
absl::Status MakePrivateDir(const std::string& dir);

}  // namespace mayfly

#endif  // MAYFLY_BASE_STATE_DIR_H_
