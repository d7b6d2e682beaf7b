#include "server/spec/yaml_value.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace mayfly {

namespace {

// Offset of the 1-based line's first byte; npos past the end.
size_t LineStart(absl::string_view text, int number) {
  size_t begin = 0;
  for (int line = 1; line < number; ++line) {
    const size_t end = text.find('\n', begin);
    if (end == absl::string_view::npos) return absl::string_view::npos;
    begin = end + 1;
  }
  return begin;
}

}  // namespace

std::string SourceFile::Line(int number) const {
  return LineOf(text, number);
}

std::string LineOf(absl::string_view text, int number) {
  if (number < 1) return "";
  const size_t begin = LineStart(text, number);
  if (begin == absl::string_view::npos) return "";
  size_t end = text.find('\n', begin);
  if (end == absl::string_view::npos) end = text.size();
  if (end > begin && text[end - 1] == '\r') --end;
  return std::string(text.substr(begin, end - begin));
}

const YamlEntry* YamlValue::FindEntry(absl::string_view key) const {
  for (const YamlEntry& entry : entries) {
    if (entry.key == key) return &entry;
  }
  return nullptr;
}

const YamlValue* YamlValue::Find(absl::string_view key) const {
  const YamlEntry* entry = FindEntry(key);
  return entry == nullptr ? nullptr : entry->value.get();
}

SourcePos YamlValue::Pos() const {
  if (file == nullptr) return {};
  return {file->name, line, column};
}

std::string DescribeKind(const YamlValue& value) {
  switch (value.kind) {
    case YamlValue::Kind::kNull:
      return "nothing";
    case YamlValue::Kind::kScalar:
      return "a single value";
    case YamlValue::Kind::kList:
      return "a list";
    case YamlValue::Kind::kMap:
      return "a map";
  }
  return "";
}

std::string FlowText(const YamlValue& value) {
  std::string out;
  switch (value.kind) {
    case YamlValue::Kind::kNull:
      return "null";
    case YamlValue::Kind::kScalar:
      out = value.text;
      break;
    case YamlValue::Kind::kList:
      out = absl::StrCat(
          "[",
          absl::StrJoin(value.items, ", ",
                        [](std::string* to, const YamlRef& item) { absl::StrAppend(to, FlowText(*item)); }),
          "]");
      break;
    case YamlValue::Kind::kMap:
      out = absl::StrCat("{",
                         absl::StrJoin(value.entries, ", ",
                                       [](std::string* to, const YamlEntry& entry) {
                                         absl::StrAppend(to, entry.key, ": ", FlowText(*entry.value));
                                       }),
                         "}");
      break;
  }
  constexpr size_t kLongest = 200;
  if (out.size() > kLongest) out = absl::StrCat(out.substr(0, kLongest), "...");
  return out;
}

SourcePos LocateFrom(const SourceFile& file, const SourcePos& from, absl::string_view part, int skip) {
  const std::string& text = file.text;
  const size_t line_start = LineStart(text, from.line);
  if (line_start == absl::string_view::npos || part.empty() || from.line < 1) return from;
  size_t found = line_start + std::max(from.column - 1, 0);
  for (int i = 0; i <= skip; ++i) {
    found = text.find(part.data(), i == 0 ? found : found + part.size(), part.size());
    if (found == std::string::npos) return from;
  }
  SourcePos pos = from;
  size_t begin = line_start;
  for (size_t end = text.find('\n', begin); end < found; end = text.find('\n', begin)) {
    begin = end + 1;
    ++pos.line;
  }
  pos.column = static_cast<int>(found - begin) + 1;
  return pos;
}

SourcePos LocateInScalar(const YamlValue& value, absl::string_view part, int skip) {
  return value.file == nullptr ? value.Pos() : LocateFrom(*value.file, value.Pos(), part, skip);
}

}  // namespace mayfly
