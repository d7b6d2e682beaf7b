#include "server/engine/kubernetes/namespace_pool.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "mayfly/base/status.h"
#include "mayfly/base/text.h"

namespace mayfly::kubernetes {
namespace {

constexpr size_t kMost = 1000;

bool IsNamespaceName(const std::string& name) {
  return !name.empty() && name.size() <= 63 && name.front() != '-' && name.back() != '-' &&
         name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-") == std::string::npos;
}

// "mf-{1..3}" -> mf-1, mf-2, mf-3; others as they are.
absl::StatusOr<std::vector<std::string>> Expand(const std::string& word) {
  const size_t open = word.find('{');
  if (open == std::string::npos) return std::vector<std::string>{word};
  const size_t close = word.find('}', open);
  const std::vector<std::string> ends =
      absl::StrSplit(word.substr(open + 1, close == std::string::npos ? close : close - open - 1), "..");
  int first = 0, last = 0;
  if (close == std::string::npos || ends.size() != 2 || !absl::SimpleAtoi(ends[0], &first) ||
      !absl::SimpleAtoi(ends[1], &last) || first < 0 || last < first || last - first >= static_cast<int>(kMost)) {
    return absl::InvalidArgumentError(
        absl::StrCat("'", EscapeLine(word), "': a range is {FIRST..LAST}, as in mf-{1..20}"));
  }
  std::vector<std::string> out;
  for (int i = first; i <= last; ++i) out.push_back(absl::StrCat(word.substr(0, open), i, word.substr(close + 1)));
  return out;
}

}  // namespace

absl::StatusOr<std::vector<std::string>> ParseNamespaces(absl::string_view text) {
  std::vector<std::string> names;
  for (const absl::string_view part : absl::StrSplit(text, ',')) {
    MAYFLY_ASSIGN_OR_RETURN(const std::vector<std::string> some, Expand(std::string(absl::StripAsciiWhitespace(part))));
    for (const std::string& name : some) {
      if (!IsNamespaceName(name)) {
        return absl::InvalidArgumentError(absl::StrCat("'", EscapeLine(name), "' is no name of a kube namespace"));
      }
      if (name == "default" || absl::StartsWith(name, "kube-")) {
        return absl::InvalidArgumentError(absl::StrCat("'", name, "' is the cluster's own, no place for environments"));
      }
      if (std::find(names.begin(), names.end(), name) != names.end()) {
        return absl::InvalidArgumentError(absl::StrCat("'", name, "' comes twice"));
      }
      names.push_back(name);
      if (names.size() > kMost)
        return absl::InvalidArgumentError(absl::StrCat("more than ", kMost, " kube namespaces"));
    }
  }
  return names;
}

void NamespacePool::Add(const std::string& name) {
  names_.push_back(name);
}

void NamespacePool::Hold(const std::string& name, const std::string& scope) {
  holders_[name] = scope;
}

std::string NamespacePool::Take(const std::string& scope) {
  for (const std::string& name : names_) {
    if (holders_.count(name) > 0) continue;
    holders_[name] = scope;
    return name;
  }
  waiting_.push_back(scope);
  return "";
}

void NamespacePool::Leave(const std::string& scope) {
  waiting_.erase(std::remove(waiting_.begin(), waiting_.end(), scope), waiting_.end());
}

std::string NamespacePool::Free(const std::string& name) {
  holders_.erase(name);
  if (waiting_.empty() || std::find(names_.begin(), names_.end(), name) == names_.end()) return "";
  const std::string next = std::move(waiting_.front());
  waiting_.pop_front();
  holders_[name] = next;
  return next;
}

std::string NamespacePool::HolderOf(const std::string& name) const {
  const auto it = holders_.find(name);
  return it == holders_.end() ? "" : it->second;
}

std::vector<std::string> NamespacePool::FreeOnes() const {
  std::vector<std::string> out;
  for (const std::string& name : names_) {
    if (holders_.count(name) == 0) out.push_back(name);
  }
  return out;
}

}  // namespace mayfly::kubernetes
