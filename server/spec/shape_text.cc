#include "server/spec/shape_text.h"

#include "absl/algorithm/container.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "mayfly/base/text.h"
#include "server/spec/scalars.h"

namespace mayfly {
namespace {

std::string Trimmed(double number) {
  const auto whole = static_cast<int64_t>(number);
  return static_cast<double>(whole) == number ? absl::StrCat(whole) : absl::StrCat(number);
}

absl::Status CheckNode(absl::string_view text) {
  const std::vector<absl::string_view> parts = absl::StrSplit(text, '.');
  if (parts.size() > 2) {
    return absl::InvalidArgumentError(
        absl::StrCat("'", EscapeLine(text.substr(0, 80)), "' is neither a service nor <service>.<job>"));
  }
  for (const absl::string_view part : parts) {
    if (absl::Status status = CheckName(part); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status CheckOutput(absl::string_view text) {
  for (const char* word : {"host", "port", "address"}) {
    if (text == word)
      return absl::InvalidArgumentError(
          absl::StrCat("'", text, "' is what every service has anyway: write another name"));
  }
  const bool good = !text.empty() && absl::ascii_isalpha(text[0]) &&
                    absl::c_all_of(text, [](char c) { return absl::ascii_isalnum(c) || c == '_' || c == '-'; });
  if (good) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "'", EscapeLine(text.substr(0, 80)), "' is not an output's name: a letter, then letters, digits, '_' and '-'"));
}

// With the name that was probably meant: "My Shop" is my-shop.
absl::Status CheckNameHelpfully(absl::string_view text) {
  const absl::Status status = CheckName(text);
  if (status.ok()) return status;
  std::string meant = absl::AsciiStrToLower(text);
  for (char& c : meant) c = absl::ascii_isalnum(c) ? c : '-';
  while (absl::EndsWith(meant, "-")) meant.pop_back();
  while (absl::StartsWith(meant, "-")) meant.erase(0, 1);
  return CheckName(meant).ok() ? absl::InvalidArgumentError(absl::StrCat(status.message(), ": write ", meant)) : status;
}

absl::Status CheckVariableHelpfully(absl::string_view text) {
  const absl::Status status = CheckVariable(text);
  std::string meant(text);
  for (char& c : meant) c = absl::ascii_isalnum(c) ? c : '_';
  if (!meant.empty() && absl::ascii_isdigit(meant[0])) meant = absl::StrCat("_", meant);
  if (status.ok() || !CheckVariable(meant).ok() || meant.size() > 60) return status;
  return absl::InvalidArgumentError(absl::StrCat(status.message(), ": write ", meant));
}

absl::Status CheckInRange(const Shape& shape, double value, absl::string_view text) {
  if (value >= shape.min && value <= shape.max) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(EscapeLine(text.substr(0, 40)), " is out of range: write ",
                                                 Trimmed(shape.min), " to ", Trimmed(shape.max)));
}

absl::Status CheckWord(const Shape& shape, const std::string& text) {
  if (absl::c_linear_search(shape.words, text)) return absl::OkStatus();
  const std::string near = Nearest(text, shape.words);
  return absl::InvalidArgumentError(absl::StrCat("'", EscapeLine(text.substr(0, 80)), "' is not known here: write ",
                                                 near.empty() ? absl::StrJoin(shape.words, " or ") : near));
}

absl::Status CheckPlainText(const std::string& text) {
  if (text.empty()) return absl::InvalidArgumentError("the text is empty");
  if (absl::StrContains(text, "${")) return absl::InvalidArgumentError("references (${...}) are not resolved here");
  if (absl::StrContains(text, "\n")) return absl::InvalidArgumentError("only one line is allowed here");
  if (text.size() > 4096) return absl::InvalidArgumentError("longer than 4096 characters");
  return absl::OkStatus();
}

absl::Status CheckHttpPath(const std::string& text) {
  if (absl::StartsWith(text, "/") && !absl::StrContains(text, " ")) return CheckPlainText(text);
  // Of a URL the path is meant: host and port are the service's own.
  std::string path = text;
  if (const size_t scheme = text.find("://"); scheme != std::string::npos) {
    const size_t slash = text.find('/', scheme + 3);
    path = slash == std::string::npos ? "" : text.substr(slash + 1);
  }
  return absl::InvalidArgumentError(
      absl::StrCat("'", EscapeLine(text.substr(0, 80)), "' is not a path: write /", EscapeLine(path.substr(0, 80))));
}

std::string Plural(Form form) {
  switch (form) {
    case Form::kName:
      return "names";
    case Form::kNode:
      return "services";
    case Form::kHostPort:
      return "host:port";
    case Form::kInnerPath:
    case Form::kPath:
      return "paths";
    case Form::kTemplate:
      return "words";
    default:
      return "values";
  }
}

}  // namespace

absl::Status CheckText(const Shape& shape, const std::string& text) {
  switch (shape.form) {
    case Form::kName:
      return CheckNameHelpfully(text);
    case Form::kNode:
      return CheckNode(text);
    case Form::kVariable:
      return CheckVariableHelpfully(text);
    case Form::kOutput:
      return CheckOutput(text);
    case Form::kBool:
      return ParseBool(text).status();
    case Form::kInt: {
      const auto number = ParseInt(text);
      return number.ok() ? CheckInRange(shape, static_cast<double>(*number), text) : number.status();
    }
    case Form::kNumber: {
      const auto number = ParseNumber(text);
      return number.ok() ? CheckInRange(shape, *number, text) : number.status();
    }
    case Form::kDuration:
      return ParseDuration(text).status();
    case Form::kSize:
      return ParseSize(text).status();
    case Form::kMode:
      return ParseMode(text).status();
    case Form::kRegex:
      return CheckRegex(text);
    case Form::kSignal:
      return ParseSignal(text).status();
    case Form::kWord:
      return CheckWord(shape, text);
    case Form::kPortRef:
      return text.find_first_not_of("0123456789") == std::string::npos ? CheckText(Int(1, 65535), text)
                                                                       : CheckName(text);
    case Form::kHttpPath:
      return CheckHttpPath(text);
    case Form::kInnerPath:
      return CheckInnerPath(text);
    case Form::kGrpcService:
      return text.empty() ? absl::OkStatus() : CheckPlainText(text);
    case Form::kHostPort:
      return CheckHostPort(text);
    case Form::kText:
    case Form::kPath:
      return CheckPlainText(text);
    default:
      return absl::OkStatus();
  }
}

std::string Expected(const Shape& shape) {
  switch (shape.form) {
    case Form::kBool:
      return "true or false";
    case Form::kInt:
      return absl::StrCat("a whole number from ", Trimmed(shape.min), " to ", Trimmed(shape.max));
    case Form::kNumber:
      return absl::StrCat("a number from ", Trimmed(shape.min), " to ", Trimmed(shape.max));
    case Form::kDuration:
      return "a duration such as 90s";
    case Form::kSize:
      return "a size such as 128Mi";
    case Form::kMode:
      return "a file mode such as \"0644\"";
    case Form::kRegex:
      return "a regular expression";
    case Form::kSignal:
      return "a signal such as TERM";
    case Form::kWord:
      return absl::StrJoin(shape.words, " or ");
    case Form::kHttpPath:
      return "a path such as /healthz";
    case Form::kPath:
    case Form::kInnerPath:
      return "a path";
    case Form::kHostPort:
      return "host:port";
    case Form::kPortRef:
      return "a port's number or name";
    case Form::kGrpcService:
      return "true or the name of a gRPC service";
    case Form::kName:
      return "a name";
    case Form::kNode:
      return "a service's name";
    case Form::kCommand:
      return "a command: a text or a list of words";
    case Form::kList:
      return shape.item->form == Form::kEither ? absl::StrCat("a list of ", Plural(shape.item->item->form))
                                               : absl::StrCat("a list of ", Plural(shape.item->form));
    case Form::kMap:
    case Form::kTable:
      return "a map";
    case Form::kEither:
      return absl::StrCat(Expected(*shape.item), ", or ", Expected(*shape.other));
    default:
      return "a text";
  }
}

}  // namespace mayfly
