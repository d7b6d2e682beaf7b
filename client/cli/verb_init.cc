#include "absl/strings/str_cat.h"
#include "client/cli/first_service.h"
#include "client/cli/outcome.h"
#include "client/cli/verbs.h"
#include "client/lib/files.h"
#include "mayfly/base/text.h"

namespace mayfly {

ExitCode VerbInit(Session& session) {
  if (session.options().words.size() > 1) return Usage(session, "one folder at a time");
  const std::string folder = session.options().words.empty() ? "." : session.options().words[0];
  const auto service = GuessService(folder);
  if (!service.ok()) return session.Fail(service.status());
  const std::string path = folder == "." ? "service.yml" : absl::StrCat(folder, "/service.yml");
  const absl::Status written = WriteNewFile(path, RenderFirstService(*service));
  if (absl::IsAlreadyExists(written)) {
    return session.Fail(
        absl::AlreadyExistsError(absl::StrCat(EscapeLine(path), " exists already and is left as it is")));
  }
  if (!written.ok()) return session.Fail(written);
  Console& console = session.console();
  console.Note(
      absl::StrCat("wrote ", EscapeLine(path),
                   service->origin.empty() ? ": fill in `run`" : ", guessed from " + EscapeLine(service->origin)));
  console.Note("  editors complete it with: mayfly schema > service.schema.json");
  console.Note("  check it:  mayfly lint     try it:  mayfly up");
  return kExitOk;
}

}  // namespace mayfly
