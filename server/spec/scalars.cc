#include "server/spec/scalars.h"

#include <csignal>
#include <cstdlib>
#include <map>

#include "absl/algorithm/container.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "mayfly/base/text.h"
#include "re2/re2.h"

namespace mayfly {
namespace {

const std::map<std::string, int>& Signals() {
  static const auto& signals =
      *new std::map<std::string, int>{{"TERM", SIGTERM}, {"INT", SIGINT},   {"QUIT", SIGQUIT}, {"HUP", SIGHUP},
                                      {"KILL", SIGKILL}, {"USR1", SIGUSR1}, {"USR2", SIGUSR2}, {"WINCH", SIGWINCH}};
  return signals;
}

std::string Shown(absl::string_view text) {
  constexpr size_t kLongest = 60;
  return EscapeLine(text.size() <= kLongest ? std::string(text) : absl::StrCat(text.substr(0, kLongest), "..."));
}

bool AllDigits(absl::string_view text) {
  for (const char c : text) {
    if (!absl::ascii_isdigit(c)) return false;
  }
  return !text.empty();
}

}  // namespace

absl::StatusOr<bool> ParseBool(absl::string_view text) {
  if (text == "true") return true;
  if (text == "false") return false;
  const std::string lower = absl::AsciiStrToLower(text);
  const bool yes = lower == "yes" || lower == "on" || lower == "y" || lower == "true" || lower == "1";
  const bool no = lower == "no" || lower == "off" || lower == "n" || lower == "false" || lower == "0";
  return absl::InvalidArgumentError(absl::StrCat("'", Shown(text), "' is not a boolean: write ",
                                                 yes  ? "true"
                                                 : no ? "false"
                                                      : "true or false"));
}

absl::StatusOr<int64_t> ParseInt(absl::string_view text) {
  absl::string_view digits = text;
  if (!digits.empty() && digits[0] == '-') digits.remove_prefix(1);
  int64_t value = 0;
  if (digits.size() > 1 && digits[0] == '0') {
    if (AllDigits(digits)) {
      const absl::string_view decimal = digits.substr(std::min(digits.find_first_not_of('0'), digits.size() - 1));
      const bool octal = digits.find_first_of("89") == absl::string_view::npos;
      return absl::InvalidArgumentError(absl::StrCat(
          "'", Shown(text), "' has a leading zero, which some read as octal: write ", decimal,
          octal ? absl::StrCat(", or ", std::strtoll(std::string(digits).c_str(), nullptr, 8), " if octal was meant")
                : ""));
    }
    if (digits[1] == 'o' || digits[1] == 'x' || digits[1] == 'b') {
      return absl::InvalidArgumentError(
          absl::StrCat("'", Shown(text), "' is not a decimal number: write it in decimal"));
    }
  }
  if (!AllDigits(digits) || !absl::SimpleAtoi(text, &value)) {
    return absl::InvalidArgumentError(absl::StrCat("'", Shown(text), "' is not a whole number"));
  }
  return value;
}

absl::StatusOr<double> ParseNumber(absl::string_view text) {
  double value = 0;
  const bool plausible = text.find_first_not_of("0123456789.") == absl::string_view::npos;
  if (!plausible || !absl::SimpleAtod(text, &value)) {
    return absl::InvalidArgumentError(absl::StrCat("'", Shown(text), "' is not a number: write 2 or 0.5"));
  }
  return value;
}

absl::StatusOr<int> ParseMode(absl::string_view text) {
  const bool octal =
      text.size() >= 3 && text.size() <= 5 && text.find_first_not_of("01234567") == absl::string_view::npos;
  const long value = octal ? std::strtol(std::string(text).c_str(), nullptr, 8) : -1;
  if (value < 0 || value > 07777) {
    return absl::InvalidArgumentError(absl::StrCat("'", Shown(text), "' is not a file mode: write \"0644\""));
  }
  return static_cast<int>(value);
}

absl::StatusOr<int> ParseSignal(absl::string_view text) {
  std::string name = absl::AsciiStrToUpper(text);
  if (absl::StartsWith(name, "SIG")) name = name.substr(3);
  const auto found = Signals().find(name);
  if (found != Signals().end()) return found->second;
  return absl::InvalidArgumentError(absl::StrCat(
      "'", Shown(text), "' is not a signal mayfly sends: write one of ",
      absl::StrJoin(Signals(), ", ", [](std::string* out, const auto& entry) { out->append(entry.first); })));
}

absl::Status CheckVariable(absl::string_view text) {
  const bool good = !text.empty() && !absl::ascii_isdigit(text[0]) &&
                    absl::c_all_of(text, [](char c) { return absl::ascii_isalnum(c) || c == '_'; });
  if (good) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "'", Shown(text), "' is not a variable's name: only letters, digits and '_', and no digit in front"));
}

absl::Status CheckHostPort(absl::string_view text) {
  const size_t colon = text.rfind(':');
  int port = 0;
  const absl::string_view host = text.substr(0, colon);
  const bool good = colon != absl::string_view::npos && absl::SimpleAtoi(text.substr(colon + 1), &port) && port >= 1 &&
                    port <= 65535 && !host.empty() &&
                    host.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-*_[]:") ==
                        absl::string_view::npos;
  if (good) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("'", Shown(text), "' is not host:port: write api.example.com:443"));
}

