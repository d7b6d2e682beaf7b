// What verbs that wait have in common: the request, the end of the wait, and what is said about it.
#ifndef MAYFLY_CLIENT_CLI_OUTCOME_H_
#define MAYFLY_CLIENT_CLI_OUTCOME_H_

#include <string>

#include "absl/status/statusor.h"
#include "client/cli/follow.h"
#include "client/cli/session.h"

namespace mayfly {

// From -f, --name, --engine, services, --set, --env-file, --secret, --ttl and --profile.
absl::StatusOr<v1::CreateEnvironmentRequest> CreateRequestFor(Session& session);

// now + --timeout.
absl::Time DeadlineFor(const Options& options);

// How a wait that was interrupted, ran out of time or lost its server ends.
struct Undo {
  bool removes = false;  // Off a terminal, or when asked to abort: takes the environment down.
  bool on_timeout = false;
};

// For result.end other than kDone. On a terminal the first Ctrl-C detaches and a second one within two seconds takes
// the environment down; elsewhere the environment is taken down at once when `undo.removes`. --on-interrupt decides
// otherwise.
ExitCode EndEarly(Session& session, ProvisionerClient& client, const FollowRequest& followed,
                  const FollowResult& result, Undo undo);

// Deletes and waits until nothing is left, showing progress. A further interrupt leaves the rest to the server.
ExitCode TakeDown(Session& session, ProvisionerClient& client, const std::string& name, const std::string& uid,
                  bool graceful);

// The failure on standard error: the cause first, then evidence and how to go on.
void TellFailure(Session& session, const v1::Cause& cause, const std::string& environment);

// Writes --junit and --report-dir, where asked for.
absl::Status SaveReports(Session& session, ProvisionerClient& client, const std::string& name);

// One environment in the chosen format on standard output; as table only its exposed services when `brief`.
ExitCode PrintEnvironment(Session& session, const v1::Environment& environment, bool brief);

// The report in the chosen format on standard output.
absl::Status PrintReport(Session& session, ProvisionerClient& client, const std::string& name);

// USAGE as an error with a sentence.
ExitCode Usage(Session& session, absl::string_view message);

}  // namespace mayfly

#endif  // MAYFLY_CLIENT_CLI_OUTCOME_H_
