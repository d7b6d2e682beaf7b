#include "absl/strings/str_cat.h"
#include "client/cli/verbs.h"
#include "mayfly/base/version.h"

namespace mayfly {

ExitCode VerbVersion(Session& session) {
  // Asks no server: it must answer in an instant, also where none can run.
  if (session.options().format == Format::kJson) {
    session.console().Out(absl::StrCat("{\"version\": \"", Version(), "\"}\n"));
  } else {
    session.console().Out(absl::StrCat("mayfly ", Version(), "\n"));
  }
  return kExitOk;
}

}  // namespace mayfly
