// What every Store must agree on, whatever holds its records.
#ifndef MAYFLY_SERVER_STORE_RULES_H_
#define MAYFLY_SERVER_STORE_RULES_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/store/store.h"

namespace mayfly {

// Pages hold at most this many records; a page_size of 0 or less means this, too.
inline constexpr int kMaxPageSize = 1000;
int EffectivePageSize(int page_size);

// INVALID_ARGUMENT unless the numbers of `events` are last + 1, last + 2, ...
absl::Status CheckSequence(const std::vector<Event>& events, int64_t last);

// INVALID_ARGUMENT when the new record is not fit to be stored: no name, no uid.
absl::Status CheckNewRecord(const EnvironmentRecord& record);

// INVALID_ARGUMENT when a write would turn one environment into another: name, uid, generation and scope never change.
absl::Status CheckSameEnvironment(const EnvironmentRecord& stored, const EnvironmentRecord& given);

// A page token names the last record that was returned. INVALID_ARGUMENT for a token that no store made.
struct PageStart {
  std::string name;
  int64_t generation = 0;
};
std::string PageToken(const EnvironmentRecord& last);
absl::StatusOr<PageStart> ParsePageToken(const std::string& token);

bool Matches(const ListFilter& filter, const EnvironmentRecord& record);

// The smoothed value after `measured`: the measured one at first, then three parts new and one part old, in whole
// nanoseconds.
absl::Duration Smooth(std::optional<absl::Duration> old, absl::Duration measured);

// The error texts that all stores share.
absl::Status NoSuchName(const std::string& name);
absl::Status NoSuchUid(const std::string& uid);
absl::Status NameTaken(const std::string& name, const std::string& uid);
absl::Status StaleEtag(const EnvironmentRecord& stored, int64_t given);

}  // namespace mayfly

#endif  // MAYFLY_SERVER_STORE_RULES_H_
