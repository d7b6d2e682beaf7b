#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/cli/outcome.h"
#include "client/cli/output.h"
#include "client/cli/verbs.h"
#include "client/lib/convert.h"
#include "client/lib/diagnostics.h"
#include "mayfly/base/text.h"

namespace mayfly {
namespace {

std::string Table(const v1::PlanEnvironmentResponse& plan, const Look& look) {
  std::vector<std::vector<std::string>> rows = {{"NODE", "KIND", "EXPECTED", "NEEDS", "WHY"}};
  for (const v1::Node& node : plan.nodes()) {
    rows.push_back({EscapeLine(node.name()), KindWord(node.kind()),
                    node.has_expected() ? HumanDuration(ToDuration(node.expected())) : "",
                    EscapeLine(absl::StrJoin(node.needs(), ", ")), EscapeLine(absl::StrJoin(node.why(), "; "))});
  }
  return RenderTable(rows, look);
}

}  // namespace

ExitCode VerbPlan(Session& session) {
  auto create = CreateRequestFor(session);
  if (!create.ok()) return session.Fail(create.status());
  // What `run` would do, or `up` for chosen services.
  create->set_all_tests(create->services().empty() && create->tests().empty());
  const auto client = session.Connect();
  if (!client.ok()) return session.Fail(client.status());
  v1::PlanEnvironmentRequest request;
  *request.mutable_request() = *create;
  const auto plan = (*client)->PlanEnvironment(request);
  if (!plan.ok()) return session.Fail(plan.status());
  Console& console = session.console();
  Diagnostics warnings;
  for (const v1::Diagnostic& diagnostic : plan->diagnostics()) warnings.push_back(FromProto(diagnostic));
  for (const Diagnostic& warning : warnings) console.Error(FormatDiagnostic(warning));
  switch (session.options().format) {
    case Format::kJson:
      console.Out(ToJson(*plan));
      return kExitOk;
    case Format::kYaml:
      console.Out(JsonToYaml(ToJson(*plan)));
      return kExitOk;
    case Format::kName:
      for (const v1::Node& node : plan->nodes()) console.Out(EscapeLine(node.name()) + "\n");
      return kExitOk;
    case Format::kDot:
      console.Out(RenderDot(plan->catalogue(), plan->nodes()));
      return kExitOk;
    case Format::kTable:
      break;
    default:
      return Usage(session, "plan prints -o table, json, yaml, name or dot");
  }
  console.Out(Table(*plan, console.out()));
  if (plan->has_critical_path()) {
    console.Note(absl::StrCat(plan->nodes_size(), plan->nodes_size() == 1 ? " node" : " nodes", "; critical path ",
                              HumanDuration(ToDuration(plan->critical_path()))));
  }
  return kExitOk;
}

}  // namespace mayfly
