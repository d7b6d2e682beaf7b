#include "client/cli/spec_path.h"

#include <algorithm>
#include <filesystem>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "client/lib/files.h"
#include "mayfly/base/text.h"

namespace mayfly {
namespace {

namespace fs = std::filesystem;

bool IsFile(const fs::path& path) {
  std::error_code error;
  return fs::is_regular_file(path, error);
}

// What is left of a name when only what a DNS label may hold is kept.
std::string AsLabel(absl::string_view text, size_t max_length) {
  std::string label;
  for (const char c : text) {
    if (absl::ascii_isalnum(c)) {
      label += absl::ascii_tolower(c);
    } else if (!label.empty() && label.back() != '-') {
      label += '-';
    }
  }
  if (label.size() > max_length) label.resize(max_length);
  while (!label.empty() && label.back() == '-') label.pop_back();
  return label.empty() ? "environment" : label;
}

// The value of a line `name: shop` or `name: "shop"  # comment`; "" when it is none.
absl::string_view NameOfLine(absl::string_view line) {
  if (!absl::ConsumePrefix(&line, "name:")) return "";
  line = absl::StripLeadingAsciiWhitespace(line);
  if (line.empty()) return "";
  if (line.front() == '"' || line.front() == '\'') {
    const size_t end = line.find(line.front(), 1);
    return end == absl::string_view::npos ? "" : line.substr(1, end - 1);
  }
  return line.substr(0, line.find_first_of(" \t\r#"));
}

}  // namespace

absl::StatusOr<std::string> ResolveSpec(absl::string_view path, absl::string_view start) {
  std::error_code error;
  if (!path.empty()) {
    const fs::path given = fs::absolute(fs::path(std::string(path)), error).lexically_normal();
    if (!fs::exists(given, error)) return absl::NotFoundError(absl::StrCat(EscapeLine(path), " does not exist"));
    std::string text = given.string();
    if (text.size() > 1 && text.back() == '/') text.pop_back();
    return text;
  }
  for (const char* name : {"envspec.yml", "service.yml"}) {
    for (fs::path folder(std::string{start}); !folder.empty(); folder = folder.parent_path()) {
      if (IsFile(folder / name)) return (folder / name).string();
      if (folder == folder.root_path()) break;
    }
  }
  return absl::NotFoundError(
      "no envspec.yml or service.yml here or in a folder above: name one with -f PATH, or write a first one with "
      "`mayfly init`");
}

std::string PeekName(absl::string_view spec, size_t max_length) {
  fs::path path{std::string(spec)};
  std::error_code error;
  const fs::path folder = fs::is_directory(path, error) ? path : path.parent_path();
  // A service.yml alone makes a catalogue that is named after its folder.
  if (fs::is_directory(path, error)) path /= "envspec.yml";
  if (path.filename() != "service.yml") {
    if (const auto text = ReadFile(path.string(), 1 << 20); text.ok()) {
      for (absl::string_view line : absl::StrSplit(*text, '\n')) {
        const absl::string_view name = NameOfLine(line);
        if (!name.empty()) return AsLabel(name, max_length);
      }
    }
  }
  return AsLabel(folder.filename().string(), max_length);
}

}  // namespace mayfly
