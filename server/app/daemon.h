// mayflyd from its flags to its end.
#ifndef MAYFLY_SERVER_APP_DAEMON_H_
#define MAYFLY_SERVER_APP_DAEMON_H_

#include "server/app/flags.h"

namespace mayfly::app {

// Serves until told to stop; the process must have one thread only. Returns the exit code: 0, 1 (what failed is on
// stderr), 9 (another server holds the state folder).
int RunDaemon(const Flags& flags);

}  // namespace mayfly::app

#endif  // MAYFLY_SERVER_APP_DAEMON_H_
