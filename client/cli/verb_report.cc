#include "client/cli/outcome.h"
#include "client/cli/verbs.h"

namespace mayfly {

ExitCode VerbReport(Session& session) {
  if (session.options().format == Format::kDot || session.options().format == Format::kEnv) {
    return Usage(session, "report prints -o table, json, yaml, junit or markdown");
  }
  const auto name = session.EnvironmentName();
  if (!name.ok()) return session.Fail(name.status());
  const auto client = session.Connect();
  if (!client.ok()) return session.Fail(client.status());
  absl::Status status = PrintReport(session, **client, *name);
  if (status.ok()) status = SaveReports(session, **client, *name);
  return status.ok() ? kExitOk : session.Fail(status);
}

}  // namespace mayfly
