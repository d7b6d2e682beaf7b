#include "client/cli/key_values.h"

#include <cstdlib>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "client/lib/files.h"
#include "mayfly/base/status.h"
#include "mayfly/base/text.h"

namespace mayfly {

absl::Status InsertPair(absl::string_view pair, KeyValues& target) {
  const size_t equals = pair.find('=');
  if (equals == absl::string_view::npos || equals == 0) {
    return absl::InvalidArgumentError(absl::StrCat("'", EscapeLine(pair), "' is not KEY=VALUE"));
  }
  target[std::string(pair.substr(0, equals))] = std::string(pair.substr(equals + 1));
  return absl::OkStatus();
}

absl::Status InsertFile(const std::string& path, KeyValues& target) {
  MAYFLY_ASSIGN_OR_RETURN(const std::string text, ReadFile(path, 1 << 20));
  int number = 0;
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    ++number;
    line = absl::StripAsciiWhitespace(line);
    absl::ConsumePrefix(&line, "export ");
    if (line.empty() || line.front() == '#') continue;
    const size_t equals = line.find('=');
    if (equals == absl::string_view::npos || equals == 0) {
      return absl::InvalidArgumentError(absl::StrCat(path, ":", number, ": this is not KEY=VALUE"));
    }
    absl::string_view value = line.substr(equals + 1);
    if (value.size() >= 2 && (value.front() == '"' || value.front() == '\'') && value.back() == value.front()) {
      value = value.substr(1, value.size() - 2);
    }
    target[std::string(line.substr(0, equals))] = std::string(value);
  }
  return absl::OkStatus();
}

absl::Status InsertSecret(const std::string& text, KeyValues& target) {
  if (text.find('=') != std::string::npos) return InsertPair(text, target);
  const char* value = getenv(text.c_str());
  if (value == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat("there is no variable ", EscapeLine(text), " to take it from"));
  }
  target[text] = value;
  return absl::OkStatus();
}

}  // namespace mayfly
