#include "client/lib/diagnostics.h"

#include <utility>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "client/lib/provisioner_client.h"

namespace mayfly {

Diagnostic FromProto(const v1::Diagnostic& diagnostic) {
  Diagnostic out;
  out.severity = diagnostic.severity() == v1::Diagnostic::WARNING ? Severity::kWarning : Severity::kError;
  out.pos = {diagnostic.file(), diagnostic.line(), diagnostic.column()};
  out.message = diagnostic.message();
  out.hint = diagnostic.hint();
  out.source_line = diagnostic.source_line();
  return out;
}

std::string FormatPayload(const absl::Status& status) {
  const auto payload = status.GetPayload(kDiagnosticsPayload);
  v1::Diagnostics message;
  if (!payload.has_value() || !message.ParseFromString(std::string(*payload)) || message.diagnostics().empty())
    return "";
  Diagnostics diagnostics;
  for (const v1::Diagnostic& diagnostic : message.diagnostics()) diagnostics.push_back(FromProto(diagnostic));
  std::string text = FormatDiagnostics(std::move(diagnostics));
  if (message.omitted() > 0) absl::StrAppend(&text, "and ", message.omitted(), " more: `mayfly lint` shows all\n");
  return text;
}

}  // namespace mayfly
