#include "client/cli/outcome.h"
#include "client/cli/verbs.h"

namespace mayfly {

ExitCode VerbTest(Session& session) {
  const auto name = session.EnvironmentNameFromSpec();
  if (!name.ok()) return session.Fail(name.status());
  const auto client = session.Connect();
  if (!client.ok()) return session.Fail(client.status());
  v1::RunTestsRequest request;
  request.set_name(*name);
  for (const std::string& test : session.options().words) request.add_tests(test);
  const absl::Time deadline = DeadlineFor(session.options());
  const auto environment = (*client)->RunTests(request);
  if (!environment.ok()) {
    const ExitCode code = session.Fail(environment.status());
    // The state does not allow it: nothing is wrong with the host.
    return code == kExitHost ? kExitConflict : code;
  }
  if (session.options().no_wait) return PrintEnvironment(session, *environment, /*brief=*/true);
  FollowRequest follow;
  follow.name = *name;
  follow.uid = environment->uid();
  follow.told_until = environment->last_sequence();
  follow.deadline = deadline;
  follow.done = [start = follow.told_until](const Progress& progress) {
    using E = v1::Environment;
    const bool broken =
        progress.state() == E::FAILED || progress.state() == E::DELETING || progress.state() == E::DELETED;
    return progress.verdict_sequence() > start || (progress.last_sequence() > start && broken);
  };
  const FollowResult result = Follow(session, **client, follow);
  if (result.end != FollowEnd::kDone) return EndEarly(session, **client, follow, result, Undo{});
  const Progress& progress = result.progress;
  if (progress.verdict() != v1::VERDICT_PASSED) TellFailure(session, progress.cause(), *name);
  absl::Status told = PrintReport(session, **client, *name);
  if (told.ok()) told = SaveReports(session, **client, *name);
  if (!told.ok()) session.Fail(told);
  const ExitCode code = ExitCodeFor(progress.verdict(), progress.cause(), progress.state());
  if (code == kExitOk && !told.ok()) return kExitInternal;
  return code;
}

}  // namespace mayfly
