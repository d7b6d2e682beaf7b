#include <algorithm>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "client/cli/outcome.h"
#include "client/cli/output.h"
#include "client/cli/verbs.h"
#include "mayfly/base/text.h"

namespace mayfly {
namespace {

bool IsUp(v1::Environment::State state) {
  return state != v1::Environment::CREATING && state != v1::Environment::UPDATING && state != v1::Environment::TESTING;
}

ExitCode Arrived(Session& session, ProvisionerClient& client, const std::string& name, const FollowResult& result,
                 bool existed) {
  const Progress& progress = result.progress;
  if (progress.state() != v1::Environment::ACTIVE) {
    TellFailure(session, progress.cause(), name);
    if (progress.state() == v1::Environment::FAILED) {
      session.console().Error(absl::StrCat("  it is kept for a look; remove it: mayfly down ", EscapeLine(name)));
    }
    const ExitCode code = ExitCodeFor(progress.verdict(), progress.cause(), progress.state());
    return code == kExitOk ? kExitEnvironment : code;
  }
  const int services = progress.Count(v1::Node::READY, v1::Node::SERVICE);
  // The time of an update is not since the beginning of the environment.
  const std::string time = existed ? "" : absl::StrCat(" after ", HumanDuration(progress.active_after()));
  session.console().Note(
      absl::StrCat(EscapeLine(name), " is up: ", services, services == 1 ? " service" : " services", " ready", time));
  v1::GetEnvironmentRequest get;
  get.set_name(name);
  const auto environment = client.GetEnvironment(get);
  if (!environment.ok()) return session.Fail(environment.status());
  return PrintEnvironment(session, *environment, /*brief=*/true);
}

std::string FolderOf(const std::string& source) {
  const std::filesystem::path path(source);
  return (path.extension() == ".yml" || path.extension() == ".yaml" ? path.parent_path() : path).string();
}

// Two folders with one name: to take the one environment for the other would stop all its services.
absl::Status CheckSameFolder(Session& session, ProvisionerClient& client, const v1::CreateEnvironmentRequest& request) {
  const auto name = session.EnvironmentNameFromSpec();
  if (!name.ok()) return absl::OkStatus();  // The server says what is wrong with the spec.
  v1::GetEnvironmentRequest get;
  get.set_name(*name);
  const auto there = client.GetEnvironment(get);
  if (!there.ok() || there->state() == v1::Environment::DELETED || there->state() == v1::Environment::DELETING ||
      there->source().empty() || FolderOf(there->source()) == FolderOf(request.source())) {
    return absl::OkStatus();
  }
  const std::string shown = EscapeLine(*name);
  return absl::AlreadyExistsError(absl::StrCat("'", shown, "' is up from another folder, ", EscapeLine(there->source()),
                                               ": give this one a name of its own with --name, or take the other down "
                                               "first: mayfly down ",
                                               shown));
}

}  // namespace

ExitCode VerbUp(Session& session) {
  auto request = CreateRequestFor(session);
  if (!request.ok()) return session.Fail(request.status());
  request->set_keep(v1::CreateEnvironmentRequest::ALWAYS);
  const bool replay = !session.options().replay.empty();
  request->set_allow_update(!replay);
  const auto client = session.Connect();
  if (!client.ok()) return session.Fail(client.status());
  const absl::Status same = replay ? absl::OkStatus() : CheckSameFolder(session, **client, *request);
  if (!same.ok()) return session.Fail(same);
  const absl::Time deadline = DeadlineFor(session.options());
  const auto environment = (*client)->CreateEnvironment(*request);
  if (!environment.ok()) return session.Fail(environment.status());
  if (session.options().no_wait) return PrintEnvironment(session, *environment, /*brief=*/true);

  FollowRequest follow;
  follow.name = environment->name();
  follow.uid = environment->uid();
  // An environment that was there already has a past that is not news. What is new begins with CREATING.
  const bool existed = environment->state() != v1::Environment::CREATING;
  follow.told_until = existed ? environment->last_sequence() : 0;
  follow.deadline = deadline;
  // An update that has been accepted but not yet begun: the state of before is not its end.
  const bool begins = environment->state() == v1::Environment::UPDATING;
  follow.done = [begins, told = follow.told_until](const Progress& progress) {
    return IsUp(progress.state()) && (!begins || progress.last_sequence() > told);
  };
  const FollowResult result = Follow(session, **client, follow);
  if (result.end == FollowEnd::kDone) return Arrived(session, **client, follow.name, result, existed);
  // Interrupting an update must not take away what was there before it.
  return EndEarly(session, **client, follow, result, Undo{.removes = !existed});
}

}  // namespace mayfly
