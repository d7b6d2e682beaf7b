// The launcher: a single-threaded process that is forked from the server before the server has any thread, and does all
// clone, namespace and network work for it. The server never forks; it speaks to the launcher over a socket.
//
// Words: a *plot* is what is expensive and used again (user namespace, networks); a *shell* is a plot with a waiting
// init and its shims; a scope lives in a shell. The launcher keeps a bounded pool of warm shells. A plot that an owner
// has used is never given to another owner. When the server goes, the launcher ends the idle shells and itself; shells
// that scopes live in go on, and a later server finds them by <state-dir>/scopes/<id>/. Of the launchers of one folder,
// only one at a time makes anything: the next waits for <state-dir>/scopes/.lock and then removes what is left over.
#ifndef MAYFLY_SERVER_ENGINE_LOCAL_LAUNCHER_H_
#define MAYFLY_SERVER_ENGINE_LOCAL_LAUNCHER_H_

#include <sys/types.h>

#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "server/engine/local/sys.h"

namespace mayfly::local {

struct LauncherOptions {
  std::string state_dir;            // Absolute; exists. The launcher uses <state_dir>/scopes.
  int pool = 2;                     // Warm shells to keep; 0: none ahead.
  int pool_limit = 4;               // Grows to this while scopes are asked for faster than shells are ready.
  int slots = 26;                   // Nodes a shell has room for unless a scope expects more.
  bool egress_to_host = false;      // `egress` may name this host's own loopback.
  std::vector<std::string> hidden;  // Folders that no service may see, besides the caller's home and state_dir.
};

// The server's end.
struct LauncherHandle {
  UniqueFd channel;
  pid_t pid = 0;
  LauncherOptions options;
  UniqueFd program;  // The very file that was run, whatever lies in its place later; invalid for a mere fork.
};

// Is the launcher: serves `server` until it closes. Never returns.
[[noreturn]] void RunLauncher(const LauncherOptions& options, UniqueFd server);

// The command line of the program mayfly-launcher, which is RunLauncher in a small static program: `channel` is the
// number of the inherited descriptor.
std::vector<std::string> LauncherArguments(const LauncherOptions& options, int channel);
absl::StatusOr<std::pair<LauncherOptions, int>> ParseLauncherArguments(const std::vector<std::string>& arguments);

// Forks the launcher. When the program mayfly-launcher lies beside this process's own, the child becomes that: inits
// and shims are forks of it, and a fork of a program with a hundred libraries costs the kernel ten times as much.
// FAILED_PRECONDITION in a process that has more than one thread. The launcher ends when `channel` is closed by all who
// hold it; the caller may reap `pid`.
absl::StatusOr<LauncherHandle> ForkLauncher(const LauncherOptions& options);

// Another one in the place of a launcher that has ended, which the caller has reaped. For a process with threads: runs
// `handle`'s program without a fork, with no signal blocked or ignored. FAILED_PRECONDITION without a program; after
// any other error it may be tried again.
absl::Status RestartLauncher(LauncherHandle& handle);

// After its channel was closed: waits for its end and reaps it. DEADLINE_EXCEEDED when that takes longer than any
// launcher that is not stuck in the kernel.
absl::Status AwaitLauncherEnd(pid_t pid);

}  // namespace mayfly::local

#endif  // MAYFLY_SERVER_ENGINE_LOCAL_LAUNCHER_H_
