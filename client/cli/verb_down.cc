#include <vector>

#include "absl/strings/str_cat.h"
#include "client/cli/outcome.h"
#include "client/cli/verbs.h"
#include "mayfly/base/text.h"

namespace mayfly {
namespace {

absl::StatusOr<std::vector<std::string>> Names(Session& session, ProvisionerClient& client) {
  std::vector<std::string> names = session.options().words;
  if (session.options().all) {
    auto list = client.ListEnvironments({});
    if (!list.ok()) return list.status();
    for (const v1::Environment& environment : list->environments()) names.push_back(environment.name());
  } else if (names.empty()) {
    auto name = session.EnvironmentName();
    if (!name.ok()) return name.status();
    names.push_back(*name);
  }
  return names;
}

ExitCode DeleteOnly(Session& session, ProvisionerClient& client, const std::string& name) {
  v1::DeleteEnvironmentRequest request;
  request.set_name(name);
  request.set_graceful(session.options().graceful);
  const auto deleted = client.DeleteEnvironment(request);
  if (!deleted.ok()) return session.Fail(deleted.status());
  session.console().Note(absl::StrCat(EscapeLine(name), " is being taken down"));
  return kExitOk;
}

}  // namespace

ExitCode VerbDown(Session& session) {
  const auto client = session.Connect();
  if (!client.ok()) return session.Fail(client.status());
  const auto names = Names(session, **client);
  if (!names.ok()) return session.Fail(names.status());
  ExitCode worst = kExitOk;
  for (const std::string& name : *names) {
    const ExitCode code = session.options().no_wait ? DeleteOnly(session, **client, name)
                                                    : TakeDown(session, **client, name, "", session.options().graceful);
    if (code == kExitInterrupted) return code;
    if (worst == kExitOk) worst = code;
  }
  return worst;
}

}  // namespace mayfly
