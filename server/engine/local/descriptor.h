// The durable record of a scope on this host: which process is its init, told apart from any later process of the same
// number, and what else must be removed with it. Written before the scope's shell is used, read by whoever comes after.
#ifndef MAYFLY_SERVER_ENGINE_LOCAL_DESCRIPTOR_H_
#define MAYFLY_SERVER_ENGINE_LOCAL_DESCRIPTOR_H_

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/engine/local/sys.h"

namespace mayfly::local {

struct ScopeDescriptor {
  std::string scope, environment, owner;
  pid_t pid = 0;
  uint64_t start_time = 0;  // Clock ticks since boot.
  uint64_t pid_namespace = 0;
  std::string boot_id;  // A machine that has restarted runs none of them.
  std::string cgroup;   // Group name; "" without groups.
  uint32_t host_id = 0;
  int protocol = 0;
};

// <state_dir>/scopes/<scope>.
std::string ScopeFolder(const std::string& state_dir, const std::string& scope);

// Makes the folder (0700) and the file in it.
absl::Status WriteDescriptor(const std::string& state_dir, const ScopeDescriptor& descriptor);
// NOT_FOUND without a folder; DATA_LOSS for a folder without a readable descriptor (it was never used).
absl::StatusOr<ScopeDescriptor> ReadDescriptor(const std::string& state_dir, const std::string& scope);
// Names of all scope folders. An error means that the list is not complete.
absl::StatusOr<std::vector<std::string>> ListScopes(const std::string& state_dir);

// A pidfd of the init when it is still the recorded process; NOT_FOUND when that has ended.
absl::StatusOr<UniqueFd> OpenInit(const ScopeDescriptor& descriptor);

std::string BootId();

// Listens in the folder, or connects to <folder>/control.sock, however long the folder's path is. Nobody can connect
// until the socket is published, which is the last step of making a scope: without it no server has ever used it.
absl::StatusOr<UniqueFd> ListenControl(const std::string& folder);
absl::Status PublishControl(const std::string& folder);
bool IsPublished(const std::string& folder);
absl::StatusOr<UniqueFd> ConnectControl(const std::string& folder);

}  // namespace mayfly::local

#endif  // MAYFLY_SERVER_ENGINE_LOCAL_DESCRIPTOR_H_
