#include "absl/strings/str_cat.h"
#include "client/cli/outcome.h"
#include "client/cli/output.h"
#include "client/cli/verbs.h"
#include "mayfly/base/text.h"

namespace mayfly {
namespace {

std::string Mark(v1::ServerInfo::Check::Result result, const Look& look) {
  switch (result) {
    case v1::ServerInfo::Check::OK:
      return Paint(look, Style::kGreen, look.unicode ? "✓" : "+");
    case v1::ServerInfo::Check::DEGRADED:
      return Paint(look, Style::kYellow, "!");
    default:
      return Paint(look, Style::kRed, look.unicode ? "✗" : "x");
  }
}

}  // namespace

ExitCode VerbDoctor(Session& session) {
  const auto client = session.Connect();
  if (!client.ok()) return session.Fail(client.status());
  v1::GetServerInfoRequest request;
  request.set_check_host(true);
  const auto info = (*client)->GetServerInfo(request);
  if (!info.ok()) return session.Fail(info.status());
  Console& console = session.console();
  const ExitCode code = info->usable() ? kExitOk : kExitHost;
  if (session.options().format == Format::kJson) {
    console.Out(ToJson(*info));
    return code;
  }
  if (session.options().format == Format::kYaml) {
    console.Out(JsonToYaml(ToJson(*info)));
    return code;
  }
  int columns = 0;
  for (const auto& check : info->checks()) columns = std::max(columns, Columns(EscapeLine(check.name())));
  for (const auto& check : info->checks()) {
    console.Out(absl::StrCat(Mark(check.result(), console.out()), " ", PadColumns(EscapeLine(check.name()), columns),
                             "  ", EscapeLine(check.detail()), "\n"));
    if (check.result() != v1::ServerInfo::Check::OK && !check.remedy().empty()) {
      console.Out(absl::StrCat("  ", std::string(static_cast<size_t>(columns), ' '),
                               "  mend it: ", EscapeLine(check.remedy()), "\n"));
    }
  }
  console.Out(absl::StrCat("engine ", EscapeLine(info->engine()), ": ",
                           info->usable() ? "environments can be made here" : "no environment can be made on this host",
                           "\n"));
  return code;
}

}  // namespace mayfly