absl::Status CheckRegex(absl::string_view text) {
  RE2::Options options;
  options.set_log_errors(false);
  options.set_max_mem(1 << 20);
  const RE2 pattern(re2::StringPiece(text.data(), text.size()), options);
  if (pattern.ok()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("'", Shown(text), "' is not a regular expression (RE2): ", pattern.error()));
}

absl::Status CheckInnerPath(absl::string_view text) {
  const std::vector<absl::string_view> parts = absl::StrSplit(text, '/');
  const bool climbs = absl::c_any_of(parts, [](absl::string_view part) { return part == ".."; });
  if (!text.empty() && text[0] != '/' && !climbs) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("'", Shown(text), "' leads out of its folder: write a relative path without '..'"));
}

std::string AmbiguousPlain(const YamlValue& scalar) {
  if (!scalar.plain) return "";
  const std::string& text = scalar.text;
  const std::string lower = absl::AsciiStrToLower(text);
  for (const char* word : {"yes", "no", "on", "off", "y", "n"}) {
    if (lower == word) return "is a boolean to some YAML readers and text to others";
  }
  if (text.size() > 1 && text[0] == '0' && AllDigits(text)) return "is octal to some YAML readers";
  if (text.size() > 2 && text[0] == '0' && (text[1] == 'o' || text[1] == 'x') &&
      text.find_first_not_of("0123456789abcdefABCDEF", 2) == std::string::npos) {
    return "is a number in another base to some YAML readers";
  }
  return "";
}

CommandWords SplitCommand(absl::string_view text) {
  CommandWords out;
  std::string word;
  bool open = false;  // A word has begun, perhaps an empty quoted one.
  const auto refuse = [&](absl::string_view what, std::string why) {
    out.error = std::move(why);
    out.hint = absl::StrCat("write run: [sh, -c, \"...\"] for a shell, or quote it");
    out.at = std::string(what);
    return out;
  };
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '\'' || c == '"') {
      open = true;
      size_t end = i + 1;
      for (; end < text.size() && text[end] != c; ++end) {
        if (c == '"' && text[end] == '\\' && end + 1 < text.size() &&
            absl::StrContains("\"\\", text.substr(end + 1, 1)))
          ++end;
        word.push_back(text[end]);
      }
      if (end >= text.size()) {
        out.error = absl::StrCat("a ", c == '"' ? "double" : "single", " quote in the command is not closed");
        out.hint = "close it, or write the command as a list: [a, b]";
        out.at = std::string(text.substr(i));
        return out;
      }
      i = end;
      continue;
    }
    if (c == '\\' && i + 1 < text.size() && text[i + 1] == '\n') {
      ++i;
      continue;
    }
    if (c == '\\' && i + 1 < text.size()) {
      open = true;
      word.push_back(text[++i]);
      continue;
    }
    if (c == '\n' && (open || !out.words.empty()) && text.find_first_not_of(" \t\n", i) != absl::string_view::npos) {
      out.error = "a command of several lines needs a shell";
      out.hint = "write run: [sh, -c, \"...\"], or end each line but the last with a backslash";
      return out;
    }
    if (c == ' ' || c == '\t' || c == '\n') {
      if (open) out.words.push_back(word);
      word.clear();
      open = false;
      continue;
    }
    if (absl::StrContains("|&;<>`", text.substr(i, 1))) {
      const bool twice = i + 1 < text.size() && text[i + 1] == c;
      const absl::string_view what = text.substr(i, twice ? 2 : 1);
      return refuse(what,
                    absl::StrCat("'", what, "' means something to a shell only, and no shell reads this command"));
    }
    const bool reference = absl::StartsWith(text.substr(i), "${") || absl::StartsWith(text.substr(i), "$${");
    if (c == '$' && !reference && i + 1 < text.size() &&
        (absl::ascii_isalnum(text[i + 1]) || absl::StrContains("_(@*#?$", text.substr(i + 1, 1)))) {
      size_t end = i + 1;
      while (end < text.size() && (absl::ascii_isalnum(text[end]) || text[end] == '_')) ++end;
      const absl::string_view what = text.substr(i, std::max<size_t>(end - i, 2));
      return refuse(what,
                    absl::StrCat("'", what, "' would be replaced by a shell only, and no shell reads this command"));
    }
    open = true;
    if (reference) {
      // A reference is one piece, whatever is in it; the reference parser judges it.
      const size_t end = std::min(text.find('}', i), text.size() - 1);
      word.append(text.data() + i, end - i + 1);
      i = end;
      continue;
    }
    word.push_back(c);
  }
  if (open) out.words.push_back(word);
  if (out.words.empty()) {
    out.error = "the command is empty";
    return out;
  }
  const std::string& first = out.words.front();
  const size_t equals = first.find('=');
  if (equals != std::string::npos && CheckVariable(first.substr(0, equals)).ok()) {
    out.error =
        absl::StrCat("'", Shown(first), "' would set a variable in a shell only, and no shell reads this command");
    out.hint = absl::StrCat("write it under env: {", Shown(first.substr(0, equals)), ": ...}");
    out.at = first;
  }
  return out;
}

}  // namespace mayfly
