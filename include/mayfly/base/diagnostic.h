// A message about a spec, with its place. A Status says that an operation failed; a Diagnostic says what is wrong with
// something a user wrote, and where. Readers collect all of them and never stop at the first.
#ifndef MAYFLY_BASE_DIAGNOSTIC_H_
#define MAYFLY_BASE_DIAGNOSTIC_H_

#include <string>
#include <vector>

namespace mayfly {

// A place in a file. `line` and `column` are 1-based, as editors show them; 0 means unknown. `column` counts bytes.
struct SourcePos {
  std::string file;  // As given by the user: relative to where the command ran, or absolute.
  int line = 0;
  int column = 0;

  friend bool operator==(const SourcePos&, const SourcePos&) = default;
};

// "file:line:col", leaving out what is unknown.
std::string FormatPos(const SourcePos& pos);

enum class Severity { kError, kWarning };

struct Diagnostic {
  Severity severity = Severity::kError;
  SourcePos pos;
  std::string message;      // One sentence, lower case, no full stop: "unknown key 'prot'".
  std::string hint;         // What to do, may be empty: "did you mean 'port'?".
  std::string source_line;  // The line of the file at `pos`, for the caret; empty when not available.
};

using Diagnostics = std::vector<Diagnostic>;

bool HasErrors(const Diagnostics& diagnostics);

// The text users see:
//   services/cart/service.yml:3:1: error: unknown key 'prot'
//     prot: 8080
//     ^
//     did you mean 'port'?
// Control characters of the source line are shown escaped. Ends with a newline.
std::string FormatDiagnostic(const Diagnostic& diagnostic);

// All of them, in order of file, line and column, followed by a count: "2 errors, 1 warning in 2 files".
std::string FormatDiagnostics(Diagnostics diagnostics);

}  // namespace mayfly

#endif  // MAYFLY_BASE_DIAGNOSTIC_H_
