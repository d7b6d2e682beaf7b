#include "absl/strings/str_cat.h"
#include "client/cli/outcome.h"
#include "client/cli/output.h"
#include "client/cli/verbs.h"
#include "client/lib/convert.h"
#include "client/lib/server_finder.h"
#include "mayfly/base/text.h"
#include "mayfly/base/version.h"

namespace mayfly {

ExitCode VerbServerStatus(Session& session) {
  const auto client = session.Connect(/*may_start=*/false);
  if (!client.ok()) return session.Fail(client.status());
  const auto info = (*client)->GetServerInfo({});
  if (!info.ok()) return session.Fail(info.status());
  Console& console = session.console();
  if (session.options().format == Format::kJson) {
    console.Out(ToJson(*info));
  } else if (session.options().format == Format::kYaml) {
    console.Out(JsonToYaml(ToJson(*info)));
  } else {
    console.Out(absl::StrCat("mayflyd ", EscapeLine(info->version()), "  process ", info->pid(), "  up ",
                             HumanDuration(absl::Now() - ToTime(info->start_time())), "  environments ",
                             info->environments(), "  state ", EscapeLine(info->state_dir()), "\n"));
    if (info->version() != Version()) {
      console.Note(
          absl::StrCat("this is mayfly ", Version(), ": `mayfly server stop` lets the next command start its own"));
    }
  }
  return kExitOk;
}

ExitCode VerbServerStop(Session& session) {
  // One that is named with --server may run anywhere: its end cannot be seen.
  const bool per_user = session.options().server.empty();
  const auto where = session.PerUserServer();
  if (per_user && !where.ok()) return session.Fail(where.status());
  if (per_user) {
    const auto server = FindSettledServer(*where);
    if (!server.ok() && !absl::IsNotFound(server.status())) return session.Fail(server.status());
  }
  const auto client = session.Connect(/*may_start=*/false);
  if (!client.ok() && absl::IsNotFound(client.status())) {
    session.console().Note("no server runs");
    return kExitOk;
  }
  if (!client.ok()) return session.Fail(client.status());
  const auto stop = [&] {
    v1::StopServerRequest request;
    request.set_force(session.options().force);
    return (*client)->StopServer(request);
  };
  const absl::Status status = per_user ? EndServer(*where, stop) : stop();
  if (!status.ok()) {
    const ExitCode code = session.Fail(status);
    if (absl::IsFailedPrecondition(status)) {
      session.console().Error(
          "  --force stops it all the same: environments live on and the next server takes them over");
      return kExitConflict;
    }
    return code;
  }
  session.console().Note(per_user ? "the server has stopped" : "the server stops");
  return kExitOk;
}

}  // namespace mayfly
