#include "client/cli/outcome.h"
#include "client/cli/verbs.h"
#include "server/spec/schema.h"

namespace mayfly {

ExitCode VerbSchema(Session& session) {
  const auto& words = session.options().words;
  const std::string kind = words.empty() ? "service" : words[0];
  if (words.size() > 1 || (kind != "service" && kind != "envspec")) {
    return Usage(session, "say of which file: mayfly schema service, or mayfly schema envspec");
  }
  session.console().Out(JsonSchema(kind == "service" ? SpecKind::kService : SpecKind::kEnvspec));
  return kExitOk;
}

}  // namespace mayfly
