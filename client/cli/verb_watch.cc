#include "client/cli/outcome.h"
#include "client/cli/output.h"
#include "client/cli/verbs.h"

namespace mayfly {

ExitCode VerbWatch(Session& session) {
  const auto name = session.EnvironmentName();
  if (!name.ok()) return session.Fail(name.status());
  const auto client = session.Connect();
  if (!client.ok()) return session.Fail(client.status());
  FollowRequest follow;
  follow.name = *name;
  follow.deadline = DeadlineFor(session.options());
  if (session.options().format == Format::kJson) {
    follow.on_event = [&](const v1::Event& event) { session.console().Out(ToJson(event, /*pretty=*/false)); };
  }
  const FollowResult result = Follow(session, **client, follow);
  if (result.end != FollowEnd::kDone) return EndEarly(session, **client, follow, result, Undo{});
  return ExitCodeFor(result.progress.verdict(), result.progress.cause(), result.progress.state());
}

}  // namespace mayfly
