#include <vector>

#include "client/cli/outcome.h"
#include "client/cli/output.h"
#include "client/cli/verbs.h"
#include "client/lib/convert.h"
#include "mayfly/base/text.h"

namespace mayfly {
namespace {

std::string Table(const v1::ListEnvironmentsResponse& list, const Look& look, absl::Time now) {
  std::vector<std::vector<std::string>> rows = {{"NAME", "STATE", "VERDICT", "ENGINE", "OWNER", "AGE", "EXPIRES IN"}};
  for (const v1::Environment& environment : list.environments()) {
    const bool expires = environment.has_expire_time() && environment.state() != v1::Environment::DELETED;
    rows.push_back({EscapeLine(environment.name()), v1::Environment::State_Name(environment.state()),
                    VerdictWord(environment.verdict()), EscapeLine(environment.engine()),
                    EscapeLine(environment.owner()), HumanDuration(now - ToTime(environment.create_time())),
                    expires ? HumanDuration(ToTime(environment.expire_time()) - now) : ""});
  }
  return RenderTable(rows, look);
}

}  // namespace

ExitCode VerbList(Session& session) {
  const auto client = session.Connect();
  if (!client.ok()) return session.Fail(client.status());
  v1::ListEnvironmentsRequest request;
  request.set_filter(session.options().filter);
  request.set_show_deleted(session.options().all);
  request.mutable_labels()->insert(session.options().labels.begin(), session.options().labels.end());
  const auto list = (*client)->ListEnvironments(request);
  if (!list.ok()) return session.Fail(list.status());
  Console& console = session.console();
  switch (session.options().format) {
    case Format::kJson:
      console.Out(ToJson(*list));
      return kExitOk;
    case Format::kYaml:
      console.Out(JsonToYaml(ToJson(*list)));
      return kExitOk;
    case Format::kName:
      for (const v1::Environment& environment : list->environments())
        console.Out(EscapeLine(environment.name()) + "\n");
      return kExitOk;
    case Format::kTable:
      break;
    default:
      return Usage(session, "list prints -o table, json, yaml or name");
  }
  if (list->environments().empty()) {
    console.Note("no environments: `mayfly up` makes one");
  } else {
    console.Out(Table(*list, console.out(), absl::Now()));
  }
  return kExitOk;
}

}  // namespace mayfly
