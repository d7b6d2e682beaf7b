// Collects the diagnostics of one load; never stops at the first.
#ifndef MAYFLY_SERVER_SPEC_SINK_H_
#define MAYFLY_SERVER_SPEC_SINK_H_

#include <map>
#include <string>

#include "mayfly/base/diagnostic.h"
#include "server/spec/yaml_value.h"

namespace mayfly {

// Not thread-safe. At most kMost diagnostics are kept, and the last one says that there are more.
class Sink {
 public:
  static constexpr size_t kMost = 500;

  // Makes the file's lines available to diagnostics that only know a SourcePos.
  void AddFile(const SourceFileRef& file) { files_[file->name] = file; }

  void Error(SourcePos pos, std::string message, std::string hint = "");
  void Warning(SourcePos pos, std::string message, std::string hint = "");

  // Where `part` stands at or behind `from`, as LocateFrom; `from` when its file is not known.
  SourcePos Locate(const SourcePos& from, absl::string_view part, int skip = 0) const;

  bool HasErrors() const { return mayfly::HasErrors(diagnostics_); }
  Diagnostics Take() { return std::move(diagnostics_); }
  size_t size() const { return diagnostics_.size(); }

 private:
  void Add(Severity severity, SourcePos pos, std::string message, std::string hint);

  std::map<std::string, SourceFileRef> files_;
  Diagnostics diagnostics_;
};

}  // namespace mayfly

#endif  // MAYFLY_SERVER_SPEC_SINK_H_
