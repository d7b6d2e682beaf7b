#include "absl/strings/str_cat.h"
#include "client/cli/outcome.h"
#include "client/cli/verbs.h"
#include "client/lib/convert.h"
#include "mayfly/base/text.h"

namespace mayfly {

ExitCode VerbExtend(Session& session) {
  if (!session.options().ttl.has_value()) {
    return Usage(session, "say for how long from now: mayfly extend [NAME] --ttl 2h");
  }
  const auto name = session.EnvironmentName();
  if (!name.ok()) return session.Fail(name.status());
  const auto client = session.Connect();
  if (!client.ok()) return session.Fail(client.status());
  v1::UpdateEnvironmentRequest request;
  request.mutable_environment()->set_name(*name);
  *request.mutable_environment()->mutable_ttl() = ToProto(*session.options().ttl);
  request.mutable_update_mask()->add_paths("ttl");
  const auto environment = (*client)->UpdateEnvironment(request);
  if (!environment.ok()) return session.Fail(environment.status());
  session.console().Note(
      absl::StrCat(EscapeLine(*name), " lives ", HumanDuration(*session.options().ttl), " from now"));
  if (session.options().format == Format::kTable) return kExitOk;
  return PrintEnvironment(session, *environment, /*brief=*/true);
}

}  // namespace mayfly
