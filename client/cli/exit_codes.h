// What mayfly exits with. Scripts rely on these: documented in docs/cli.md, never changed, never reused.
#ifndef MAYFLY_CLIENT_CLI_EXIT_CODES_H_
#define MAYFLY_CLIENT_CLI_EXIT_CODES_H_

#include "absl/status/status.h"
#include "mayfly/v1/environment.pb.h"

namespace mayfly {

enum ExitCode : int {
  kExitOk = 0,
  kExitInternal = 1,     // A defect, or something unexpected.
  kExitUsage = 2,        // The command line makes no sense.
  kExitSpec = 3,         // The spec has errors; nothing was created.
  kExitEnvironment = 4,  // The environment did not become ready, or broke: verdict ERROR.
  kExitTests = 5,        // Tests failed: verdict FAILED.
  kExitNotFound = 6,
  kExitAuth = 7,
  kExitUnreachable = 8,    // The server does not answer, or could not be started.
  kExitConflict = 9,       // The name is taken, somebody else changed it, or a limit is reached.
  kExitHost = 10,          // This host cannot run the engine: `mayfly doctor`.
  kExitTimeout = 124,      // --timeout passed.
  kExitInterrupted = 130,  // Ctrl-C, SIGTERM, or cancelled by somebody else.
};

ExitCode ExitCodeFor(const absl::Status& status);

// For the end of an environment: its verdict, refined by the cause (a cancelled one may be expired or superseded). An
// environment without a verdict counts by its state: FAILED is kExitEnvironment.
ExitCode ExitCodeFor(mayfly::v1::Verdict verdict, const mayfly::v1::Cause& cause, mayfly::v1::Environment::State state);

}  // namespace mayfly

#endif  // MAYFLY_CLIENT_CLI_EXIT_CODES_H_
