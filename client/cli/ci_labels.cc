#include "client/cli/ci_labels.h"

#include <string>

#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "mayfly/base/text.h"

namespace mayfly {
namespace {

constexpr size_t kMaxLabelValue = 256;  // As the server has it.

// At most so many bytes, and no character cut in two.
std::string CutForLabel(std::string text) {
  if (text.size() <= kMaxLabelValue) return text;
  size_t end = kMaxLabelValue;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) --end;
  text.resize(end);
  return text;
}

}  // namespace

KeyValues LabelsOfCi(const std::function<const char*(const char* name)>& variable) {
  KeyValues labels;
  const auto get = [&](const char* name) -> std::string {
    const char* const value = variable(name);
    return value == nullptr ? "" : value;
  };
  const auto put = [&](const char* key, const std::string& value) {
    if (!value.empty()) labels.insert({key, CutForLabel(EscapeLine(value))});
  };
  if (get("GITHUB_ACTIONS") == "true") {
    const std::string ref = get("GITHUB_REF");
    absl::string_view pull = ref;  // "refs/pull/123/merge"
    if (absl::ConsumePrefix(&pull, "refs/pull/")) put("pr", std::string(pull.substr(0, pull.find('/'))));
    put("branch", get("GITHUB_HEAD_REF"));
    if (get("GITHUB_REF_TYPE") == "branch") put("branch", get("GITHUB_REF_NAME"));
    put("commit", get("GITHUB_SHA"));
  } else if (get("GITLAB_CI") == "true") {
    put("pr", get("CI_MERGE_REQUEST_IID"));
    put("branch", get("CI_MERGE_REQUEST_SOURCE_BRANCH_NAME"));
    put("branch", get("CI_COMMIT_BRANCH"));
    put("commit", get("CI_COMMIT_SHA"));
  }
  return labels;
}

}  // namespace mayfly
