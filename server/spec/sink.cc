#include "server/spec/sink.h"

#include <utility>

namespace mayfly {

void Sink::Error(SourcePos pos, std::string message, std::string hint) {
  Add(Severity::kError, std::move(pos), std::move(message), std::move(hint));
}

void Sink::Warning(SourcePos pos, std::string message, std::string hint) {
  Add(Severity::kWarning, std::move(pos), std::move(message), std::move(hint));
}

SourcePos Sink::Locate(const SourcePos& from, absl::string_view part, int skip) const {
  const auto file = files_.find(from.file);
  return file == files_.end() ? from : LocateFrom(*file->second, from, part, skip);
}

void Sink::Add(Severity severity, SourcePos pos, std::string message, std::string hint) {
  if (diagnostics_.size() > kMost) return;
  if (diagnostics_.size() == kMost) {
    diagnostics_.push_back(
        {Severity::kError, {pos.file, 0, 0}, "too many problems to show: mend the ones above first"});
    return;
  }
  std::string line;
  if (const auto file = files_.find(pos.file); file != files_.end() && pos.line > 0)
    line = file->second->Line(pos.line);
  // The same value seen on two ways (a type used by many services, an alias) is reported once.
  for (const Diagnostic& d : diagnostics_) {
    if (d.pos == pos && d.message == message) return;
  }
  diagnostics_.push_back({severity, std::move(pos), std::move(message), std::move(hint), std::move(line)});
}

}  // namespace mayfly
