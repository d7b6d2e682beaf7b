// Pseudo-terminals for commands that somebody runs inside by hand.
#ifndef MAYFLY_SERVER_ENGINE_PARTS_TERMINAL_H_
#define MAYFLY_SERVER_ENGINE_PARTS_TERMINAL_H_

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace mayfly {

// Both ends are close-on-exec and belong to the caller.
struct Terminal {
  int outer = -1;  // What the person's side reads and writes. Non-blocking.
  int inner = -1;  // The command's stdin, stdout and stderr.
};

// From the devpts that `ptmx` belongs to: "/dev/ptmx" of whoever calls, or of another mount namespace through
// /proc/<pid>/root. The inner end needs no path, so both may cross into namespaces that do not see it.
absl::StatusOr<Terminal> OpenTerminal(int columns, int rows, const char* ptmx = "/dev/ptmx");

// The command is told by SIGWINCH. Sizes are clamped to 1..1000; INVALID_ARGUMENT for what is no terminal.
absl::Status ResizeTerminal(int fd, int columns, int rows);

// In a child between fork and exec: a session of its own whose controlling terminal is `inner`. 0, or errno.
// Async-signal-safe.
int TakeTerminal(int inner);

}  // namespace mayfly

#endif  // MAYFLY_SERVER_ENGINE_PARTS_TERMINAL_H_
