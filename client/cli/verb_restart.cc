#include "absl/strings/str_cat.h"
#include "client/cli/outcome.h"
#include "client/cli/verbs.h"
#include "mayfly/base/text.h"

namespace mayfly {

ExitCode VerbRestart(Session& session) {
  if (session.options().words.empty()) return Usage(session, "say what to restart: mayfly restart SERVICE...");
  const auto name = session.EnvironmentNameFromSpec();
  if (!name.ok()) return session.Fail(name.status());
  const auto client = session.Connect();
  if (!client.ok()) return session.Fail(client.status());
  v1::RestartServicesRequest request;
  request.set_name(*name);
  for (const std::string& service : session.options().words) request.add_services(service);
  const absl::Time deadline = DeadlineFor(session.options());
  const auto environment = (*client)->RestartServices(request);
  if (!environment.ok()) {
    const ExitCode code = session.Fail(environment.status());
    return code == kExitHost ? kExitConflict : code;
  }
  if (session.options().no_wait) return kExitOk;
  FollowRequest follow;
  follow.name = *name;
  follow.uid = environment->uid();
  follow.told_until = environment->last_sequence();
  follow.deadline = deadline;
  // The answer may have been written before the first event of the restart: only what comes after it can end the wait.
  const bool begun = environment->state() == v1::Environment::UPDATING;
  follow.done = [start = follow.told_until, begun](const Progress& progress) {
    return (begun || progress.last_sequence() > start) && progress.state() != v1::Environment::UPDATING &&
           progress.state() != v1::Environment::CREATING;
  };
  const FollowResult result = Follow(session, **client, follow);
  if (result.end != FollowEnd::kDone) return EndEarly(session, **client, follow, result, Undo{});
  if (result.progress.state() == v1::Environment::ACTIVE) {
    session.console().Note(absl::StrCat(EscapeLine(*name), " is ACTIVE again"));
    return kExitOk;
  }
  TellFailure(session, result.progress.cause(), *name);
  return kExitEnvironment;
}

}  // namespace mayfly
