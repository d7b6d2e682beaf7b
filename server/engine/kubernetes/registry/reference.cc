#include "server/engine/kubernetes/registry/reference.h"

#include <algorithm>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "mayfly/base/text.h"

namespace mayfly::registry {
namespace {

constexpr size_t kLongestName = 255;
constexpr size_t kLongestTag = 128;
constexpr char kDefaultRegistry[] = "docker.io";

bool IsLowerOrDigit(char c) {
  return absl::ascii_islower(c) || absl::ascii_isdigit(c);
}

// Letters and digits in lower case, with ".", "_", "__" or dashes between them.
bool IsComponent(absl::string_view text) {
  if (text.empty() || !IsLowerOrDigit(text.front()) || !IsLowerOrDigit(text.back())) return false;
  size_t begin = 0;  // Of what stands between.
  for (size_t i = 0; i < text.size(); ++i) {
    if (!IsLowerOrDigit(text[i])) continue;
    const absl::string_view between = text.substr(begin, i - begin);
    const bool dashes = between.find_first_not_of('-') == absl::string_view::npos;
    if (!dashes && between != "." && between != "_" && between != "__") return false;
    begin = i + 1;
  }
  return true;
}

bool IsRegistry(absl::string_view text) {
  const std::vector<absl::string_view> parts = absl::StrSplit(text, absl::MaxSplits(':', 1));
  int port = 0;
  if (parts.size() == 2 && (!absl::SimpleAtoi(parts[1], &port) || port < 1 || port > 65535 ||
                            !std::all_of(parts[1].begin(), parts[1].end(), absl::ascii_isdigit))) {
    return false;
  }
  for (const absl::string_view label : absl::StrSplit(parts[0], '.')) {
    if (label.empty() || label.front() == '-' || label.back() == '-') return false;
    if (!std::all_of(label.begin(), label.end(), [](char c) { return absl::ascii_isalnum(c) || c == '-'; }))
      return false;
  }
  return true;
}

bool IsTag(absl::string_view text) {
  return !text.empty() && text.size() <= kLongestTag && text.front() != '.' && text.front() != '-' &&
         std::all_of(text.begin(), text.end(),
                     [](char c) { return absl::ascii_isalnum(c) || c == '.' || c == '_' || c == '-'; });
}

absl::Status NoName(absl::string_view text, absl::string_view why) {
  return absl::InvalidArgumentError(
      absl::StrCat("'", EscapeLine(text.substr(0, 300)), "' is no name of an image: ", why));
}

}  // namespace

bool IsDigest(absl::string_view text) {
  return absl::ConsumePrefix(&text, "sha256:") && text.size() == 64 &&
         std::all_of(text.begin(), text.end(), [](char c) { return absl::ascii_isdigit(c) || (c >= 'a' && c <= 'f'); });
}

std::string Reference::Pinned() const {
  return absl::StrCat(registry, "/", repository, "@", digest);
}

absl::StatusOr<Reference> ParseReference(absl::string_view text) {
  Reference out;
  absl::string_view rest = text;
  if (const size_t at = rest.find('@'); at != absl::string_view::npos) {
    out.digest = std::string(rest.substr(at + 1));
    rest = rest.substr(0, at);
    if (!IsDigest(out.digest)) return NoName(text, "behind '@' comes sha256: and 64 hex digits");
  }
  const size_t slash = rest.find('/');
  const absl::string_view first = rest.substr(0, slash == absl::string_view::npos ? 0 : slash);
  if (absl::StrContains(first, '.') || absl::StrContains(first, ':') || first == "localhost") {
    if (!IsRegistry(first)) return NoName(text, "before the first '/' stands no host");
    out.registry = absl::AsciiStrToLower(first);
    rest = rest.substr(slash + 1);
  } else {
    out.registry = kDefaultRegistry;
  }
  if (out.registry == "index.docker.io") out.registry = kDefaultRegistry;
  if (const size_t colon = rest.rfind(':'); colon != absl::string_view::npos) {
    out.tag = std::string(rest.substr(colon + 1));
    rest = rest.substr(0, colon);
    if (!IsTag(out.tag)) return NoName(text, "behind ':' comes a tag of letters, digits, '.', '_' and '-'");
  }
  if (out.tag.empty() && out.digest.empty()) out.tag = "latest";
  if (rest.empty() || rest.size() > kLongestName) return NoName(text, "it is empty, or over 255 characters long");
  for (const absl::string_view part : absl::StrSplit(rest, '/')) {
    if (!IsComponent(part))
      return NoName(text, "it is made of lower-case letters, digits and single '.', '_', '-', '/'");
  }
  out.repository = std::string(rest);
  if (out.registry == kDefaultRegistry && !absl::StrContains(rest, '/')) {
    out.repository = absl::StrCat("library/", rest);
  }
  return out;
}

}  // namespace mayfly::registry
