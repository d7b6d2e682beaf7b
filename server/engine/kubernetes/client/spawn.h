// Runs one foreign program to its end. The server never forks: the program is started by posix_spawn, which shares the
// server's memory until the program's own image is in place, with an explicit environment and no descriptor of ours.
#ifndef MAYFLY_SERVER_ENGINE_KUBERNETES_CLIENT_SPAWN_H_
#define MAYFLY_SERVER_ENGINE_KUBERNETES_CLIENT_SPAWN_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace mayfly::kube {

struct SpawnRequest {
  std::vector<std::string> argv;  // argv[0] is a path; see FindProgram.
  std::vector<std::string> env;   // "NAME=value", all that there is.
  absl::Duration deadline = absl::Seconds(60);
  size_t max_output = 1 << 20;  // Of stdout. Of stderr the last 4 KiB are kept.
  int cancel_fd = -1;           // Readable: end it and return CANCELLED. Not owned.
};

struct SpawnResult {
  int exit_code = 0;  // 128 + the signal that ended it.
  std::string out;
  std::string err;  // Untrusted.
};

// The file that a shell would run for `command`: itself when it holds a '/', else the first executable file of that
// name in `path` (folders with ':' between). NOT_FOUND, or PERMISSION_DENIED for a file that may not be executed.
absl::StatusOr<std::string> FindProgram(const std::string& command, const std::string& path);

// Waits until the program has ended, on whatever thread calls: one of its own, never a shared loop. The program has no
// stdin and no terminal and leads a session of its own; what it started in that session ends with it. Errors:
// DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED for too much output and CANCELLED, each after killing it; the code of errno
// when it cannot be started.
absl::StatusOr<SpawnResult> RunProgram(const SpawnRequest& request);

}  // namespace mayfly::kube

#endif  // MAYFLY_SERVER_ENGINE_KUBERNETES_CLIENT_SPAWN_H_
