#include "absl/strings/str_cat.h"
#include "client/cli/offline_spec.h"
#include "client/cli/outcome.h"
#include "client/cli/output.h"
#include "client/cli/verbs.h"
#include "mayfly/base/text.h"

namespace mayfly {
namespace {

v1::Diagnostics AsMessage(const Diagnostics& diagnostics) {
  v1::Diagnostics message;
  for (const Diagnostic& diagnostic : diagnostics) {
    v1::Diagnostic* out = message.add_diagnostics();
    out->set_severity(diagnostic.severity == Severity::kError ? v1::Diagnostic::ERROR : v1::Diagnostic::WARNING);
    out->set_file(diagnostic.pos.file);
    out->set_line(diagnostic.pos.line);
    out->set_column(diagnostic.pos.column);
    out->set_message(diagnostic.message);
    out->set_hint(diagnostic.hint);
    out->set_source_line(diagnostic.source_line);
  }
  return message;
}

std::string Counted(size_t count, absl::string_view noun) {
  return absl::StrCat(count, " ", noun, count == 1 ? "" : "s");
}

}  // namespace

// The findings are the data: they go to standard output, and errors make it exit with 3.
ExitCode VerbLint(Session& session) {
  const auto loaded = LoadOffline(session);
  if (!loaded.ok()) return session.Fail(loaded.status());
  Console& console = session.console();
  const ExitCode code = loaded->ok() ? kExitOk : kExitSpec;
  if (session.options().format == Format::kJson) {
    console.Out(ToJson(AsMessage(loaded->diagnostics)));
    return code;
  }
  if (session.options().format == Format::kYaml) {
    console.Out(JsonToYaml(ToJson(AsMessage(loaded->diagnostics))));
    return code;
  }
  if (!loaded->diagnostics.empty()) console.Out(FormatDiagnostics(loaded->diagnostics));
  if (loaded->ok()) {
    const Catalogue& catalogue = loaded->catalogue;
    console.Note(absl::StrCat(EscapeLine(catalogue.name), ": ", Counted(catalogue.services.size(), "service"), " and ",
                              Counted(catalogue.tests.size(), "test job"), ", no errors"));
  }
  return code;
}

}  // namespace mayfly
