#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/cli/offline_spec.h"
#include "client/cli/outcome.h"
#include "client/cli/verbs.h"
#include "mayfly/base/text.h"
#include "server/spec/explain.h"

namespace mayfly {

ExitCode VerbExplain(Session& session) {
  const auto& words = session.options().words;
  if (words.size() != 1) return Usage(session, "say which service: mayfly explain SERVICE");
  if (session.options().format != Format::kTable) {
    return Usage(session, "explain is for people and has one form; `mayfly plan -o json` has what a program needs");
  }
  const auto loaded = LoadOffline(session);
  if (!loaded.ok()) return session.Fail(loaded.status());
  const ServiceSpec* service = loaded->catalogue.FindService(words[0]);
  if (service == nullptr && !loaded->ok()) {
    // Not to be found, perhaps, for what is wrong with it.
    session.console().Error(FormatDiagnostics(loaded->diagnostics));
    return kExitSpec;
  }
  if (service == nullptr) {
    std::vector<std::string> names;
    for (const auto& [name, unused] : loaded->catalogue.services) names.push_back(name);
    const std::string near = Nearest(words[0], names);
    return session.Fail(
        absl::NotFoundError(absl::StrCat("there is no service '", words[0], "' in ", loaded->catalogue.name,
                                         near.empty() ? absl::StrCat("; there are ", absl::StrJoin(names, ", "))
                                                      : absl::StrCat("; did you mean '", near, "'?"))));
  }
  session.console().Out(RenderExplain(*service));
  if (!loaded->ok()) session.console().Note("the specs have errors: `mayfly lint` shows them");
  return kExitOk;
}

}  // namespace mayfly
