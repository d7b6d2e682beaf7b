// A YAML document as a plain tree in which every value knows its place. Independent of yaml-cpp.
#ifndef MAYFLY_SERVER_SPEC_YAML_VALUE_H_
#define MAYFLY_SERVER_SPEC_YAML_VALUE_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "mayfly/base/diagnostic.h"

namespace mayfly {

// A file that was read. Everything that points into it keeps it alive.
struct SourceFile {
  std::string name;  // As shown to the user.
  std::string text;

  // The line with that 1-based number, without its end; empty when there is none.
  std::string Line(int number) const;
};
using SourceFileRef = std::shared_ptr<const SourceFile>;

// The same of any text.
std::string LineOf(absl::string_view text, int number);

struct YamlValue;
using YamlRef = std::shared_ptr<const YamlValue>;

struct YamlEntry {
  std::string key;
  int line = 0;
  int column = 0;
  YamlRef value;  // Never null.
};

// Aliases share nodes; otherwise nothing is shared. Maps keep the order of the file and hold each key once.
struct YamlValue {
  enum class Kind { kNull, kScalar, kList, kMap };

  Kind kind = Kind::kNull;
  bool plain = false;  // A scalar without quotes and not a block.
  std::string text;    // Of a scalar.
  std::vector<YamlRef> items;
  std::vector<YamlEntry> entries;
  SourceFileRef file;  // nullptr in the built-in types.
  int line = 0;        // 1-based, as in SourcePos.
  int column = 0;
  std::string layer;  // Set by merging: which layer a leaf came from; see Origin::layer.

  bool IsNull() const { return kind == Kind::kNull; }
  bool IsScalar() const { return kind == Kind::kScalar; }
  bool IsList() const { return kind == Kind::kList; }
  bool IsMap() const { return kind == Kind::kMap; }

  // nullptr when this is no map or has no such key.
  const YamlEntry* FindEntry(absl::string_view key) const;
  const YamlValue* Find(absl::string_view key) const;

  SourcePos Pos() const;
};

// "a scalar", "a list", "a map", "nothing": what stands there, for messages.
std::string DescribeKind(const YamlValue& value);

// On one line, as YAML's flow form would show it: "[a, b]", "{migrate: completed}". Long text is cut at 200 characters.
std::string FlowText(const YamlValue& value);

// The place of `part` in `file` from `from` on, or `from` when it is not there; `skip` earlier occurrences are passed
// over.
SourcePos LocateFrom(const SourceFile& file, const SourcePos& from, absl::string_view part, int skip = 0);

// The same inside the scalar `value`: searched in the source text, because quotes, escapes and blocks shift offsets.
SourcePos LocateInScalar(const YamlValue& value, absl::string_view part, int skip = 0);

}  // namespace mayfly

#endif  // MAYFLY_SERVER_SPEC_YAML_VALUE_H_
