// Starting a mayflyd of one's own.
#ifndef MAYFLY_CLIENT_LIB_SPAWN_SERVER_H_
#define MAYFLY_CLIENT_LIB_SPAWN_SERVER_H_

#include <sys/types.h>

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "client/lib/files.h"

namespace mayfly {

struct SpawnedServer {
  pid_t pid = -1;
  OwnedFd ready;  // One line when it serves; end of file when it is gone.
};

// Runs `binary` in a session of its own, in "/", with its output in `log_fd` and ServerVariables of this process.
// `engine` empty: the server's own choice; "kubernetes": of the cluster that kubectl would talk to here, or of
// $MAYFLY_KUBE_CONTEXT, with images from $MAYFLY_REGISTRY, in $MAYFLY_KUBE_NAMESPACES, and with a relay where
// $MAYFLY_GATE_RELAY is 1.
absl::StatusOr<SpawnedServer> SpawnServer(const std::string& binary, const std::string& state_dir,
                                          absl::Duration exit_when_idle, int log_fd, const std::string& engine);

// Those of `variables` ("NAME=value", as `environ`) that a server needs. It outlives the command that started it by
// hours and is every later command's server, too: what was meant for that one command is no business of it.
// One for a cluster needs what finds the cluster and proves who we are there, too; paths of KUBECONFIG come absolute.
std::vector<std::string> ServerVariables(char* const* variables, absl::string_view engine = "");

}  // namespace mayfly

#endif  // MAYFLY_CLIENT_LIB_SPAWN_SERVER_H_
