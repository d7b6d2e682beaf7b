#include "server/store/rules.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "mayfly/base/text.h"

namespace mayfly {

int EffectivePageSize(int page_size) {
  return page_size <= 0 ? kMaxPageSize : std::min(page_size, kMaxPageSize);
}

absl::Status CheckSequence(const std::vector<Event>& events, int64_t last) {
  for (const Event& event : events) {
    if (event.sequence == ++last) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("event ", event.sequence, " must be numbered ", last, ": numbers follow the stored ones"));
  }
  return absl::OkStatus();
}

absl::Status CheckNewRecord(const EnvironmentRecord& record) {
  if (record.name.empty()) return absl::InvalidArgumentError("an environment needs a name");
  if (record.uid.empty()) return absl::InvalidArgumentError("an environment needs a uid");
  return absl::OkStatus();
}

absl::Status CheckSameEnvironment(const EnvironmentRecord& stored, const EnvironmentRecord& given) {
  if (stored.name == given.name && stored.uid == given.uid && stored.generation == given.generation &&
      stored.scope == given.scope) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("name, uid, generation and scope of environment '", EscapeLine(stored.name), "' cannot be changed"));
}

std::string PageToken(const EnvironmentRecord& last) {
  return absl::StrCat(last.name, "/", last.generation);
}

absl::StatusOr<PageStart> ParsePageToken(const std::string& token) {
  PageStart start;
  if (token.empty()) return start;
  const size_t slash = token.rfind('/');
  if (slash == std::string::npos || !absl::SimpleAtoi(token.substr(slash + 1), &start.generation)) {
    return absl::InvalidArgumentError(absl::StrCat("'", EscapeLine(absl::string_view(token).substr(0, 80)),
                                                   "' is not a page token: pass next_page_token of the page before"));
  }
  start.name = token.substr(0, slash);
  return start;
}

bool Matches(const ListFilter& filter, const EnvironmentRecord& record) {
  if (!filter.include_deleted && record.state == EnvironmentState::kDeleted) return false;
  if (!filter.owner.empty() && record.request.owner != filter.owner) return false;
  if (!absl::StartsWith(record.name, filter.name_prefix)) return false;
  return filter.states.empty() ||
         std::find(filter.states.begin(), filter.states.end(), record.state) != filter.states.end();
}

absl::Duration Smooth(std::optional<absl::Duration> old, absl::Duration measured) {
  const absl::Duration value = old.has_value() ? (*old + 3 * measured) / 4 : measured;
  return absl::Nanoseconds(absl::ToInt64Nanoseconds(value));
}

absl::Status NoSuchName(const std::string& name) {
  return absl::NotFoundError(absl::StrCat("no environment '", EscapeLine(name), "'"));
}

absl::Status NoSuchUid(const std::string& uid) {
  return absl::NotFoundError(absl::StrCat("no environment with uid '", EscapeLine(uid), "'"));
}

absl::Status NameTaken(const std::string& name, const std::string& uid) {
  return absl::AlreadyExistsError(
      absl::StrCat("environment '", EscapeLine(name), "' exists (uid ", EscapeLine(uid), ")"));
}

absl::Status StaleEtag(const EnvironmentRecord& stored, int64_t given) {
  return absl::AbortedError(absl::StrCat("environment '", EscapeLine(stored.name), "' was changed meanwhile: etag is ",
                                         stored.etag, ", not ", given));
}

}  // namespace mayfly
