// How others learn that the server serves: its server.json, the descriptor of who started it, and systemd.
#ifndef MAYFLY_SERVER_APP_ANNOUNCE_H_
#define MAYFLY_SERVER_APP_ANNOUNCE_H_

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace mayfly::app {

// Writes <state_dir>/server.json (0600) in one step; readers see the old one or the new one.
absl::Status WriteServerFile(const std::string& state_dir, const std::string& socket, absl::Time start_time,
                             const std::string& engine);
// Only while holding the lock of the state folder: otherwise it may be another server's.
void RemoveServerFile(const std::string& state_dir);

// One datagram to $NOTIFY_SOCKET, such as "READY=1"; nothing without one. Path and abstract sockets.
void NotifySystemd(absl::string_view message);

// "ready\n" to `fd`, which is closed then; nothing for -1.
void NotifyStarter(int fd);

}  // namespace mayfly::app

#endif  // MAYFLY_SERVER_APP_ANNOUNCE_H_
