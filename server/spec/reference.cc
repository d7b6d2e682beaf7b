#include "mayfly/spec/reference.h"

#include <map>

#include "absl/algorithm/container.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "mayfly/base/text.h"

namespace mayfly {
namespace {

bool IsWord(absl::string_view text) {
  return !text.empty() && absl::c_all_of(text, [](char c) { return absl::ascii_isalnum(c) || c == '_' || c == '-'; });
}

ParsedTemplate::Problem Judge(absl::string_view whole, absl::string_view inner) {
  const std::string shown = EscapeLine(whole.substr(0, 80));
  const std::string at(whole);
  const absl::string_view trimmed = absl::StripAsciiWhitespace(inner);
  const size_t colon = inner.find(':');
  const std::vector<std::string> words = absl::StrSplit(trimmed, '.');
  if (trimmed != inner && words.size() > 1 && absl::c_all_of(words, IsWord)) {
    return {absl::StrCat("'", shown, "' has spaces in it"),
            absl::StrCat("write ${", EscapeLine(trimmed.substr(0, 80)), "}"), at};
  }
  if (colon != absl::string_view::npos && IsWord(inner.substr(0, colon))) {
    return {absl::StrCat("'", shown, "' has a default, which references have not"),
            absl::StrCat("write ${env.", inner.substr(0, colon), "}, or $", shown, " for the text itself"), at};
  }
  if (IsWord(inner) && absl::AsciiStrToUpper(inner) == inner) {
    return {
        absl::StrCat("'", shown, "' names no property"),
        absl::StrCat("write ${env.", inner, "} for a variable given with --set, or $", shown, " for the text itself"),
        at};
  }
  if (!absl::StrContains(inner, '.')) {
    return {absl::StrCat("'", shown, "' names no property"),
            IsWord(inner) ? absl::StrCat("write ${", inner, ".url} for a service, ${env.", inner,
                                         "} for a variable, or $", shown, " for the text itself")
                          : absl::StrCat("write ${service.url}, or $", shown, " for the text itself"),
            at};
  }
  return {absl::StrCat("'", shown, "' is not a reference"),
          "write ${service.property}, or $${ for the text '${' itself", at};
}

}  // namespace

ParsedTemplate ParseTemplate(absl::string_view text) {
  ParsedTemplate out;
  std::map<std::string, int> seen;
  std::string literal;
  while (!text.empty()) {
    const size_t dollar = text.find('$');
    if (dollar == absl::string_view::npos) break;
    literal.append(text.data(), dollar);
    text.remove_prefix(dollar);
    if (absl::StartsWith(text, "$${")) {
      literal += "${";
      text.remove_prefix(3);
      continue;
    }
    if (!absl::StartsWith(text, "${")) {
      literal += '$';
      text.remove_prefix(1);
      continue;
    }
    const size_t end = text.find('}');
    if (end == absl::string_view::npos) {
      out.problems.push_back({"'${' is not closed", "add the '}', or write $${ for the text '${' itself", "${"});
      break;
    }
    const absl::string_view whole = text.substr(0, end + 1);
    const absl::string_view inner = whole.substr(2, whole.size() - 3);
    const std::vector<std::string> parts = absl::StrSplit(inner, '.');
    const bool named_port = parts.size() == 3 && (parts[1] == "port" || parts[1] == "address");
    if ((parts.size() == 2 || named_port) && absl::c_all_of(parts, IsWord)) {
      Reference reference = {parts[0], parts[1], named_port ? parts[2] : "", std::string(whole)};
      reference.occurrence = seen[reference.text]++;
      out.pieces.push_back({std::move(literal), true, std::move(reference)});
      literal.clear();
    } else {
      out.problems.push_back(Judge(whole, inner));
    }
    text.remove_prefix(end + 1);
  }
  literal.append(text.data(), text.size());
  if (!literal.empty()) out.pieces.push_back({std::move(literal), false, {}});
  return out;
}

std::vector<Reference> ReferencesOf(absl::string_view text) {
  std::vector<Reference> out;
  if (!absl::StrContains(text, "${")) return out;
  for (TemplatePiece& piece : ParseTemplate(text).pieces) {
    if (piece.has_reference) out.push_back(std::move(piece.reference));
  }
  return out;
}

}  // namespace mayfly
