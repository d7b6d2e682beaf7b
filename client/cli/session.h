// What every verb has at hand: the options, the console, the server and the environment that is meant.
#ifndef MAYFLY_CLIENT_CLI_SESSION_H_
#define MAYFLY_CLIENT_CLI_SESSION_H_

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/cli/console.h"
#include "client/cli/exit_codes.h"
#include "client/cli/interrupts.h"
#include "client/cli/options.h"
#include "client/lib/provisioner_client.h"
#include "client/lib/server_finder.h"

namespace mayfly {

class Session {
 public:
  // Neither is owned. `interrupts` is nullptr for verbs that a signal may simply end.
  Session(Options options, Console* console, Interrupts* interrupts);

  const Options& options() const { return options_; }
  Console& console() { return *console_; }
  Interrupts* interrupts() { return interrupts_; }

  // The server that is meant: --server, or the per-user one, which is started when `may_start`. The client lives as
  // long as the session. A per-user server of another version is ABORTED (what to do is in the message).
  absl::StatusOr<ProvisionerClient*> Connect(bool may_start = true);

  // Where the per-user server is, which is the one that is meant without --server.
  absl::StatusOr<StartOptions> PerUserServer();

  // The environment that is meant: --name, the `word`-th word, or the name of the nearest spec.
  absl::StatusOr<std::string> EnvironmentName(size_t word = 0);
  // As EnvironmentName without words: those are services or tests.
  absl::StatusOr<std::string> EnvironmentNameFromSpec();
  // Absolute path of the spec that is meant.
  absl::StatusOr<std::string> Source();

  // Tells what went wrong, with diagnostics where the spec is at fault, and returns the exit code.
  ExitCode Fail(const absl::Status& status);

 private:
  absl::StatusOr<std::string> Locate(bool may_start);
  absl::StatusOr<ProvisionerClient::Options> ClientOptions(bool may_start);

  const Options options_;
  Console* const console_;
  Interrupts* const interrupts_;
  std::unique_ptr<ProvisionerClient> client_;
};

}  // namespace mayfly

#endif  // MAYFLY_CLIENT_CLI_SESSION_H_
