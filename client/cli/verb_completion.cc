#include "client/cli/completion.h"
#include "client/cli/outcome.h"
#include "client/cli/verbs.h"

namespace mayfly {

ExitCode VerbCompletion(Session& session) {
  const auto& words = session.options().words;
  const std::string script = words.size() == 1 ? RenderCompletion(DescribeCommandLine(), words[0]) : "";
  if (script.empty()) return Usage(session, "say for which shell: mayfly completion bash, zsh or fish");
  session.console().Out(script);
  return kExitOk;
}

}  // namespace mayfly
