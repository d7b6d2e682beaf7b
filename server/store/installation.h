// The identity of a state folder, in a file of its own: a database that is lost must not take with it the knowledge
// which scopes are this installation's.
#ifndef MAYFLY_SERVER_STORE_INSTALLATION_H_
#define MAYFLY_SERVER_STORE_INSTALLATION_H_

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace mayfly {

// What <state_dir>/installation says; nothing when it is not there or holds no id.
absl::StatusOr<std::optional<std::string>> ReadInstallation(const std::string& state_dir);

// In one step (0600), and on the disk when it returns.
absl::Status WriteInstallation(const std::string& state_dir, const std::string& id);

}  // namespace mayfly

#endif  // MAYFLY_SERVER_STORE_INSTALLATION_H_
