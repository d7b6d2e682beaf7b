#include "client/cli/outcome.h"
#include "client/cli/verbs.h"

namespace mayfly {

ExitCode VerbGet(Session& session) {
  const auto name = session.EnvironmentName();
  if (!name.ok()) return session.Fail(name.status());
  const auto client = session.Connect();
  if (!client.ok()) return session.Fail(client.status());
  v1::GetEnvironmentRequest request;
  request.set_name(*name);
  const auto environment = (*client)->GetEnvironment(request);
  if (!environment.ok()) return session.Fail(environment.status());
  return PrintEnvironment(session, *environment, /*brief=*/false);
}

}  // namespace mayfly
