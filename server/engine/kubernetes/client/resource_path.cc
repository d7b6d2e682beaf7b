#include "server/engine/kubernetes/client/resource_path.h"

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"

namespace mayfly::kube {

std::string Describe(absl::string_view verb, absl::string_view path, absl::string_view name) {
  std::vector<std::string> parts = absl::StrSplit(path, '/', absl::SkipEmpty());
  const size_t prefix = parts.empty() ? 0 : parts[0] == "api" ? 2 : parts[0] == "apis" ? 3 : 0;
  if (prefix == 0 || parts.size() <= prefix) return absl::StrCat(verb, " ", path);
  parts.erase(parts.begin(), parts.begin() + static_cast<ptrdiff_t>(prefix));
  std::string where;
  if (parts[0] == "namespaces" && parts.size() > 2) {
    where = absl::StrCat(" in ns/", parts[1]);
    parts.erase(parts.begin(), parts.begin() + 2);
  }
  if (!name.empty()) parts.emplace_back(name);
  return absl::StrCat(verb, " ", absl::StrJoin(parts, "/"), where);
}

std::string UrlEscape(absl::string_view text) {
  std::string escaped;
  for (const char c : text) {
    if (absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '.' || c == '_' || c == '~') {
      escaped += c;
    } else {
      absl::StrAppendFormat(&escaped, "%%%02X", static_cast<unsigned char>(c));
    }
  }
  return escaped;
}

std::string Target(absl::string_view path, const std::vector<std::pair<std::string, std::string>>& query) {
  std::string target(path);
  char separator = '?';
  for (const auto& [key, value] : query) {
    if (value.empty()) continue;
    absl::StrAppend(&target, std::string(1, separator), key, "=", UrlEscape(value));
    separator = '&';
  }
  return target;
}

}  // namespace mayfly::kube
