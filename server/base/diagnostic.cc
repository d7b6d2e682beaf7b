#include "mayfly/base/diagnostic.h"

#include <algorithm>
#include <set>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "mayfly/base/text.h"

namespace mayfly {

std::string FormatPos(const SourcePos& pos) {
  std::string out = EscapeLine(pos.file);
  if (pos.line > 0) absl::StrAppend(&out, ":", pos.line);
  if (pos.line > 0 && pos.column > 0) absl::StrAppend(&out, ":", pos.column);
  return out;
}

bool HasErrors(const Diagnostics& diagnostics) {
  return std::any_of(diagnostics.begin(), diagnostics.end(),
                     [](const Diagnostic& d) { return d.severity == Severity::kError; });
}

std::string FormatDiagnostic(const Diagnostic& diagnostic) {
  const std::string place = FormatPos(diagnostic.pos);
  std::string out =
      absl::StrCat(place, place.empty() ? "" : ": ", diagnostic.severity == Severity::kError ? "error" : "warning",
                   ": ", EscapeLine(diagnostic.message), "\n");
  if (!diagnostic.source_line.empty()) {
    // The caret stands under the escaped text, so the part before it is escaped by itself and measured.
    const size_t before = std::min<size_t>(std::max(diagnostic.pos.column - 1, 0), diagnostic.source_line.size());
    const std::string left = EscapeLine(absl::string_view(diagnostic.source_line).substr(0, before));
    absl::StrAppend(&out, "  ", EscapeLine(diagnostic.source_line), "\n", "  ");
    // UTF-8 continuation bytes take no column of their own.
    for (const char c : left) {
      if ((static_cast<unsigned char>(c) & 0xC0) != 0x80) out.push_back(' ');
    }
    absl::StrAppend(&out, "^\n");
  }
  if (!diagnostic.hint.empty()) absl::StrAppend(&out, "  ", EscapeLine(diagnostic.hint), "\n");
  return out;
}

std::string FormatDiagnostics(Diagnostics diagnostics) {
  if (diagnostics.empty()) return "";
  std::stable_sort(diagnostics.begin(), diagnostics.end(), [](const Diagnostic& a, const Diagnostic& b) {
    return std::tie(a.pos.file, a.pos.line, a.pos.column) < std::tie(b.pos.file, b.pos.line, b.pos.column);
  });
  std::string out;
  int errors = 0;
  std::set<std::string> files;
  for (const Diagnostic& d : diagnostics) {
    absl::StrAppend(&out, FormatDiagnostic(d));
    errors += d.severity == Severity::kError;
    files.insert(d.pos.file);
  }
  const int warnings = static_cast<int>(diagnostics.size()) - errors;
  const auto count = [](int n, absl::string_view noun) { return absl::StrCat(n, " ", noun, n == 1 ? "" : "s"); };
  if (errors > 0) absl::StrAppend(&out, count(errors, "error"));
  if (warnings > 0) absl::StrAppend(&out, errors > 0 ? ", " : "", count(warnings, "warning"));
  absl::StrAppend(&out, " in ", count(static_cast<int>(files.size()), "file"), "\n");
  return out;
}

}  // namespace mayfly
