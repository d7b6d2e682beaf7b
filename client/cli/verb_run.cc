#include "absl/strings/str_cat.h"
#include "client/cli/outcome.h"
#include "client/cli/spec_path.h"
#include "client/cli/verbs.h"
#include "mayfly/base/cause.h"
#include "mayfly/base/ids.h"
#include "mayfly/base/text.h"

namespace mayfly {
namespace {

constexpr size_t kSuffixLength = 6;

// A name of its own for each run, so that runs of one repository do not meet.
std::string FreshName(const std::string& source) {
  return absl::StrCat(PeekName(source, 40 - kSuffixLength - 1), "-", NewUuid().substr(0, kSuffixLength));
}

bool IsOver(const Progress& progress, bool keep_on_failure) {
  if (progress.state() == v1::Environment::DELETED) return true;
  const bool kept =
      keep_on_failure && progress.verdict() != v1::VERDICT_UNSPECIFIED && progress.verdict() != v1::VERDICT_PASSED;
  return kept || (progress.has_receipt() && !progress.receipt().blockers().empty());
}

}  // namespace

ExitCode VerbRun(Session& session) {
  const Options& options = session.options();
  auto request = CreateRequestFor(session);
  if (!request.ok()) return session.Fail(request.status());
  using Request = v1::CreateEnvironmentRequest;
  request->set_keep(options.keep_on_failure ? Request::ON_FAILURE : Request::NEVER);
  request->set_all_tests(options.tests.empty());
  // A newer run of the same name (the next push) takes the place of the older one; what `up` keeps is never replaced.
  request->set_allow_update(true);
  if (options.name.empty()) request->set_environment_id(FreshName(request->source()));
  const auto client = session.Connect();
  if (!client.ok()) return session.Fail(client.status());
  const absl::Time deadline = DeadlineFor(options);
  const auto environment = (*client)->CreateEnvironment(*request);
  if (!environment.ok()) return session.Fail(environment.status());
  if (options.no_wait) return PrintEnvironment(session, *environment, /*brief=*/false);

  FollowRequest follow;
  follow.name = environment->name();
  follow.uid = environment->uid();
  follow.deadline = deadline;
  follow.done = [&](const Progress& progress) { return IsOver(progress, options.keep_on_failure); };
  const FollowResult result = Follow(session, **client, follow);
  ExitCode early = kExitOk;
  if (result.end != FollowEnd::kDone) {
    early = EndEarly(session, **client, follow, result, Undo{.removes = true, .on_timeout = true});
    if (result.end != FollowEnd::kTimeout) return early;
  }
  const Progress& progress = result.progress;
  if (progress.verdict() != v1::VERDICT_PASSED) TellFailure(session, progress.cause(), follow.name);
  if (options.keep_on_failure && progress.state() != v1::Environment::DELETED) {
    session.console().Error(absl::StrCat("  it is kept for a look; remove it: mayfly down ", EscapeLine(follow.name)));
  }
  // The name is another run's by now, and so is the report under it.
  if (progress.cause().code() == InfoFor(CauseCode::kSuperseded).name) return kExitConflict;
  absl::Status told = PrintReport(session, **client, follow.name);
  if (told.ok()) told = SaveReports(session, **client, follow.name);
  if (!told.ok()) {
    const ExitCode code = session.Fail(told);
    // A report that cannot be written must not turn a failed run into another kind of failure.
    if (progress.verdict() == v1::VERDICT_PASSED) return code == kExitOk ? kExitInternal : code;
  }
  if (early != kExitOk) return early;
  const ExitCode code = ExitCodeFor(progress.verdict(), progress.cause(), progress.state());
  // Gone without ever having a verdict: somebody took it down.
  if (progress.verdict() == v1::VERDICT_UNSPECIFIED && code == kExitOk) return kExitInterrupted;
  return code;
}

}  // namespace mayfly
